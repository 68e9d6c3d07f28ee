package control

import (
	"slices"
	"testing"
	"time"
)

// Only one message waits for the link while there is a member that has nothing
// of ours yet: else a later one could arrive first, be taken for the start of
// the stream, and the first would be lost without a word.
func TestGroupParkedBeforeNewcomer(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol")
	h.gather()
	alice := h.seat("alice")
	outage := func(meanwhile func()) {
		h.step(alice, LinkDown{})
		alice.down = true
		meanwhile()
		h.run(3 * time.Second)
		alice.down = false
		h.step(alice, LinkUp{})
	}
	outage(func() {
		h.publish(alice, "one")
		if alice.m.CanPublish() {
			t.Error("a second message may wait, though nobody has the first")
		}
	})
	h.run(100 * time.Millisecond)
	if !alice.m.CanPublish() {
		t.Error("all have the first message, but no other may follow")
	}
	outage(func() {
		h.publish(alice, "two")
		h.publish(alice, "three")
	})
	h.run(100 * time.Millisecond)
	for _, n := range []string{"bob", "carol"} {
		if !slices.Equal(h.seat(n).got, []string{"one", "two", "three"}) {
			t.Errorf("%s got %v", n, h.seat(n).got)
		}
	}
}
