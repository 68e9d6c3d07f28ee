package control

import (
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// A member that asks to be let in anew all the time, each time with another key
// package, does not make the others follow a commit per round trip.
func TestGroupRejoinFlood(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "mallory")
	h.gather()
	before := h.seats[0].m.Epoch()
	mallory := h.seat("mallory")
	h.tap = func(from *seat, o Outbound) { // she acknowledges all, so that nobody waits for her
		if from == h.seats[0] && (o.Type == updateType || o.Type == rejoinReplyType) {
			ack := groupAck(from.full)
			ack.ID = o.ID
			h.send(mallory, ack)
		}
	}
	for range 600 {
		kp, err := mallory.mls.KeyPackage(h.now)
		if err != nil {
			t.Fatal(err)
		}
		mallory.ids++
		h.send(mallory, Outbound{
			Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST, ID: MessageID(mallory.ids), To: h.seats[0].full,
			Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_RejoinRequest{
				RejoinRequest: &pb.RejoinRequestPayload{Participant: wire.FromName(mallory.full), KeyPackage: kp}}},
		})
		h.run(100 * time.Millisecond)
	}
	if n := h.seats[0].m.Epoch() - before; n == 0 || n > 13 {
		t.Errorf("%d new epochs in a minute, want 12", n)
	}
	op := h.expel("mallory", false)
	h.run(time.Minute)
	if err, ok := h.seats[0].done[op]; err != nil || !ok {
		t.Errorf("removal: %v, %v", err, ok)
	}
}

// A moderator whose subscription failed asks for it again, also if nobody else
// is invited.
func TestGroupModeratorSubscribesAgain(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob")
	h.gather()
	alice := h.seats[0]
	asked := 0
	for range 5 {
		alice.m.Step(h.now, Subscribed{Err: errFake})
		h.now = h.now.Add(HeartbeatInterval)
		if alice.m.Step(h.now, Tick{}).Subscribe {
			asked++
		}
	}
	if asked != 5 {
		t.Errorf("asked %d times, want 5", asked)
	}
	alice.m.Step(h.now, Subscribed{})
	h.now = h.now.Add(HeartbeatInterval)
	if alice.m.Step(h.now, Tick{}).Subscribe {
		t.Error("asked for what it has")
	}
}

// A member that never acknowledges a message, but whose heartbeats say that it is
// there, holds up what is said to all twice, not for ever.
func TestGroupMuteMember(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "mallory")
	h.gather()
	mallory := h.seat("mallory")
	h.fate = func(from, to *seat, o Outbound) []time.Duration {
		if from == mallory && o.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG_ACK {
			return nil
		}
		return allWell(from, to, o)
	}
	heldUp, said := 0, 0
	for range 300 {
		if h.seats[0].m.CanPublish() {
			h.step(h.seats[0], Publish{Msg: AppMessage{Payload: []byte("hello")}})
			said++
		} else {
			heldUp++
		}
		h.run(time.Second)
	}
	if heldUp < 10 || heldUp > 24 {
		t.Errorf("held up for %d of 300 seconds, want twice the 11 of its retries", heldUp)
	}
	if got := len(h.seat("bob").got); got != said {
		t.Errorf("bob read %d of %d messages", got, said)
	}
}

// A participant whose stream a member has not heard for so long that it must not
// go on asks for new keys, which puts an end to that.
func TestGroupParticipantStarves(t *testing.T) {
	h := newHall(t, hallOptions{retries: 30, silent: true}, "alice", "bob", "carol")
	h.gather()
	bob, carol := h.seat("bob"), h.seat("carol")
	say := func(text string) {
		if bob.m.CanPublish() {
			h.step(bob, Publish{Msg: AppMessage{Payload: []byte(text)}})
		}
	}
	say("first")
	h.run(time.Second)
	epoch := bob.m.Epoch()
	h.fate = func(from, to *seat, o Outbound) []time.Duration {
		if from == bob && to == carol && !IsCommand(o.Type) {
			return nil
		}
		return allWell(from, to, o)
	}
	starved := false
	for range 900 {
		say("lost")
		h.run(time.Second)
		starved = starved || bob.m.(*Participant).tx.Starved()
	}
	if !starved {
		t.Fatal("bob never came so far")
	}
	h.fate = allWell
	h.run(mendPause)
	say("last")
	h.run(time.Minute)
	if got := carol.got; len(got) == 0 || got[len(got)-1] != "last" {
		t.Errorf("carol does not hear bob, though nothing is lost any more")
	}
	if n := bob.m.Epoch() - epoch; n == 0 || n > 5 {
		t.Errorf("%d new epochs in 15 minutes", n)
	}
}

// For somebody who is deaf a moderator makes new keys, but not at every step.
func TestGroupModeratorMendsWithPauses(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob")
	h.gather()
	m := h.seats[0].m.(*Moderator)
	before := m.Epoch()
	for range 120 {
		m.stream.deaf = true
		h.run(100 * time.Millisecond)
	}
	if n := m.Epoch() - before; n < 11 || n > 13 {
		t.Errorf("%d new epochs in twelve seconds, want one each", n)
	}
}
