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

// One that is heard after its invitation has failed, but before it is taken out
// again, has joined and is removed.
func TestGroupNewsOfLateNewcomer(t *testing.T) {
	h := newHall(t, hallOptions{retries: 2, rotateTime: 3 * time.Second}, "alice", "bob", "carol")
	h.invite("bob")
	h.run(500 * time.Millisecond)
	h.seat("alice").news = nil
	acks, carols := true, true // are lost of bob, and of carol
	h.fate = func(from, to *seat, o Outbound) []time.Duration {
		ack := o.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK
		if ack && (from.name == "carol" && carols || from.name == "bob" && acks) {
			return nil
		}
		return []time.Duration{hallDelay}
	}
	acks = false
	h.invite("carol")
	h.run(2900 * time.Millisecond)
	acks = true
	h.run(200 * time.Millisecond) // the rotation goes before the removal, and waits for bob
	h.publish(h.seat("carol"), "here I am")
	h.run(100 * time.Millisecond)
	acks, carols = false, false
	h.run(10 * time.Second)
	news := slices.DeleteFunc(h.seat("alice").news, func(n string) bool { return n[:3] == "bob" })
	if !slices.Equal(news, []string{"carol joined", "carol online", "carol removed"}) {
		t.Errorf("alice hears %v\n%s", news, h.log)
	}
}
