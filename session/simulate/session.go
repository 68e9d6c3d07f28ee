package simulate

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// session is one session of an app: its machine, and what the driver and the
// application know of it.
type session struct {
	w    *world
	app  *app
	talk *conversation
	uid  int
	cfg  control.Config
	core control.Core
	mls  *witness // nil without MLS
	due  time.Time

	known      presence
	said       said
	disk       disk
	outbox     []control.Outbound // waits for the link
	subscribed bool               // to the channel
	opened     bool
	leaving    bool // the application asked for the end
	away       bool // the application paused it
	crashed    bool
	ended      *control.End

	began, openedAt, endedAt time.Time
	turned                   time.Time // last change of epoch or presence

	writing   *message   // is being published
	stream    []*message // published to all, by id from 1
	published map[uint32]*message
	asked     map[control.Op]bool   // operations of the application
	forced    map[control.Op]bool   // removals by force among them
	ops       map[control.Op]bool   // those that are over
	readers   map[*session]*reading // by whom it reads
	latest    map[name.Key]*session // whose stream was read last, by name
}

// message is one application message.
type message struct {
	index    int
	by       *session
	id       uint32
	direct   bool
	size     int        // bytes, as far as they are many
	audience []*session // who was there for the sender
	awaited  []*session // those that did not go offline or leave since
	readBy   []*session
	answered []*session // by whom it was acknowledged, or asked for
	taken    []*session // by whom it was acknowledged
	settled  bool
	again    bool // may be settled once more, since its sender started again
	acked    bool
}

// reading is how far a session has read the stream of another.
type reading struct {
	last   uint32          // id
	missed map[uint32]bool // reported as lost
	direct map[int]bool    // messages to it alone, by index
}

func (s *session) leads() bool { return s.cfg.Role == control.Initiator }

func (s *session) live() bool { return s.ended == nil && !s.crashed }

func (s *session) String() string { return fmt.Sprintf("%s/%d", s.app.label, s.uid) }

// begin makes a session; nothing happens in it before Start.
func (a *app) begin(t *conversation, role control.Role, peer name.Name, p pace) *session {
	w := a.w
	s := &session{
		w: w, app: a, talk: t, uid: len(w.sessions) + 1, began: w.now, turned: w.now,
		published: map[uint32]*message{}, ops: map[control.Op]bool{}, readers: map[*session]*reading{}, latest: map[name.Key]*session{}, said: said{},
	}
	s.cfg = control.Config{
		Role: role, Local: a.full, Peer: peer, Channel: t.channel, Control: t.control, SessionID: t.id,
		Reliable: w.reliable, MaxRetries: p.retries, Interval: p.interval, NewID: w.newID,
		EndWhenLost: w.ends, LostAfter: 30 * time.Second,
		RotateAfter: w.rotateAfter, RotateMessages: w.rotateMessages,
	}
	if w.mls {
		s.mls = &witness{engine: w.newEngine(a), s: s}
		s.cfg.MLS = s.mls
	}
	switch {
	case !t.group:
		s.core = control.New(s.cfg)
	case role == control.Initiator:
		s.core = control.NewModerator(s.cfg)
	default:
		s.core = control.NewParticipant(s.cfg)
	}
	s.core = w.bend(s)
	if role == control.Initiator {
		t.leader = s
	}
	t.sessions = append(t.sessions, s)
	t.slowest = t.slowest.with(p)
	a.sessions = append(a.sessions, s)
	w.sessions = append(w.sessions, s)
	w.result.Sessions++
	w.logf("%s begins session %d", a.label, s.uid)
	return s
}

// step lets the machine take one event, does what it wants, and checks it.
func (s *session) step(ev control.Event) {
	if !s.live() {
		return
	}
	w := s.w
	w.result.Steps++
	before, epoch := s.core.Roster(), s.core.Epoch()
	out := s.core.Step(s.app.clock.at(w.now), ev)
	s.checkRefused(ev, out)
	if s.core.Epoch() != epoch || out.Opened {
		s.turned = w.now
	}
	if w.cfg.Trace {
		s.traceStep(out)
	}
	if s.dies(before, out) {
		return
	}
	s.wrote(out)
	s.subscription(out)
	s.note(out)
	s.outbox = append(s.outbox, s.fresh(out.Send)...)
	s.flush(out.Ended != nil)
	s.read(before, out)
	if out.Ended != nil {
		s.end(out.Ended)
	} else {
		s.due = s.app.clock.when(s.core.NextTimeout())
	}
	s.check(out)
}

// fresh leaves out data that waits for the link already, as the driver does.
func (s *session) fresh(send []control.Outbound) []control.Outbound {
	return slices.DeleteFunc(send, func(o control.Outbound) bool {
		return !control.IsCommand(o.Type) && slices.ContainsFunc(s.outbox, func(q control.Outbound) bool {
			return q.Type == o.Type && q.ID == o.ID
		})
	})
}

// flush sends what waits, if there is a link: what is urgent first, and
// encrypted only now.
func (s *session) flush(ended bool) {
	if !s.app.up {
		return
	}
	waiting := s.outbox
	s.outbox = nil
	for _, urgent := range []bool{true, false} {
		for _, o := range waiting {
			if o.Urgent == urgent && !(o.Encrypt && ended) { // its keys are gone
				s.transmit(o)
			}
		}
	}
}

func (s *session) transmit(o control.Outbound) {
	in := s.app.inbound(o)
	if !control.IsCommand(o.Type) {
		blob := o.App.Payload
		if o.Encrypt {
			in.AAD = strconv.AppendUint([]byte(o.To.Components[2]), uint64(o.Type)<<32|uint64(o.ID), 36)
			s.seals()
			var err error
			if blob, err = s.core.Seal(blob, in.AAD); err != nil {
				s.w.failf("%v cannot encrypt: %v", s, err)
				return
			}
		}
		in.App = &pb.ApplicationPayload{PayloadType: o.App.Type, Blob: blob}
	}
	s.checkOutbound(o)
	s.confirms(o)
	s.w.send(s.app, &packet{talk: s.talk, to: o.To, wide: o.Broadcast, in: in})
}

// subscription enters and leaves the channel.
func (s *session) subscription(out control.Output) {
	if s.subscribed && (out.Unsubscribe || out.Ended != nil) {
		s.subscribed = false
		if !slices.ContainsFunc(s.app.sessions, s.shares) {
			s.w.net.unsubscribe(s.app, s.talk.channel.Key())
			s.w.net.unsubscribe(s.app, s.talk.control.Key())
		}
	}
	if out.Subscribe {
		s.subscribed = true
		s.subscribe()
	}
}

// shares reports whether o needs the channel of s: groups of one moderator may
// have the same.
func (s *session) shares(o *session) bool {
	return o.subscribed && o.talk.channel.Key() == s.talk.channel.Key()
}

// subscribe asks the node for the channel; it is asked again on every new link.
func (s *session) subscribe() {
	if !s.app.up || !s.talk.group {
		return
	}
	link := s.app.link
	s.w.later(2*time.Millisecond+s.w.upTo(5*time.Millisecond), func() {
		if !s.live() || !s.subscribed || !s.app.up || s.app.link != link {
			return
		}
		s.w.net.subscribe(s.app, s.talk.channel.Key())
		s.w.net.subscribe(s.app, s.talk.control.Key())
		s.step(control.Subscribed{})
	})
}

// note remembers what the application is told.
func (s *session) note(out control.Output) {
	if out.Opened {
		if s.opened {
			s.w.failf("%v opened twice", s)
		}
		s.opened, s.openedAt = true, s.w.now
	}
	for _, d := range out.Done {
		if s.ops[d.Op] {
			s.w.failf("%v: operation %d is done twice", s, d.Op)
		}
		s.ops[d.Op] = true
		s.turned = s.w.now
	}
	for _, m := range out.Members {
		switch m.What {
		case control.Blocked:
			s.w.goesStale(s.talk)
		case control.Left, control.Expelled, control.Offline:
			s.forget(m.Name, m.What == control.Offline)
		}
	}
}

// forget: a member is gone, so it is not waited for. One that comes back is to
// have acknowledged what was settled before.
func (s *session) forget(n name.Name, offline bool) {
	is := func(o *session) bool { return o.app.full.Key() == n.Key() }
	for _, m := range s.published {
		if !offline {
			m.audience = slices.DeleteFunc(m.audience, is)
		}
		if !offline || !m.settled {
			m.awaited = slices.DeleteFunc(m.awaited, is)
		}
	}
}

func (s *session) end(e *control.End) {
	s.ended, s.endedAt, s.due = e, s.w.now, time.Time{}
	s.app.bury(s)
}

// publish sends a message to all, or to one.
func (s *session) publish(to *name.Name, kind string) *message {
	w := s.w
	if len(s.outbox) >= 64 || to == nil && !s.core.CanPublish() || to != nil && !s.core.CanPublishTo() {
		return nil
	}
	m := &message{index: len(w.messages), by: s, direct: to != nil, size: len(kind)}
	for _, e := range s.core.Roster() {
		if !e.Self && e.Online && (to == nil || to.Key() == e.Name.Key()) {
			if o := s.talk.current(e.Name); o != nil && o.opened {
				m.audience = append(m.audience, o)
			}
		}
	}
	m.awaited = slices.Clone(m.audience)
	w.messages = append(w.messages, m)
	w.result.Published++
	msg := control.AppMessage{Type: kind, Payload: strconv.AppendInt(nil, int64(m.index), 10)}
	s.writing = m
	if to != nil {
		s.step(control.PublishTo{To: *to, Msg: msg})
	} else {
		s.step(control.Publish{Msg: msg})
	}
	return m
}

// wrote takes the id of the message that was published.
func (s *session) wrote(out control.Output) {
	m := s.writing
	if m == nil {
		return
	}
	s.writing = nil
	m.id = uint32(out.PublishedID)
	if m.id == 0 {
		s.w.failf("%v refuses to publish, though it said it could", s)
		return
	}
	s.published[m.id] = m
	if !m.direct {
		s.stream = append(s.stream, m)
		if int(m.id) != len(s.stream) {
			s.w.failf("%v gives its message %d the id %d", s, len(s.stream), m.id)
		}
	}
}

// current is the session that an app has in the conversation now.
func (t *conversation) current(n name.Name) *session {
	for _, o := range slices.Backward(t.sessions) {
		if o.live() && o.app.full.Key() == n.Key() {
			return o
		}
	}
	return nil
}
