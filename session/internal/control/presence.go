package control

import (
	"time"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Heartbeats, and who is there.

// heard resets the count of missed heartbeats.
func (m *Machine) heard() { m.peer.missed = 0 }

// alive notes a sign of life; an absent peer is back.
func (m *Machine) alive(now time.Time, out *Output) {
	m.heard()
	if m.state >= open && !m.peer.online {
		m.peerOnline(now, out)
	}
}

func (m *Machine) peerOnline(now time.Time, out *Output) {
	m.peer.online = true
	m.peer.missed = 0
	m.deaf = m.deaf || m.tx.Deaf(m.peer.name.Key())
	for _, o := range m.tx.Online(now, m.peer.name.Key()) {
		m.transmit(o.ID, o.Msg, out)
		if !m.cfg.Reliable {
			out.Settled = append(out.Settled, Settled{ID: o.ID, Acknowledged: true})
		}
	}
}

func (m *Machine) peerOffline(now time.Time, out *Output) {
	if !m.peer.online {
		return
	}
	m.peer.online = false
	m.settle(m.tx.Offline(m.peer.name.Key()), out)
	if m.cfg.EndWhenLost && m.state != closing {
		m.end(now, &End{Reason: PeerGone}, out)
	}
}

// onHeartbeatTimer counts the silence of the peer and breaks our own.
func (m *Machine) onHeartbeatTimer(now time.Time, out *Output) {
	m.beat = now.Add(HeartbeatInterval)
	m.peer.missed++
	if m.peer.missed >= MaxMissed {
		m.peerOffline(now, out)
		if m.state == ended {
			return
		}
	}
	// While a rotation is unconfirmed a heartbeat would tell the peer the new
	// epoch before its commit came, and make it ask for a rejoin.
	if (!m.spoke || !m.peer.online) && !m.rot.update.active() {
		m.sendHeartbeat(out)
	}
	m.spoke = false
}

func (m *Machine) sendHeartbeat(out *Output) {
	epoch := NoEpoch
	if m.cfg.MLS != nil {
		epoch = m.cfg.MLS.Epoch()
	}
	out.Send = append(out.Send, Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_HEARTBEAT,
		ID:   m.draw(), To: m.peer.name,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_Heartbeat{
			Heartbeat: &pb.HeartbeatPayload{Epoch: epoch}}},
	})
}

func (m *Machine) onHeartbeat(now time.Time, in *Inbound, out *Output) {
	m.answers.put(in.Type, in.ID, nil)
	if m.state < open {
		m.drop(out, "heartbeat before the session is open")
		return
	}
	m.heard()
	epoch := in.Command.GetHeartbeat().GetEpoch()
	if m.cfg.MLS == nil || epoch == m.cfg.MLS.Epoch() {
		m.rot.behind = 0
		if m.cfg.MLS != nil {
			m.inEpoch(now, epoch)
		}
		m.alive(now, out)
		return
	}
	if m.cfg.Role == Initiator {
		m.resendCommits(now, epoch, out)
		return
	}
	if epoch != NoEpoch && epoch > m.cfg.MLS.Epoch() {
		m.fellBehind(now, out)
	}
}
