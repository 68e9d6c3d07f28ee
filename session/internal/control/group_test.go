package control

import (
	"path/filepath"
	"testing"
	"time"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

const (
	msgType         = pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG
	ackType         = pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG_ACK
	joinReplyType   = pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REPLY
	leaveReplyType  = pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REPLY
	updateType      = pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_UPDATE
	welcomeType     = pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_WELCOME
	groupAckType    = pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK
	rejoinReplyType = pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REPLY
)

// lose loses the first n messages of a type on the way between two seats; an
// empty name is anybody.
func lose(n int, t Type, from, to string) func(*seat, *seat, Outbound) []time.Duration {
	return func(f, r *seat, o Outbound) []time.Duration {
		if n > 0 && o.Type == t && (from == "" || from == f.name) && (to == "" || to == r.name) {
			n--
			return nil
		}
		return []time.Duration{hallDelay}
	}
}

// cutOff loses everything from and to one seat.
func cutOff(n string) func(*seat, *seat, Outbound) []time.Duration {
	return func(f, r *seat, _ Outbound) []time.Duration {
		if f.name == n || r.name == n {
			return nil
		}
		return []time.Duration{hallDelay}
	}
}

func allWell(*seat, *seat, Outbound) []time.Duration { return []time.Duration{hallDelay} }

// The transcripts are the protocol of groups, to be read.
func TestGroupTranscripts(t *testing.T) {
	abc, abcd := []string{"alice", "bob", "carol"}, []string{"alice", "bob", "carol", "dave"}
	scenes := map[string]struct {
		names []string
		opts  hallOptions
		play  func(h *hall)
	}{
		"create-and-invite": {abcd, hallOptions{retries: 10}, func(h *hall) {
			for _, s := range h.seats[1:] {
				h.invite(s.name)
			}
			h.run(50 * time.Millisecond)
			h.agree()
			h.publish(h.seat("alice"), "hello all")
			h.run(50 * time.Millisecond)
			h.publish(h.seat("carol"), "hello from carol")
			h.run(50 * time.Millisecond)
			h.step(h.seat("bob"), PublishTo{To: h.seat("dave").full, Msg: AppMessage{Payload: []byte("only for dave")}})
			h.run(50 * time.Millisecond)
		}},
		"without-mls": {abc, hallOptions{retries: 10, plain: true}, func(h *hall) {
			h.gather()
			h.publish(h.seat("carol"), "hello")
			h.run(50 * time.Millisecond)
			h.expel("bob", false)
			h.run(50 * time.Millisecond)
			h.publish(h.seat("carol"), "without bob")
			h.run(50 * time.Millisecond)
		}},
		"remove": {abc, hallOptions{retries: 10}, func(h *hall) {
			h.gather()
			h.expel("carol", false)
			h.run(50 * time.Millisecond)
			h.publish(h.seat("bob"), "without carol")
			h.run(50 * time.Millisecond)
			h.expel("bob", false)
			h.run(50 * time.Millisecond)
			h.agree()
		}},
		"remove-and-invite-again": {abc, hallOptions{retries: 10}, func(h *hall) {
			h.gather()
			h.publish(h.seat("carol"), "one")
			h.run(50 * time.Millisecond)
			h.expel("carol", false)
			h.run(50 * time.Millisecond)
			h.invite("carol")
			h.run(50 * time.Millisecond)
			h.publish(h.seat("carol"), "one again")
			h.run(50 * time.Millisecond)
			h.agree()
		}},
		"leave": {abc, hallOptions{retries: 10}, func(h *hall) {
			h.gather()
			h.step(h.seat("carol"), Close{})
			h.run(50 * time.Millisecond)
			h.publish(h.seat("alice"), "without carol")
			h.run(50 * time.Millisecond)
			h.step(h.seat("bob"), Close{})
			h.run(50 * time.Millisecond)
			h.agree()
		}},
		"close": {abc, hallOptions{retries: 10}, func(h *hall) {
			h.gather()
			h.fate = lose(1, groupAckType, "carol", "alice")
			h.step(h.seat("alice"), Close{})
			h.run(5 * time.Second)
		}},
		"rejoin-same-epoch": {abc, hallOptions{retries: 10}, func(h *hall) {
			h.gather()
			h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
			h.run(50 * time.Millisecond)
			h.publish(h.seat("alice"), "while bob is away")
			h.run(50 * time.Millisecond)
			h.do(h.seat("bob"), func(op Op) Event { return Rejoin{Op: op} })
			h.run(50 * time.Millisecond)
			h.publish(h.seat("alice"), "bob is back")
			h.run(50 * time.Millisecond)
			h.agree()
		}},
		"rejoin-other-epoch": {abcd, hallOptions{retries: 10}, func(h *hall) {
			h.gather()
			h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
			h.run(50 * time.Millisecond)
			h.expel("dave", false)
			h.run(50 * time.Millisecond)
			h.do(h.seat("bob"), func(op Op) Event { return Rejoin{Op: op} })
			h.run(50 * time.Millisecond)
			h.publish(h.seat("bob"), "back with new keys")
			h.run(50 * time.Millisecond)
			h.agree()
		}},
		"lost-commit": {abcd, hallOptions{retries: 10}, func(h *hall) {
			h.gather()
			h.fate = lose(1, updateType, "", "bob")
			h.expel("dave", false)
			h.run(10 * time.Millisecond)
			h.publish(h.seat("alice"), "with keys that bob has not yet")
			h.run(3 * time.Second)
			h.agree()
		}},
		"lost-ack": {abcd, hallOptions{retries: 10}, func(h *hall) {
			h.gather()
			h.fate = lose(1, groupAckType, "bob", "")
			h.expel("dave", false)
			h.run(3 * time.Second)
			h.agree()
		}},
		"lost-welcome": {abc, hallOptions{retries: 10}, func(h *hall) {
			h.fate = lose(1, welcomeType, "", "")
			h.invite("bob")
			h.run(3 * time.Second)
			h.agree()
		}},
		"never-welcomed": {abc, hallOptions{retries: 2}, func(h *hall) {
			h.invite("bob")
			h.run(100 * time.Millisecond)
			h.fate = lose(1000, welcomeType, "", "carol")
			h.invite("carol")
			h.run(5 * time.Second)
			h.agree()
		}},
		"duplicates": {abc, hallOptions{retries: 10}, func(h *hall) {
			h.fate = func(*seat, *seat, Outbound) []time.Duration {
				return []time.Duration{hallDelay, 3 * hallDelay}
			}
			h.gather()
			h.expel("carol", false)
			h.run(50 * time.Millisecond)
			h.agree()
		}},
		"moderator-lost": {abc, hallOptions{retries: 2}, func(h *hall) {
			h.gather()
			h.fate = cutOff("alice")
			h.run(41 * time.Second)
			h.publish(h.seat("bob"), "carol still hears me")
			h.run(time.Second)
			h.fate = allWell
			h.run(10 * time.Second)
			h.agree()
		}},
		"offline-online": {abc, hallOptions{retries: 2}, func(h *hall) {
			h.gather()
			h.fate = cutOff("carol")
			h.publish(h.seat("alice"), "carol misses this")
			h.run(4 * time.Second)
			h.publish(h.seat("alice"), "and this")
			h.run(4 * time.Second)
			h.fate = allWell
			h.run(10 * time.Second)
			h.publish(h.seat("alice"), "carol is back")
			h.run(time.Second)
		}},
		"missed-commits": {abcd, hallOptions{retries: 1}, func(h *hall) {
			h.gather()
			h.fate = cutOff("bob")
			h.expel("dave", false)
			h.run(4 * time.Second)
			h.fate = allWell
			h.run(20 * time.Second)
			h.publish(h.seat("alice"), "bob reads this")
			h.run(time.Second)
			h.agree()
		}},
		"rotation": {abc, hallOptions{retries: 10, rotateMsgs: 2}, func(h *hall) {
			h.gather()
			h.fate = lose(1, updateType, "", "bob")
			h.publish(h.seat("bob"), "one")
			h.run(20 * time.Millisecond)
			h.publish(h.seat("bob"), "two")
			h.run(3 * time.Second)
			h.agree()
		}},
		"leaf-renewed": {abc, hallOptions{retries: 10, rotateTime: 45 * time.Minute}, func(h *hall) {
			h.gather()
			h.run(45*time.Minute - 2*time.Second)
			h.log.Reset()
			h.fate = lose(1, rejoinReplyType, "", "")
			h.run(5 * time.Second)
			h.agree()
		}},
		"nobody-there": {abc, hallOptions{retries: 1}, func(h *hall) {
			h.fate = cutOff("bob")
			h.invite("bob")
			h.invite("carol")
			h.run(3 * time.Second)
			h.agree()
		}},
	}
	for scene, tc := range scenes {
		t.Run(scene, func(t *testing.T) {
			h := newHall(t, tc.opts, tc.names...)
			tc.play(h)
			compare(t, filepath.Join("testdata", "group", scene+".txt"), h.log.String())
		})
	}
}
