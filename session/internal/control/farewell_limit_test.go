package control

import (
	"testing"
	"time"
)

// A peer that asked for a thousand retries and does not answer our farewell does
// not keep us for longer than a drain.
func TestFarewellIsShort(t *testing.T) {
	for what, mls := range map[string]bool{"mls": true, "plain": false} {
		t.Run(what, func(t *testing.T) {
			p := newPair(t, pairOptions{mls: mls, retries: 1000})
			p.open()
			p.fate = func(*side, Outbound) []time.Duration { return nil }
			p.step(p.b, Close{})
			p.run(MaxDrain + time.Second)
			if p.b.ended == nil || p.b.ended.Reason != Closed {
				t.Errorf("ended: %+v", p.b.ended)
			}
		})
	}
}

func TestGroupFarewellIsShort(t *testing.T) {
	h := newHall(t, hallOptions{retries: 1000}, "alice", "bob")
	h.gather()
	h.fate = func(*seat, *seat, Outbound) []time.Duration { return nil }
	h.step(h.seat("bob"), Close{})
	h.run(MaxDrain + time.Second)
	if e := h.seat("bob").ended; e == nil || e.Reason != Closed {
		t.Errorf("ended: %+v", e)
	}
}
