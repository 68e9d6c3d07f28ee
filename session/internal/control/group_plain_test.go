package control

import (
	"slices"
	"testing"
	"time"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Without MLS a member that missed a change gets it later, even if it has
// acknowledged a newer one: else it would take the stream of one that was
// removed and invited again for the old one, and drop it as known.
func TestGroupPlainMissedRemoval(t *testing.T) {
	h := newHall(t, hallOptions{plain: true, retries: 3}, "alice", "bob", "carol")
	h.gather()
	carol := h.seat("carol")
	for _, text := range []string{"one", "two"} {
		h.publish(carol, text)
		h.run(100 * time.Millisecond)
	}
	h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
	h.run(100 * time.Millisecond)
	h.expel("carol", false)
	h.run(time.Second)
	h.fate = func(_, to *seat, o Outbound) []time.Duration {
		if to.name == "bob" && o.Command.GetGroupUpdate().GetOp() == pb.GroupUpdateOp_REMOVE {
			return nil
		}
		return []time.Duration{hallDelay}
	}
	h.do(h.seat("bob"), func(op Op) Event { return Rejoin{Op: op} })
	h.run(100 * time.Millisecond)
	if err := h.outcome(h.invite("carol")); err != nil {
		t.Fatal(err)
	}
	h.fate = allWell
	h.run(2 * HeartbeatInterval)
	h.publish(carol, "three")
	h.run(100 * time.Millisecond)
	if got := h.seat("bob").got; !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("bob got %v\n%s", got, h.log)
	}
}
