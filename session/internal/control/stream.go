package control

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/arq"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// The data path, the same for two and for many: one stream of ours to all
// peers, and one of each peer to us.

// reservedMetadata is the prefix of keys that only the protocol may set.
const reservedMetadata = "slim-"

// lastMessageID ends the sequence; publish_to draws its ids above.
const lastMessageID = MessageID(arq.MaxID)

// peer is another member: who it is, whether it is there, and its stream to us.
type peer struct {
	name     name.Name
	subject  string // verified, empty until known
	key      []byte // its public key, the same for the life of the session
	online   bool
	missed   int // heartbeats
	received int // messages in this epoch
	serial   int // tells it from the same member at another time
	rx       *arq.Receiver[delivered]
	direct   recent
}

// is reports whether in comes from p as we know it; the name was compared.
func (p *peer) is(in *Inbound) bool {
	return p.subject == "" || in.Subject == p.subject && bytes.Equal(in.Key, p.key)
}

type delivered struct {
	msg     AppMessage
	subject string
}

// recent remembers the publish_to ids seen lately.
type recent struct {
	ids [64]MessageID
	pos int
}

// add reports whether id is new.
func (r *recent) add(id MessageID) bool {
	for _, seen := range r.ids {
		if seen == id {
			return false
		}
	}
	r.ids[r.pos] = id
	r.pos = (r.pos + 1) % len(r.ids)
	return true
}

// stream is what we publish, and how what is published to us is taken.
type stream struct {
	mls       MLS
	reliable  bool
	senders   arq.SenderConfig
	receivers arq.ReceiverConfig
	serials   int // drawn for peers
	tx        *arq.Sender[name.Key, AppMessage]
	spoke     bool // something was sent to a peer since the last heartbeat
	sent      int  // messages encrypted in this epoch
	epoch     uint64
	// deaf: we do not understand somebody, or somebody us, before the next epoch;
	// or we must not speak, lest it come to that. mended is when a new epoch was last asked for or made because of that.
	deaf   bool
	mended time.Time
}

// mendPause is the least time between two new epochs for the deaf; in a group its
// moderator needs less, see [Moderator.mendDue].
const mendPause = 5 * time.Minute

// mendDue is when the deaf need a new epoch, zero if nobody is.
func (s *stream) mendDue() time.Time {
	if !s.deaf {
		return time.Time{}
	}
	return s.mended.Add(mendPause)
}

// maxAhead is how many messages of one sender in one epoch a member may miss in
// a row: both generations of the real library, and we ourselves, then refuse
// all that follow until the next epoch.
const maxAhead = 1024

func newStream(cfg *Config, startAtOne bool) stream {
	reach := 0
	if cfg.MLS != nil {
		reach = maxAhead
	}
	senders := arq.SenderConfig{Reliable: cfg.Reliable, Interval: cfg.Interval, MaxRetries: cfg.MaxRetries, Reach: reach}
	return stream{
		mls: cfg.MLS, reliable: cfg.Reliable, senders: senders,
		receivers: arq.ReceiverConfig{
			Reliable: cfg.Reliable, StartAtOne: startAtOne, Interval: cfg.Interval, MaxRetries: cfg.MaxRetries,
		},
		tx: arq.NewSender[name.Key, AppMessage](senders),
	}
}

// startKeys begins to count anew what is sent with the keys of one epoch.
func (s *stream) startKeys() {
	s.sent = 0
	if epoch := s.Epoch(); epoch != s.epoch {
		s.epoch, s.deaf = epoch, false
		s.tx.NewEpoch()
	}
}

func (s *stream) newPeer(n name.Name) peer {
	s.serials++
	return peer{name: n, serial: s.serials, rx: arq.NewReceiver[delivered](s.receivers)}
}

// Seal encrypts the payload of an [Outbound] whose Encrypt is set; aad is the
// authenticated data of the header that will be sent.
func (s *stream) Seal(payload, aad []byte) ([]byte, error) {
	sealed, err := s.mls.Encrypt(payload, aad)
	if err == nil {
		s.tx.Encrypted()
	}
	return sealed, err
}

// Epoch is the MLS epoch; 0 without MLS.
func (s *stream) Epoch() uint64 {
	if s.mls == nil {
		return 0
	}
	return s.mls.Epoch()
}

// message is an application message of ours as it is sent. It is encrypted anew
// for every transmission; what is kept is the plaintext.
func (s *stream) message(id MessageID, to name.Name, msg AppMessage) Outbound {
	s.sent++
	s.spoke = true
	return Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG, ID: id, To: to,
		App: msg, Metadata: msg.Metadata, Encrypt: s.mls != nil,
	}
}

// decrypt decrypts and checks an application message of p.
func (s *stream) decrypt(p *peer, in *Inbound, out *Output) (d delivered, epoch uint64, ok bool) {
	app := in.App
	d = delivered{msg: AppMessage{Type: app.GetPayloadType(), Payload: app.GetBlob(), Metadata: applicationMetadata(in.Metadata)}}
	if s.mls == nil {
		return d, 0, true
	}
	plain, err := s.mls.Decrypt(app.GetBlob())
	switch {
	case err != nil:
		s.deaf = s.deaf || errors.Is(err, ErrTooFarAhead)
		out.Dropped = "message does not decrypt: " + err.Error()
		return d, 0, false
	case !bytes.Equal(plain.AAD, in.AAD):
		out.Dropped = "header was changed on the way"
		return d, 0, false
	case plain.Subject != p.subject || name.IDOf(plain.Subject) != in.From.ID:
		out.Dropped = "message is not of the sender it names"
		return d, 0, false
	}
	d.msg.Payload, d.subject = plain.Payload, plain.Subject
	return d, plain.Epoch, true
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

// take acknowledges and delivers a message of p that was decrypted.
func (s *stream) take(now time.Time, p *peer, in *Inbound, d delivered, out *Output) {
	p.received++
	ack := Outbound{Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG_ACK, ID: in.ID, To: p.name}
	if in.ID > lastMessageID { // publish_to: outside the sequence
		ack.Metadata = map[string]string{wire.MetaPublishTo: wire.MetaTrue}
		s.takeDirect(p, in.ID, d, ack, out)
		return
	}
	res := p.rx.Message(now, arq.MessageID(in.ID), d, d.msg.size())
	if res.Ack {
		out.Send = append(out.Send, ack)
	}
	if res.Refused {
		out.Dropped = "message beyond the receive window"
	}
	s.deliver(p, res, out)
}

// takeDirect delivers a publish_to message, once.
func (s *stream) takeDirect(p *peer, id MessageID, d delivered, ack Outbound, out *Output) {
	if s.reliable {
		out.Send = append(out.Send, ack)
		if !p.direct.add(id) {
			return
		}
	}
	out.Deliver = append(out.Deliver, Delivery{From: p.name, Msg: d.msg, Subject: d.subject, Direct: true})
}

// deliver hands on what is in order, and asks for what is missing.
func (s *stream) deliver(p *peer, res arq.Result[delivered], out *Output) {
	for _, item := range res.Deliver {
		if !item.Lost {
			out.Deliver = append(out.Deliver, Delivery{From: p.name, Msg: item.Msg.msg, Subject: item.Msg.subject})
			continue
		}
		missing := int(uint32(item.Through-item.ID)&uint32(arq.MaxID)) + 1
		out.Deliver = append(out.Deliver, Delivery{From: p.name, Missing: missing})
	}
	for _, id := range res.Request {
		s.spoke = true
		out.Send = append(out.Send, Outbound{
			Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REQUEST, ID: MessageID(id), To: p.name,
		})
	}
}

// resupply answers a retransmission request of p with the message, or says
// that it is gone; settled is what the request acknowledged. What p
// acknowledged before is not sent again, so that nothing is carried out twice
// by a peer that forgot what it had (3.x after an outage).
func (s *stream) resupply(now time.Time, p *peer, in *Inbound, out *Output) (settled []arq.Settled[name.Key]) {
	if in.ID > lastMessageID {
		out.Dropped = "retransmission request outside the sequence"
		return nil
	}
	if !s.tx.CanAnswer(p.name.Key()) {
		out.Dropped = "retransmission would put others out of reach"
		return nil
	}
	msg, found, settled := s.tx.Rtx(now, p.name.Key(), arq.MessageID(in.ID))
	reply := Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REPLY, ID: in.ID, To: p.name,
		Encrypt: s.mls != nil, Lost: !found,
	}
	if found {
		reply.App, reply.Metadata = msg, msg.Metadata
	}
	s.sent++
	s.tx.Count()
	s.spoke = true
	out.Send = append(out.Send, reply)
	return settled
}

// takeReply takes a retransmission of p that was decrypted.
func (s *stream) takeReply(now time.Time, p *peer, in *Inbound, d delivered, out *Output) {
	p.received++
	lost := in.Lost && len(d.msg.Payload) == 0
	if s.mls != nil {
		// The flag is not authenticated, but what an empty answer consists of
		// is: no payload and no payload type.
		lost = len(d.msg.Payload) == 0 && d.msg.Type == ""
	}
	s.deliver(p, p.rx.Reply(now, arq.MessageID(in.ID), d, d.msg.size(), lost), out)
}
