package control

import (
	"slices"
	"testing"
	"time"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// A newcomer that is heard before its acknowledgement of the welcome has joined
// first, and is present then.
func TestGroupNewsOfNewcomer(t *testing.T) {
	for name, speak := range map[string]func(h *hall){
		"message": func(h *hall) { h.publish(h.seat("bob"), "hello") },
		"absence": func(h *hall) {
			h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
			h.run(100 * time.Millisecond)
			h.do(h.seat("bob"), func(op Op) Event { return Rejoin{Op: op} })
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHall(t, hallOptions{retries: 5}, "alice", "bob")
			first := true
			h.fate = func(_, to *seat, o Outbound) []time.Duration {
				if o.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK && first {
					first = false
					return nil
				}
				return []time.Duration{hallDelay}
			}
			h.invite("bob")
			h.run(100 * time.Millisecond)
			speak(h)
			h.run(5 * time.Second)
			if got := h.seat("alice").news; !slices.Equal(got, []string{"bob joined", "bob online"}) {
				t.Errorf("alice hears %v", got)
			}
		})
	}
}
