package control

import (
	"slices"
	"time"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// round is a request to several members: broadcast on the control channel, and
// repeated, by name, to each that has not answered.
type round struct {
	request
	waiting []*member
	epoch   uint64 // of a commit: the epoch it leads to
}

// cast starts a round that ends when all of to have answered.
func (g *group) cast(now time.Time, msg Outbound, to []*member, out *Output) *round {
	msg.To, msg.Broadcast = g.cfg.Control, true
	r := &round{request: request{msg: msg}, waiting: slices.Clone(to)}
	g.announced = true
	g.send(now, &r.request, out)
	return r
}

// recast repeats r if it is due. It reports failure after the last try.
func (g *group) recast(now time.Time, r *round, out *Output) (failed bool) {
	if r.over() || now.Before(r.due) {
		return false
	}
	if g.exhausted(now, &r.request) {
		return true
	}
	g.renew(now, &r.request) // one id is new to each of them
	for _, m := range r.waiting {
		copied := r.msg
		copied.To, copied.Broadcast = m.name, false
		out.Send = append(out.Send, copied)
	}
	return false
}

func (r *round) waitsFor(m *member) bool { return r != nil && slices.Contains(r.waiting, m) }

// answer notes the answer of m to id; it reports whether id is one of r's.
func (r *round) answer(m *member, id MessageID) bool {
	if r == nil {
		return false
	}
	ok, _ := r.answered(id)
	if ok {
		r.forget(m)
	}
	return ok
}

// forget stops waiting for m.
func (r *round) forget(m *member) {
	if r != nil {
		r.waiting = slices.DeleteFunc(r.waiting, func(o *member) bool { return o == m })
	}
}

// over reports that nobody is waited for.
func (r *round) over() bool { return r == nil || len(r.waiting) == 0 }

// Soft close and rejoin: a member announces that it goes or is back, and all
// others acknowledge.

func (g *group) stateUpdate(s pb.ParticipantState) Outbound {
	return Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_UPDATE_PARTICIPANT_STATE,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_UpdateParticipantState{
			UpdateParticipantState: &pb.UpdateParticipantStatePayload{
				Participant: participant(g.cfg.Local).GetName(), NewState: s, Epoch: g.announcedEpoch(),
			}}},
	}
}

// announcedEpoch is our epoch as it is told to others.
func (g *group) announcedEpoch() uint64 {
	if g.mls == nil {
		return NoEpoch
	}
	return g.mls.Epoch()
}

// softClose stops sending and receiving. It is over when all who are there
// know, or did not answer.
func (g *group) softClose(now time.Time, op Op, out *Output) {
	there := g.onlineMembers(nil)
	g.op = &op
	for _, m := range there {
		g.setOffline(now, m, out)
	}
	if len(there) > 0 {
		g.status = g.cast(now, g.stateUpdate(pb.ParticipantState_OFFLINE), there, out)
	}
	g.state = away
	g.statusOver(out)
}

// comeBack ends the absence. Who acknowledges is there; all are asked.
func (g *group) comeBack(now time.Time, op Op, out *Output) {
	g.op = &op
	for _, m := range g.onlineMembers(nil) {
		g.setOffline(now, m, out)
	}
	for _, m := range g.members {
		m.away = false // who is there will answer
	}
	g.state = open
	g.beat = now.Add(HeartbeatInterval)
	g.status = nil
	if len(g.members) > 0 {
		g.status = g.cast(now, g.stateUpdate(pb.ParticipantState_ONLINE), g.members, out)
	}
	g.statusOver(out)
}

// onStatusTimer repeats the announcement. Those who do not answer stay offline.
func (g *group) onStatusTimer(now time.Time, out *Output) {
	if g.recast(now, g.status, out) {
		g.status.waiting = nil
		g.statusOver(out)
	}
}

// statusOver ends the announcement when everybody answered.
func (g *group) statusOver(out *Output) {
	if g.status.over() {
		g.status = nil
		g.finishOp(nil, out)
	}
}

// statusAck takes the acknowledgement of our announcement.
func (g *group) statusAck(now time.Time, m *member, id MessageID, out *Output) bool {
	if !g.status.answer(m, id) {
		return false
	}
	if g.state == open {
		g.setOnline(now, m, out)
	}
	g.statusOver(out)
	return true
}

// onStateUpdate: a member goes or comes back. It speaks for itself only.
func (g *group) onStateUpdate(now time.Time, m *member, in *Inbound, out *Output) {
	u := in.Command.GetUpdateParticipantState()
	if who, ok := named(&pb.Participant{Name: u.GetParticipant()}); u == nil || !ok || who.Key() != m.name.Key() {
		out.Dropped = "state update for somebody else"
		return
	}
	m.missed = 0
	switch u.GetNewState() {
	case pb.ParticipantState_OFFLINE:
		m.away, m.awaySince = true, now
		g.setOffline(now, m, out)
	case pb.ParticipantState_ONLINE:
		if g.mls != nil && u.GetEpoch() != g.mls.Epoch() {
			m.answers.answer(in, groupNack(m.name), out)
			return
		}
		m.away = false
		g.setOnline(now, m, out)
	default:
		out.Dropped = "state update to an unknown state"
		return
	}
	m.answers.answer(in, groupAck(m.name), out)
}
