package control

import (
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// The end of a session, from either side.

func (m *Machine) onDrain(now time.Time, out *Output) {
	if m.state == open && m.tx.Pending() > 0 {
		m.state, m.drained = draining, now.Add(MaxDrain)
		return
	}
	m.farewell(now, out)
}

// farewell tells the peer that we leave. A session that never opened has
// nobody to tell, except a responder that may have taken our welcome.
func (m *Machine) farewell(now time.Time, out *Output) {
	switch m.state {
	case closing, ended:
		return
	case open, draining, welcoming:
	default:
		m.end(now, &End{Reason: Closed}, out)
		return
	}
	m.state, m.drained = closing, time.Time{}
	m.rot.update, m.rot.rejoin = nil, nil
	m.settle(m.tx.Fail(), out)
	if !m.linkDown.IsZero() {
		m.end(now, &End{Reason: Closed}, out)
		return
	}
	m.task = m.ask(now, m.goodbye(), out)
	m.expires = now.Add(MaxDrain) // the retries may be the peer's, and take days
}

func (m *Machine) goodbye() Outbound {
	if m.cfg.Role == Responder {
		return Outbound{
			Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST,
			To:   m.peer.name,
			Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_LeaveRequest{
				LeaveRequest: &pb.LeaveRequestPayload{}}},
			Metadata: map[string]string{wire.MetaLeaving: "TRUE"},
		}
	}
	// Upstream sends this to every instance of the service; to the one peer is enough.
	return Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_CLOSE,
		To:   m.peer.name,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_GroupClose{
			GroupClose: &pb.GroupClosePayload{Participants: []*pb.Name{wire.FromName(m.cfg.Local), wire.FromName(m.peer.name)}}}},
	}
}

// onFarewell: the peer leaves (LEAVE_REQUEST of either side) or, as moderator,
// closes (GROUP_CLOSE).
func (m *Machine) onFarewell(now time.Time, in *Inbound, out *Output) {
	if m.state == discovering || m.state == joining {
		m.drop(out, "farewell before the session is open")
		return
	}
	if in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_CLOSE && m.cfg.Role == Initiator {
		m.drop(out, "only the moderator closes")
		return
	}
	m.answers.answer(in, FarewellAnswer(in.Type, m.peer.name), out)
	reason := ClosedByPeer
	if m.state == closing {
		reason = Closed
	}
	m.end(now, &End{Reason: reason}, out)
}

func (m *Machine) onLeaveReply(now time.Time, in *Inbound, out *Output) {
	if ok, _ := m.task.answered(in.ID); !ok || m.state != closing {
		m.drop(out, "leave reply to nothing asked")
		return
	}
	m.end(now, &End{Reason: Closed}, out)
}

// FarewellAnswer is the reply to a farewell of the given type; its id is that
// of the farewell.
func FarewellAnswer(t Type, to name.Name) Outbound {
	if t == pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST {
		return Outbound{
			Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REPLY,
			To:   to,
			Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_LeaveReply{
				LeaveReply: &pb.LeaveReplyPayload{}}},
		}
	}
	return groupAck(to)
}
