package control

import (
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// anyCommand is a control message of type t with contents drawn from b.
func anyCommand(h *hall, t Type, b byte) *pb.CommandPayload {
	who := participant(h.seats[int(b)%len(h.seats)].full)
	who.Status = pb.ParticipantState(b >> 7)
	var list []*pb.Participant
	for i, s := range h.seats {
		if b&(1<<i) != 0 {
			list = append(list, participant(s.full))
		}
	}
	mls := &pb.MlsPayload{CommitId: uint32(b % 8), MlsContent: []byte{b}}
	c := &pb.CommandPayload{}
	switch t {
	case updateType:
		c.CommandPayloadType = &pb.CommandPayload_GroupUpdate{GroupUpdate: &pb.GroupUpdatePayload{
			Op: pb.GroupUpdateOp(b % 4), Participant: who, Participants: list, Mls: mls}}
	case welcomeType:
		c.CommandPayloadType = &pb.CommandPayload_GroupWelcome{GroupWelcome: &pb.GroupWelcomePayload{Participants: list, Mls: mls}}
	case joinReplyType:
		c.CommandPayloadType = &pb.CommandPayload_JoinReply{JoinReply: &pb.JoinReplyPayload{Participant: who, KeyPackage: []byte{b}}}
	case rejoinReplyType:
		c.CommandPayloadType = &pb.CommandPayload_RejoinReply{RejoinReply: &pb.RejoinReplyPayload{CommitId: uint32(b % 8), MlsContent: []byte{b}}}
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_HEARTBEAT:
		c.CommandPayloadType = &pb.CommandPayload_Heartbeat{Heartbeat: &pb.HeartbeatPayload{Epoch: uint64(b % 8)}}
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_UPDATE_PARTICIPANT_STATE:
		c.CommandPayloadType = &pb.CommandPayload_UpdateParticipantState{UpdateParticipantState: &pb.UpdateParticipantStatePayload{
			Participant: who.GetName(), NewState: pb.ParticipantState(b % 3), Epoch: uint64(b % 8)}}
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST:
		kp := []byte{b}
		if s := h.seats[int(b)%len(h.seats)]; s.mls != nil && b&1 != 0 {
			kp, _ = s.mls.KeyPackage(h.now)
		}
		c.CommandPayloadType = &pb.CommandPayload_RejoinRequest{RejoinRequest: &pb.RejoinRequestPayload{Participant: who.GetName(), KeyPackage: kp}}
	}
	return c
}

// FuzzGroupStep feeds the machines any order of events. Nothing may panic, go
// on for ever, or be sent to anybody but the group.
func FuzzGroupStep(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 0, 3, 200, 4, 17, 33, 18, 65, 19, 129, 30, 31})
	f.Add([]byte("invite, remove, leave, and come back again"))
	f.Add([]byte{240, 1, 240, 2, 250, 10, 241, 1, 250, 20, 11, 7, 242, 1, 243, 1, 250, 250})
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 400 {
			return
		}
		h := newHall(t, hallOptions{plain: len(program)%3 == 0, retries: 2, rotateMsgs: 4, silent: true}, "alice", "bob", "carol")
		h.after = func(s *seat, out Output) { checkOutput(t, h, s, out) }
		h.invite("bob")
		h.run(time.Second)
		h.invite("carol")
		h.run(time.Duration(len(program)) * time.Millisecond)
		for i := 0; i+1 < len(program); i += 2 {
			fuzzOp(h, program[i], program[i+1], i)
		}
		h.run(2 * time.Minute)
	})
}

func fuzzOp(h *hall, op, arg byte, i int) {
	s := h.seats[int(arg)%len(h.seats)]
	from := h.seats[int(arg/3)%len(h.seats)]
	if s.m == nil || s.ended != nil {
		h.run(10 * time.Millisecond)
		return
	}
	switch op {
	default: // a message of a member
		typ := Type(op % 24)
		h.step(s, Received{Msg: Inbound{
			Type: typ, ID: MessageID(i%9 + 1), From: from.full, Subject: from.subject, Key: []byte(from.subject),
			Command: anyCommand(h, typ, arg), App: &pb.ApplicationPayload{Blob: []byte{arg}}, Lost: arg&1 != 0,
			Metadata: map[string]string{wire.MetaLeaving: wire.MetaTrue},
		}})
	case 240:
		h.invite(from.name)
	case 241:
		h.expel(from.name, arg&1 != 0)
	case 242:
		h.do(s, func(op Op) Event { return SoftClose{Op: op} })
	case 243:
		h.do(s, func(op Op) Event { return Rejoin{Op: op} })
	case 244:
		h.step(s, LinkDown{})
	case 245:
		h.step(s, LinkUp{})
	case 246:
		h.step(s, Publish{Msg: AppMessage{Payload: []byte{arg}}})
	case 247:
		h.step(s, PublishTo{To: from.full, Msg: AppMessage{Payload: []byte{arg}}})
	case 248:
		h.step(s, []Event{Drain{}, Close{}, Tick{}, Start{}, Subscribed{}, Subscribed{Err: errFake}}[arg%6])
	case 249:
		h.step(s, Tick{})
	case 250:
		h.run(time.Duration(arg) * 20 * time.Millisecond)
	}
}

// checkOutput holds a machine to its group and its bounds.
func checkOutput(t *testing.T, h *hall, s *seat, out Output) {
	for _, o := range out.Send {
		known := o.To.Key() == hallChannel.Key() || o.To.Key() == hallControl.Key()
		for _, other := range h.seats {
			known = known || other != s && o.To.Prefix == other.full.Prefix
		}
		if !known {
			t.Fatalf("%s sends %v to %v", s.name, o.Type, o.To)
		}
		if o.ID == 0 && IsCommand(o.Type) {
			t.Fatalf("%s sends %v without id", s.name, o.Type)
		}
	}
	var g *group
	switch m := s.m.(type) {
	case *Moderator:
		g = &m.group
		if len(m.history) > keepChanges || len(m.queue) > maxTasks+2*len(h.seats) {
			t.Fatalf("the moderator keeps %d changes and %d tasks", len(m.history), len(m.queue))
		}
	case *Participant:
		g = &m.group
		if len(m.held) > maxHeld {
			t.Fatalf("%s holds %d commits", s.name, len(m.held))
		}
	}
	if len(g.members) > len(h.seats) || len(g.byName) != len(g.members) || len(g.gone) > maxGone || len(g.letters) > maxLetters {
		t.Fatalf("%s: %d members, %d gone, %d letters", s.name, len(g.members), len(g.gone), len(g.letters))
	}
	owing := 0
	for _, m := range g.members {
		if m.owing {
			owing++
		}
	}
	if owing != g.owing {
		t.Fatalf("%s: %d members owe, counted %d", s.name, owing, g.owing)
	}
}
