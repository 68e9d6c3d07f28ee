package control

import (
	"maps"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/arq"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Application messages of a group: to all, or to one.

// maxLetters bounds the messages to single members that wait for their
// acknowledgement.
const maxLetters = 64

// HeldBytes is the size of what waits for older messages.
func (g *group) HeldBytes() (n int) {
	for _, m := range g.members {
		n += m.rx.HeldBytes()
	}
	return n
}

// CanPublishTo reports whether a PublishTo event would be accepted now.
func (g *group) CanPublishTo() bool { return g.state == open && len(g.letters) < maxLetters }

// CanPublish reports whether a Publish event would be accepted now.
//
// Beside the window one rule holds it back. A receiver takes whatever arrives
// first for the start of a stream and drops an earlier message as old. So the
// first message that a new member is sent must be acknowledged before the next
// one may follow and overtake it; and while there is nobody, or the link is
// down, only one message waits for a new member, since all that wait are sent
// at once. A new member that does not answer holds up the others until the
// retries of one message run out, and that maxVain times.
func (g *group) CanPublish() bool {
	if g.state != open {
		return false
	}
	if g.reliable && (g.owing > 0 || g.parked && g.awaitsNewcomer()) {
		return false
	}
	return g.tx.CanPublish(0)
}

// awaitsNewcomer reports whether what is sent next may be the first that
// somebody gets.
func (g *group) awaitsNewcomer() bool {
	return len(g.members) == 0 || slices.ContainsFunc(g.members, (*member).awaited)
}

// maxVain is how often all may wait for one that never acknowledges anything.
const maxVain = 2

// awaited reports whether the first message to m is to be acknowledged before
// the next one may follow.
func (m *member) awaited() bool { return m.unproven && m.receives && m.vain < maxVain }

// proven takes m off the list of those who may hold up others.
func (g *group) proven(m *member, unproven bool) {
	m.unproven = unproven
	if m.owing {
		m.owing = false
		g.owing--
	}
}

func (g *group) onPublish(now time.Time, msg AppMessage, out *Output) {
	if !g.CanPublish() {
		out.Dropped = "publish without room"
		return
	}
	id, transmit := g.tx.Publish(now, msg, msg.size())
	out.PublishedID = id
	g.parked = g.reliable && !transmit
	if transmit {
		g.transmit(arq.Outgoing[name.Key, AppMessage]{ID: id, ToAll: true, Msg: msg}, out)
	}
	if !g.reliable { // sent once, or dropped because nobody is there
		out.Settled = append(out.Settled, Settled{ID: id, Acknowledged: transmit})
	}
}

// transmit sends a message of the stream, to the channel or again to one member.
func (g *group) transmit(o arq.Outgoing[name.Key, AppMessage], out *Output) {
	if !o.ToAll {
		if m := g.byName[o.Peer]; m != nil {
			out.Send = append(out.Send, g.message(MessageID(o.ID), m.name, o.Msg))
		}
		return
	}
	for _, m := range g.members {
		if g.reliable && m.online && m.awaited() && !m.owing {
			m.owing = true
			g.owing++
		}
	}
	g.announced, g.parked = true, false
	msg := g.message(MessageID(o.ID), g.cfg.Channel, o.Msg)
	msg.Broadcast = true
	out.Send = append(out.Send, msg)
}

// onDataTimers retransmits, and gives up.
func (g *group) onDataTimers(now time.Time, out *Output) {
	resend, settled, lost := g.tx.Tick(now)
	g.deaf = g.deaf || g.tx.Starved()
	for _, o := range resend {
		g.transmit(o, out)
	}
	g.settle(settled, out)
	for _, k := range lost {
		if m := g.byName[k]; m != nil {
			if m.owing {
				m.vain++
			}
			g.silent(now, m, out)
		}
	}
	g.onLetterTimers(now, out)
	for _, m := range g.members {
		g.deliver(&m.peer, m.rx.Tick(now), out)
	}
}

// onData handles the four data types. It returns the epoch of what m encrypted,
// if that was decrypted.
func (g *group) onData(now time.Time, m *member, in *Inbound, out *Output) (epoch uint64, encrypted bool) {
	if g.state != open && g.state != draining {
		out.Dropped = "data while the session is not open"
		return 0, false
	}
	switch in.Type {
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG:
		return g.onMessage(now, m, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG_ACK:
		m.missed = 0
		g.onAck(m, in.ID, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REQUEST:
		m.missed = 0
		g.proven(m, false)
		g.settle(g.resupply(now, &m.peer, in, out), out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REPLY:
		return g.onRetransmitReply(now, m, in, out)
	default:
		out.Dropped = "unknown message type"
	}
	return 0, false
}

// open decrypts a message of m. One from before m joined is of an earlier stay
// of the same app, and would be taken for the start of its new stream.
func (g *group) open(m *member, in *Inbound, out *Output) (d delivered, epoch uint64, ok bool) {
	d, epoch, ok = g.decrypt(&m.peer, in, out)
	if ok && g.mls != nil && epoch < m.since {
		out.Dropped = "message from before the member joined"
		return d, 0, false
	}
	return d, epoch, ok
}

func (g *group) onMessage(now time.Time, m *member, in *Inbound, out *Output) (epoch uint64, ok bool) {
	d, epoch, ok := g.open(m, in, out)
	if !ok {
		return 0, false
	}
	g.seen(now, m, epoch, false, out)
	g.take(now, &m.peer, in, d, out)
	return epoch, g.mls != nil
}

func (g *group) onRetransmitReply(now time.Time, m *member, in *Inbound, out *Output) (epoch uint64, ok bool) {
	if in.ID > lastMessageID {
		out.Dropped = "retransmission outside the sequence"
		return 0, false
	}
	d, epoch, ok := g.open(m, in, out)
	if !ok {
		return 0, false
	}
	g.seen(now, m, epoch, false, out)
	g.takeReply(now, &m.peer, in, d, out)
	return epoch, g.mls != nil
}

func (g *group) onAck(m *member, id MessageID, out *Output) {
	if id <= lastMessageID {
		g.proven(m, false)
		g.settle(g.tx.Ack(m.name.Key(), arq.MessageID(id)), out)
		return
	}
	i := slices.IndexFunc(g.letters, func(l *letter) bool { return l.to == m && l.id == id })
	if i < 0 {
		out.Dropped = "acknowledgement of nothing pending"
		return
	}
	out.Settled = append(out.Settled, g.letters[i].settled(true))
	g.letters = slices.Delete(g.letters, i, i+1)
}

// letter is a message to one member: outside the sequence, repeated under its
// id until it is acknowledged.
type letter struct {
	id       MessageID
	to       *member
	msg      AppMessage
	attempts int
	due      time.Time
}

func (l *letter) settled(acknowledged bool) Settled {
	s := Settled{ID: arq.MessageID(l.id), Acknowledged: acknowledged}
	if !acknowledged {
		s.Missing = []name.Name{l.to.name}
	}
	return s
}

// onPublishTo sends a letter. Nothing waits for a member that is not there.
func (g *group) onPublishTo(now time.Time, ev PublishTo, out *Output) {
	if !g.CanPublishTo() {
		out.Dropped = "publish without room"
		return
	}
	l := &letter{id: g.letterID(), msg: ev.Msg, to: g.byName[ev.To.Key()]}
	out.PublishedID = arq.MessageID(l.id)
	if l.to == nil || !l.to.online {
		l.to = &member{peer: peer{name: ev.To}}
		out.Settled = append(out.Settled, l.settled(false))
		return
	}
	metadata := maps.Clone(ev.Msg.Metadata)
	if metadata == nil {
		metadata = make(map[string]string, 1)
	}
	metadata[wire.MetaPublishTo] = wire.MetaTrue
	l.msg.Metadata = metadata
	g.letters = append(g.letters, l)
	if g.linkDown.IsZero() {
		g.sendLetter(now, l, out)
	}
	if !g.reliable { // sent once, or never
		g.letters = slices.DeleteFunc(g.letters, func(o *letter) bool { return o == l })
		out.Settled = append(out.Settled, l.settled(l.attempts > 0))
	}
}

// letterID draws from [2^31, 2^32-2].
func (g *group) letterID() MessageID {
	for {
		id := lastMessageID + 1 + g.draw()%lastMessageID
		if !slices.ContainsFunc(g.letters, func(l *letter) bool { return l.id == id }) {
			return id
		}
	}
}

func (g *group) sendLetter(now time.Time, l *letter, out *Output) {
	l.attempts++
	l.due = now.Add(g.interval)
	g.tx.Count()
	out.Send = append(out.Send, g.message(l.id, l.to.name, l.msg))
}

func (g *group) onLetterTimers(now time.Time, out *Output) {
	g.letters = slices.DeleteFunc(g.letters, func(l *letter) bool {
		switch {
		case now.Before(l.due):
			return false
		case l.attempts > g.retries:
			out.Settled = append(out.Settled, l.settled(false))
			return true
		}
		g.sendLetter(now, l, out)
		return false
	})
}

// failLetters gives up the letters to m.
func (g *group) failLetters(m *member, out *Output) {
	g.letters = slices.DeleteFunc(g.letters, func(l *letter) bool {
		if l.to == m {
			out.Settled = append(out.Settled, l.settled(false))
		}
		return l.to == m
	})
}
