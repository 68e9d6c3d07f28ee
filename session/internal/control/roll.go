package control

import (
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Who of a group is there. A member that only listens is heard too: by its
// heartbeats.

// setOnline puts m on the acknowledgement list, and sends it what waits for it.
func (g *group) setOnline(now time.Time, m *member, out *Output) {
	if m.online || m.departed || g.state < open || g.state == away {
		return
	}
	m.online, m.missed, m.away, m.listed = true, 0, false, true
	if g.linkDown.IsZero() {
		m.rx.Resume(now)
	}
	g.arrived(m, out)
	out.Members = append(out.Members, MemberChange{Name: m.name, Subject: m.subject, What: Online})
	if !m.receives {
		return
	}
	if g.cfg.Role == Initiator { // the others leave it to the member itself
		g.deaf = g.deaf || g.tx.Deaf(m.name.Key())
	}
	for _, o := range g.tx.Online(now, m.name.Key()) {
		g.transmit(o, out)
		if !g.reliable {
			out.Settled = append(out.Settled, Settled{ID: o.ID, Acknowledged: true})
		}
	}
}

// arrived tells of a newcomer, once, before anything else is told of it. It is
// in when it acknowledges its welcome or is heard.
func (g *group) arrived(m *member, out *Output) {
	if m != g.arriving {
		return
	}
	g.arriving, m.welcomed = nil, true
	out.Members = append(out.Members, MemberChange{Name: m.name, Subject: m.subject, What: Joined})
}

// setOffline takes m off all lists of those who are to answer. It stays on the
// roster.
func (g *group) setOffline(now time.Time, m *member, out *Output) {
	if !m.online {
		return
	}
	g.leaveLists(m, out)
	m.rx.Pause(now)
	g.settle(g.tx.Offline(m.name.Key()), out)
	out.Members = append(out.Members, MemberChange{Name: m.name, Subject: m.subject, What: Offline})
}

// silent: m does not answer any more.
func (g *group) silent(now time.Time, m *member, out *Output) {
	g.setOffline(now, m, out)
	g.lost = g.lost || m.moderator
}

// seen notes a sign of life of m from the given epoch. Only in our epoch can m
// read what we send, and is put on the lists. Who soft-closed says itself when
// it is back; but if that got lost, its heartbeats say it too, later than any
// that was still on its way when it left.
func (g *group) seen(now time.Time, m *member, epoch uint64, heartbeat bool, out *Output) {
	m.missed = 0
	if g.mls != nil && epoch != g.mls.Epoch() {
		return
	}
	if m.away && (!heartbeat || now.Before(m.awaySince.Add(HeartbeatInterval))) {
		return
	}
	g.setOnline(now, m, out)
}

// onBeat counts the silence of the others and breaks our own, unless quiet.
func (g *group) onBeat(now time.Time, quiet bool, out *Output) {
	g.beat = now.Add(HeartbeatInterval)
	there := g.onlineMembers(nil)
	for _, m := range there {
		if m.missed++; m.missed >= MaxMissed {
			g.silent(now, m, out)
		}
	}
	if len(g.members) > 0 && !quiet && (!g.announced || len(there) == 0) {
		out.Send = append(out.Send, Outbound{
			Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_HEARTBEAT,
			ID:   g.draw(), To: g.cfg.Control, Broadcast: true,
			Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_Heartbeat{
				Heartbeat: &pb.HeartbeatPayload{Epoch: g.announcedEpoch()}}},
		})
	}
	g.announced = false
}

// onHeartbeat notes the heartbeat of m and returns its epoch.
func (g *group) onHeartbeat(now time.Time, m *member, in *Inbound, out *Output) uint64 {
	m.answers.put(in.Type, in.ID, nil)
	epoch := in.Command.GetHeartbeat().GetEpoch()
	g.seen(now, m, epoch, true, out)
	return epoch
}

func groupNack(to name.Name) Outbound {
	return Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_NACK,
		To:   to,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_GroupNack{
			GroupNack: &pb.GroupNackPayload{}}},
	}
}
