package control

import (
	"time"

	"github.com/slimbridge/slimbridge/session/internal/arq"
	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Application messages of a 1:1 session.

func (m *Machine) onPublish(now time.Time, msg AppMessage, out *Output) {
	if !m.CanPublish() {
		m.drop(out, "publish without room")
		return
	}
	id, transmit := m.tx.Publish(now, msg, msg.size())
	out.PublishedID = id
	if transmit {
		m.transmit(id, msg, out)
	}
	if !m.cfg.Reliable { // sent once, or dropped because nobody is there
		out.Settled = append(out.Settled, Settled{ID: id, Acknowledged: transmit})
	}
}

// transmit sends an application message to the peer.
func (m *Machine) transmit(id arq.MessageID, msg AppMessage, out *Output) {
	out.Send = append(out.Send, m.message(MessageID(id), m.peer.name, msg))
}

func (m *Machine) onDataTimers(now time.Time, out *Output) {
	resend, settled, lost := m.tx.Tick(now)
	m.deaf = m.deaf || m.tx.Starved()
	for _, o := range resend {
		m.transmit(o.ID, o.Msg, out)
	}
	m.settle(settled, out)
	if len(lost) > 0 {
		m.peerOffline(now, out)
	}
	m.deliver(&m.peer, m.peer.rx.Tick(now), out)
}

func (m *Machine) settle(settled []arq.Settled[name.Key], out *Output) {
	for _, s := range settled {
		if len(s.Missing) == 0 && !s.Failed {
			m.begun = true
		}
		out.Settled = append(out.Settled, Settled{ID: s.ID, Acknowledged: len(s.Missing) == 0 && !s.Failed})
	}
}

// onData handles the four data types.
func (m *Machine) onData(now time.Time, in *Inbound, out *Output) {
	if m.state != open && m.state != draining && m.state != welcoming && m.state != closing {
		m.drop(out, "data before the session is open")
		return
	}
	switch in.Type {
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG:
		m.onMessage(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG_ACK:
		m.alive(now, out)
		if in.ID <= lastMessageID {
			m.settle(m.tx.Ack(m.peer.name.Key(), arq.MessageID(in.ID)), out)
		}
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REQUEST:
		m.alive(now, out)
		m.settle(m.resupply(now, &m.peer, in, out), out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REPLY:
		m.onRetransmitReply(now, in, out)
	default:
		m.drop(out, "unknown message type")
	}
}

func (m *Machine) onMessage(now time.Time, in *Inbound, out *Output) {
	d, epoch, ok := m.decrypt(&m.peer, in, out)
	if !ok {
		return
	}
	m.inEpoch(now, epoch)
	if m.state == welcoming {
		// Only a peer that took the welcome can speak: its acknowledgement
		// got lost or was overtaken.
		m.opened(now, out)
	}
	m.alive(now, out)
	m.take(now, &m.peer, in, d, out)
}

func (m *Machine) onRetransmitReply(now time.Time, in *Inbound, out *Output) {
	if in.ID > lastMessageID {
		m.drop(out, "retransmission outside the sequence")
		return
	}
	d, epoch, ok := m.decrypt(&m.peer, in, out)
	if !ok {
		return
	}
	m.inEpoch(now, epoch)
	m.alive(now, out)
	m.takeReply(now, &m.peer, in, d, out)
}
