package control

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// forgery is a message of any type that says something of its type.
func forgery(h *hall, t Type, as *seat) Inbound {
	about := []*pb.Participant{participant(as.full)}
	victim := h.seats[2].full // of what members may only say of themselves
	c := &pb.CommandPayload{}
	switch t {
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_UPDATE:
		c.CommandPayloadType = &pb.CommandPayload_GroupUpdate{GroupUpdate: &pb.GroupUpdatePayload{
			Op: pb.GroupUpdateOp_REMOVE, Participant: about[0], Participants: about, Mls: &pb.MlsPayload{CommitId: 4, MlsContent: []byte("x")}}}
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_HEARTBEAT:
		c.CommandPayloadType = &pb.CommandPayload_Heartbeat{Heartbeat: &pb.HeartbeatPayload{Epoch: 3}}
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_UPDATE_PARTICIPANT_STATE:
		c.CommandPayloadType = &pb.CommandPayload_UpdateParticipantState{UpdateParticipantState: &pb.UpdateParticipantStatePayload{
			Participant: wire.FromName(victim), NewState: pb.ParticipantState_OFFLINE}}
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST:
		c.CommandPayloadType = &pb.CommandPayload_RejoinRequest{RejoinRequest: &pb.RejoinRequestPayload{
			Participant: wire.FromName(victim), KeyPackage: []byte("kp")}}
	}
	return Inbound{
		Type: t, ID: 4242, From: as.full, Subject: as.subject, Key: []byte(as.subject), Command: c,
		App: &pb.ApplicationPayload{Blob: []byte("forged")},
	}
}

func everyType(f func(Type)) {
	for t := msgType; t <= rejoinReplyType; t++ {
		f(t)
	}
}

// Every message from a name that is no member, or from a member's name with
// another subject or key, is refused by moderator and participant.
func TestGroupImpostors(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol")
	h.gather()
	mallory := name.New("org", "ns", "mallory").WithID(name.ID{Lo: 1})
	for _, victim := range []string{"alice", "bob"} {
		for _, as := range []string{"alice", "carol"} {
			if victim == as {
				continue
			}
			for what, change := range map[string]func(*Inbound){
				"another name":    func(in *Inbound) { in.From = mallory },
				"another subject": func(in *Inbound) { in.Subject = "org/ns/mallory" },
				"another key":     func(in *Inbound) { in.Key = []byte("mallory") },
			} {
				everyType(func(typ Type) {
					in := forgery(h, typ, h.seat(as))
					change(&in)
					refused(t, h, fmt.Sprintf("%s: %v as %s from %s", victim, short(typ), as, what), victim, in)
				})
			}
		}
	}
	unharmed(t, h)
}

func refused(t *testing.T, h *hall, what, victim string, in Inbound) {
	t.Helper()
	before := h.rosterOf(h.seat(victim))
	out := h.seat(victim).m.Step(h.now, Received{Msg: in})
	if out.Dropped == "" || len(out.Send)+len(out.Deliver)+len(out.Members)+len(out.Done) > 0 || out.Ended != nil || out.Rotated {
		t.Errorf("%s is not refused: %+v", what, out)
	}
	if after := h.rosterOf(h.seat(victim)); !slices.Equal(before, after) {
		t.Errorf("%s changed the roster to %v", what, after)
	}
}

func unharmed(t *testing.T, h *hall) {
	t.Helper()
	for _, s := range h.seats {
		h.publish(s, "still here, says "+s.name)
		h.run(50 * time.Millisecond)
	}
	h.agree()
	for _, s := range h.seats {
		if len(s.got) != len(h.seats)-1 {
			t.Errorf("%s got %v", s.name, s.got)
		}
	}
}

// What only the moderator may say is refused from a true member, what members
// say of themselves is refused about others, and members give no orders to the
// moderator.
func TestGroupUsurpers(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol", "dave")
	h.gather()
	for _, typ := range []Type{
		pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REQUEST, pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REPLY,
		pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REQUEST, joinReplyType, leaveReplyType, updateType, welcomeType, groupAckType,
		pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_CLOSE, pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_PROPOSAL,
		pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_NACK, pb.SessionMessageType_SESSION_MESSAGE_TYPE_UPDATE_PARTICIPANT_STATE,
		pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST, rejoinReplyType,
	} {
		for _, victim := range []string{"alice", "bob"} {
			refused(t, h, victim+": "+short(typ)+" from dave", victim, forgery(h, typ, h.seat("dave")))
		}
	}
	refused(t, h, "LEAVE_REQUEST between members", "bob", forgery(h, pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST, h.seat("dave")))
	unharmed(t, h)
}

// A removed member can neither read nor be read, though it keeps its keys.
func TestGroupRemovedMember(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol")
	h.gather()
	carol := *h.seat("carol").mls
	h.expel("carol", false)
	h.run(time.Second)
	in := forgery(h, msgType, h.seat("carol"))
	in.AAD = []byte("aad")
	in.App.Blob, _ = carol.Encrypt([]byte("I am still here"), in.AAD)
	for _, victim := range []string{"alice", "bob"} {
		refused(t, h, victim+": message of a removed member", victim, in)
	}
	sealed, _ := h.seat("alice").m.Seal([]byte("secret"), nil)
	if _, err := carol.Decrypt(sealed); err == nil {
		t.Error("a removed member reads on")
	}
}

// Messages whose header was changed, that do not decrypt or that are those of
// another member are not read, and not acknowledged.
func TestGroupTamperedMessages(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol")
	h.gather()
	ofCarol, _ := h.seat("carol").m.Seal([]byte("hello"), []byte("aad"))
	ofBob, _ := h.seat("bob").m.Seal([]byte("hello"), []byte("aad"))
	for what, change := range map[string]func(*Inbound){
		"header changed":    func(in *Inbound) { in.App.Blob, in.AAD = ofCarol, []byte("other") },
		"of another member": func(in *Inbound) { in.App.Blob, in.AAD = ofBob, []byte("aad") },
		"not ciphertext":    func(in *Inbound) { in.App.Blob = []byte("{}") },
		"nothing":           func(in *Inbound) { in.App = nil },
	} {
		in := forgery(h, msgType, h.seat("carol"))
		change(&in)
		refused(t, h, what, "alice", in)
	}
	unharmed(t, h)
}

// Nothing that members or the application do makes the machines hold much.
func TestGroupBounds(t *testing.T) {
	t.Run("operations", func(t *testing.T) {
		h := newHall(t, hallOptions{retries: 1}, "alice", "bob")
		var last Op
		for range maxTasks + 2 {
			last = h.invite("bob")
		}
		if err := h.seats[0].done[last]; !errors.Is(err, ErrBusy) {
			t.Errorf("the last of %d invitations: %v", maxTasks+2, err)
		}
	})
	t.Run("commits ahead of time", func(t *testing.T) {
		h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol")
		h.gather()
		for i := range uint32(100) {
			in := forgery(h, updateType, h.seat("alice"))
			in.ID = MessageID(5000 + i)
			in.Command.GetGroupUpdate().Mls.CommitId = 4 + i
			h.step(h.seat("bob"), Received{Msg: in})
		}
		if n := len(h.seat("bob").m.(*Participant).held); n > maxHeld {
			t.Errorf("%d commits held", n)
		}
		h.run(time.Minute)
		h.agree()
	})
	t.Run("roster", func(t *testing.T) {
		h := newHall(t, hallOptions{retries: 10, plain: true}, "alice", "bob", "carol")
		h.gather()
		in := forgery(h, updateType, h.seat("alice"))
		for i := range uint64(MaxMembers + 1) {
			n := name.New("org", "ns", "x").WithID(name.ID{Lo: i})
			in.Command.GetGroupUpdate().Participants = append(in.Command.GetGroupUpdate().Participants, participant(n))
		}
		refused(t, h, "a roster too large", "bob", in)
	})
	t.Run("rejoin requests", func(t *testing.T) {
		h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol", "dave")
		h.invite("bob")
		h.run(time.Second)
		h.fate = cutOff("carol")
		h.invite("carol") // keeps the moderator busy
		for i := range 50 {
			in := forgery(h, pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST, h.seat("bob"))
			in.ID = MessageID(7000 + i)
			in.Command.GetRejoinRequest().Participant = wire.FromName(h.seat("bob").full)
			in.Command.GetRejoinRequest().KeyPackage = fmt.Appendf(nil, "kp %d", i)
			h.step(h.seat("alice"), Received{Msg: in})
		}
		if n := len(h.seat("alice").m.(*Moderator).queue); n > 1 {
			t.Errorf("%d tasks wait", n)
		}
		h.run(time.Minute)
		h.agree()
	})
}

// A message to one member is told to have failed if that one does not
// acknowledge it; the others go on.
func TestGroupLossPerMember(t *testing.T) {
	h := newHall(t, hallOptions{retries: 2}, "alice", "bob", "carol")
	h.gather()
	h.fate = lose(1000, msgType, "", "carol")
	h.publish(h.seat("alice"), "to all")
	toBob := lastMessageID
	h.after = func(_ *seat, out Output) { toBob = max(toBob, MessageID(out.PublishedID)) }
	h.step(h.seat("alice"), PublishTo{To: h.seat("bob").full, Msg: AppMessage{Payload: []byte("to bob")}})
	h.after = nil
	h.step(h.seat("bob"), PublishTo{To: h.seat("carol").full, Msg: AppMessage{Payload: []byte("to carol")}})
	h.run(5 * time.Second)
	alice := h.seat("alice").settled
	if st := alice[1]; st.Acknowledged || len(st.Missing) != 1 || st.Missing[0].Key() != h.seat("carol").full.Key() {
		t.Errorf("message to all: %+v", st)
	}
	if st := alice[uint32(toBob)]; !st.Acknowledged {
		t.Errorf("message to bob: %+v", st)
	}
	for _, st := range h.seat("bob").settled {
		if st.Acknowledged || len(st.Missing) != 1 {
			t.Errorf("message of bob to carol: %+v", st)
		}
	}
	if len(alice) != 2 || len(h.seat("bob").settled) != 1 {
		t.Errorf("settled %v and %v", alice, h.seat("bob").settled)
	}
	h.fate = allWell
	h.run(time.Minute)
	h.publish(h.seat("alice"), "carol is back")
	h.run(time.Second)
	if st := h.seat("alice").settled[2]; !st.Acknowledged || !slices.Contains(h.seat("carol").got, "carol is back") {
		t.Errorf("after carol's return: %+v, she got %v", st, h.seat("carol").got)
	}
}

// A member that only listens stays online for as long as it likes.
func TestGroupListenerIsNotReaped(t *testing.T) {
	h := newHall(t, hallOptions{retries: 2, silent: true}, "alice", "bob", "carol")
	h.gather()
	for range 120 {
		h.publish(h.seat("alice"), "news")
		h.run(7 * time.Second)
	}
	h.run(time.Hour)
	for _, s := range h.seats {
		if slices.ContainsFunc(s.news, func(n string) bool { return len(n) > 7 && n[len(n)-7:] == "offline" }) {
			t.Errorf("%s hears %v", s.name, s.news)
		}
	}
}

// With EndWhenLost a participant ends when its moderator is gone.
func TestGroupEndWhenLost(t *testing.T) {
	h := newHall(t, hallOptions{retries: 2, endLost: true}, "alice", "bob", "carol")
	h.gather()
	h.fate = cutOff("alice")
	h.run(45 * time.Second)
	for _, n := range []string{"bob", "carol"} {
		if e := h.seat(n).ended; e == nil || e.Reason != PeerGone {
			t.Errorf("%s: %+v", n, e)
		}
	}
	if h.seat("alice").ended != nil {
		t.Error("the moderator ends for want of members")
	}
}

// A link that is down costs no retries and no membership.
func TestGroupLinkDown(t *testing.T) {
	h := newHall(t, hallOptions{retries: 2}, "alice", "bob", "carol", "dave")
	h.gather()
	for _, s := range h.seats {
		h.step(s, LinkDown{})
		s.down = true
	}
	h.publish(h.seat("bob"), "said into a dead link")
	op := h.expel("dave", false)
	h.run(10 * time.Minute)
	for _, s := range h.seats {
		s.down = false
	}
	for _, s := range h.seats {
		h.step(s, LinkUp{})
	}
	h.run(3 * time.Second)
	h.agree()
	if err, ok := h.seat("alice").done[op]; !ok || err != nil {
		t.Errorf("remove: %v", err)
	}
	for _, n := range []string{"alice", "carol"} {
		if !slices.Equal(h.seat(n).got, []string{"said into a dead link"}) {
			t.Errorf("%s got %v", n, h.seat(n).got)
		}
	}
}

// A subscription that fails is tried again with the repeated welcome.
func TestGroupSubscriptionFails(t *testing.T) {
	h := newHall(t, hallOptions{retries: 5}, "alice", "bob")
	first := true
	h.after = func(s *seat, out Output) {
		if s.name == "bob" && out.Subscribe && first {
			first = false
			s.subscribed = false
			h.air = slices.DeleteFunc(h.air, func(e envelope) bool { return e.to == s && e.ev != nil })
			h.step(s, Subscribed{Err: errFake})
		}
	}
	if err := h.outcome(h.invite("bob")); err != nil || first {
		t.Errorf("invite: %v", err)
	}
	h.agree()
}
