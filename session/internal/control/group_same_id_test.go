package control

import (
	"errors"
	"testing"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// A subject may be allowed several names. It enters a group once: with two
// leaves of one subject it would not be known which one a removal is about.
func TestGroupSubjectEntersOnce(t *testing.T) {
	for who, want := range map[string]error{"bob": ErrAlreadyMember, "alice": ErrSelf} {
		t.Run(who, func(t *testing.T) {
			h := newHall(t, hallOptions{retries: 3}, "alice", "bob", "other")
			if err := h.outcome(h.invite("bob")); err != nil {
				t.Fatal(err)
			}
			other := h.seat("other")
			other.subject = h.seat(who).subject
			other.full = other.full.WithID(name.IDOf(other.subject))
			if err := h.outcome(h.invite("other")); !errors.Is(err, want) {
				t.Errorf("invite: %v, want %v", err, want)
			}
			if n := len(h.seats[0].m.Roster()); n != 2 {
				t.Errorf("%d members, want 2", n)
			}
		})
	}
}
