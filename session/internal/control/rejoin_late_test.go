package control

import (
	"testing"
	"time"
)

// A moderator may be busy for longer than a member goes on asking to be let in:
// its answer counts all the same, else the two could miss each other for ever.
func TestGroupLateRejoinReply(t *testing.T) {
	h := newHall(t, hallOptions{retries: 2}, "alice", "bob", "carol")
	h.gather()
	h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
	h.run(time.Second)
	h.expel("carol", false)
	h.run(time.Second)
	h.fate = func(_, _ *seat, o Outbound) []time.Duration {
		if o.Type == rejoinReplyType {
			return []time.Duration{5 * time.Second}
		}
		return []time.Duration{hallDelay}
	}
	op := h.do(h.seat("bob"), func(op Op) Event { return Rejoin{Op: op} })
	h.run(4 * time.Second)
	if err := h.seat("bob").done[op]; err != ErrRejoin {
		t.Fatalf("the wait for the answer ended with %v, want %v", err, ErrRejoin)
	}
	h.run(30 * time.Second)
	h.agree()
}

// In a 1:1 session it may be on its way for that long.
func TestLateRejoinReply(t *testing.T) {
	p := newPair(t, pairOptions{mls: true, retries: 1})
	p.open()
	p.a.mls.epoch += 3 // commits that bob never saw and alice no longer has
	p.fate = func(_ *side, o Outbound) []time.Duration {
		if o.Type == rejoinReplyType {
			return []time.Duration{5 * time.Second}
		}
		return []time.Duration{time.Millisecond}
	}
	p.run(40 * time.Second)
	if a, b := p.a.m.Epoch(), p.b.m.Epoch(); a != b {
		t.Errorf("bob is in epoch %d, alice in %d", b, a)
	}
}
