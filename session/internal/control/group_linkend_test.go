package control

import (
	"testing"
	"time"
)

// Operations that wait for the link fail when the session ends without it.
func TestGroupOperationsEndWithLink(t *testing.T) {
	h := newHall(t, hallOptions{retries: 2, endLost: true}, "alice", "bob", "carol")
	h.gather()
	alice := h.seat("alice")
	h.step(alice, LinkDown{})
	alice.down = true
	ops := []Op{h.invite("bob"), h.expel("carol", false)}
	h.run(time.Minute)
	if alice.ended == nil || alice.ended.Reason != LinkLost {
		t.Fatalf("alice ended: %+v", alice.ended)
	}
	for _, op := range ops {
		if err := alice.done[op]; err != ErrEnded {
			t.Errorf("operation %d: %v", op, err)
		}
	}
}
