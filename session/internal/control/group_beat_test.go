package control

import (
	"testing"
	"time"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// A member that comes back while its link is down, which may be for long, sends
// heartbeats as soon as others when the link is up.
func TestGroupHeartbeatAfterReturnWithoutLink(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob")
	h.gather()
	bob := h.seat("bob")
	h.do(bob, func(op Op) Event { return SoftClose{Op: op} })
	h.run(time.Second)
	bob.down = true
	h.step(bob, LinkDown{})
	h.run(45 * time.Second)
	h.do(bob, func(op Op) Event { return Rejoin{Op: op} })
	bob.down = false
	h.step(bob, LinkUp{})
	beats := 0
	h.tap = func(s *seat, o Outbound) {
		if s == bob && o.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_HEARTBEAT {
			beats++
		}
	}
	h.run(2*HeartbeatInterval + time.Second)
	if beats == 0 {
		t.Errorf("no heartbeat within %v of the return", 2*HeartbeatInterval)
	}
}
