package control

import (
	"bytes"
	"maps"
	"strings"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/arq"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Application messages: publish, acknowledge, retransmit, deliver in order.

// reservedMetadata is the prefix of keys that only the protocol may set.
const reservedMetadata = "slim-"

const lastMessageID = MessageID(arq.MaxID)

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

// transmit sends an application message to the peer. It is encrypted anew for
// every transmission; what is kept is the plaintext.
func (m *Machine) transmit(id arq.MessageID, msg AppMessage, out *Output) {
	m.spoke = true
	m.rot.sent++
	out.Send = append(out.Send, Outbound{
		Type:     pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG,
		ID:       MessageID(id),
		To:       m.peer,
		App:      msg,
		Metadata: msg.Metadata,
		Encrypt:  m.cfg.MLS != nil,
	})
}

func (m *Machine) onDataTimers(now time.Time, out *Output) {
	resend, settled, lost := m.tx.Tick(now)
	for _, o := range resend {
		m.transmit(o.ID, o.Msg, out)
	}
	m.settle(settled, out)
	if len(lost) > 0 {
		m.peerOffline(now, out)
	}
	m.deliver(m.rx.Tick(now), out)
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
			m.settle(m.tx.Ack(m.peer.Key(), arq.MessageID(in.ID)), out)
		}
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REQUEST:
		m.alive(now, out)
		m.onRetransmitRequest(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REPLY:
		m.onRetransmitReply(now, in, out)
	default:
		m.drop(out, "unknown message type")
	}
}

// decrypt decrypts and checks an application message.
func (m *Machine) decrypt(now time.Time, in *Inbound, out *Output) (delivered, bool) {
	app := in.App
	d := delivered{msg: AppMessage{Type: app.GetPayloadType(), Payload: app.GetBlob(), Metadata: applicationMetadata(in.Metadata)}}
	if m.cfg.MLS == nil {
		return d, true
	}
	plain, err := m.cfg.MLS.Decrypt(app.GetBlob())
	switch {
	case err != nil:
		m.drop(out, "message does not decrypt: "+err.Error())
		return d, false
	case !bytes.Equal(plain.AAD, in.AAD):
		m.drop(out, "header was changed on the way")
		return d, false
	case plain.Subject != m.subj || name.IDOf(plain.Subject) != in.From.ID:
		m.drop(out, "message is not of the sender it names")
		return d, false
	}
	m.inEpoch(now, plain.Epoch)
	d.msg.Payload, d.subject = plain.Payload, plain.Subject
	return d, true
}

// applicationMetadata leaves out the protocol's own keys, which peers of both
// generations let through.
func applicationMetadata(md map[string]string) map[string]string {
	if len(md) == 0 {
		return nil
	}
	clean := maps.Clone(md)
	maps.DeleteFunc(clean, func(k, _ string) bool {
		return strings.HasPrefix(k, reservedMetadata) || k == wire.MetaPublishTo
	})
	if len(clean) == 0 {
		return nil
	}
	return clean
}

func (m *Machine) onMessage(now time.Time, in *Inbound, out *Output) {
	d, ok := m.decrypt(now, in, out)
	if !ok {
		return
	}
	if m.state == welcoming {
		// Only a peer that took the welcome can speak: its acknowledgement
		// got lost or was overtaken.
		m.opened(now, out)
	}
	m.alive(now, out)
	m.rot.received++
	ack := Outbound{Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG_ACK, ID: in.ID, To: m.peer}
	if in.ID > lastMessageID { // publish_to: outside the sequence
		ack.Metadata = map[string]string{wire.MetaPublishTo: "TRUE"}
		m.onDirect(in.ID, d, ack, out)
		return
	}
	res := m.rx.Message(now, arq.MessageID(in.ID), d, d.msg.size())
	if res.Ack {
		out.Send = append(out.Send, ack)
	}
	if res.Refused {
		m.drop(out, "message beyond the receive window")
	}
	m.deliver(res, out)
}

// onDirect delivers a publish_to message, once.
func (m *Machine) onDirect(id MessageID, d delivered, ack Outbound, out *Output) {
	if m.cfg.Reliable {
		out.Send = append(out.Send, ack)
		for _, seen := range m.direct {
			if seen == id {
				return
			}
		}
		m.direct[m.directPos] = id
		m.directPos = (m.directPos + 1) % len(m.direct)
	}
	out.Deliver = append(out.Deliver, Delivery{Msg: d.msg, Subject: d.subject})
}

func (m *Machine) deliver(res arq.Result[delivered], out *Output) {
	for _, item := range res.Deliver {
		if !item.Lost {
			out.Deliver = append(out.Deliver, Delivery{Msg: item.Msg.msg, Subject: item.Msg.subject})
			continue
		}
		missing := int(uint32(item.Through-item.ID)&uint32(arq.MaxID)) + 1
		out.Deliver = append(out.Deliver, Delivery{Missing: missing})
	}
	for _, id := range res.Request {
		m.spoke = true
		out.Send = append(out.Send, Outbound{
			Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REQUEST, ID: MessageID(id), To: m.peer,
		})
	}
}

// onRetransmitRequest answers with the message, or says that it is gone. What
// the peer acknowledged before is not sent again, so that nothing is carried
// out twice by a peer that forgot what it had (3.x after an outage).
func (m *Machine) onRetransmitRequest(now time.Time, in *Inbound, out *Output) {
	if in.ID > lastMessageID {
		m.drop(out, "retransmission request outside the sequence")
		return
	}
	msg, found, settled := m.tx.Rtx(now, m.peer.Key(), arq.MessageID(in.ID))
	m.settle(settled, out)
	reply := Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REPLY, ID: in.ID, To: m.peer,
		Encrypt: m.cfg.MLS != nil, Lost: !found,
	}
	if found {
		reply.App, reply.Metadata = msg, msg.Metadata
	}
	m.spoke = true
	m.rot.sent++
	out.Send = append(out.Send, reply)
}

func (m *Machine) onRetransmitReply(now time.Time, in *Inbound, out *Output) {
	if in.ID > lastMessageID {
		m.drop(out, "retransmission outside the sequence")
		return
	}
	d, ok := m.decrypt(now, in, out)
	if !ok {
		return
	}
	m.alive(now, out)
	m.rot.received++
	lost := in.Lost && len(d.msg.Payload) == 0
	if m.cfg.MLS != nil {
		// The flag is not authenticated, but what an empty answer consists of
		// is: no payload and no payload type.
		lost = len(d.msg.Payload) == 0 && d.msg.Type == ""
	}
	res := m.rx.Reply(now, arq.MessageID(in.ID), d, d.msg.size(), lost)
	m.deliver(res, out)
}
