package simulate

import (
	"strings"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// What applications do, and what befalls them, at random.

// play is the course of a run.
func (w *world) play() {
	for i := range w.climate.apps {
		a := w.newApp(i, nil)
		w.apps = append(w.apps, a)
		a.connect()
	}
	for n := 0; n < w.actions && !w.stopped(); n++ {
		if !w.befall() {
			w.act()
		}
		w.run(w.pause())
		w.checkHalfOpen()
		w.closeStale(time.Minute)
	}
	if !w.stopped() {
		w.rest()
	}
}

// pause is the time to the next action; now and then it is long.
func (w *world) pause() time.Duration {
	if w.quiet && (w.r.IntN(40) == 0 || w.foreign && w.r.IntN(20) == 0) {
		return w.upTo(90 * time.Minute)
	}
	switch w.r.IntN(25) {
	case 0:
		return w.upTo(40 * time.Second)
	case 1, 2:
		return w.upTo(5 * time.Second)
	case 3, 4, 5, 6, 7:
		return w.upTo(5 * time.Millisecond)
	}
	return w.upTo(w.rush)
}

// befall lets something go wrong; it reports whether it did.
func (w *world) befall() bool {
	a := w.apps[w.r.IntN(len(w.apps))]
	d := w.upTo(4 * time.Second)
	if w.r.IntN(2) == 0 {
		d = w.upTo(45 * time.Second)
	}
	switch n := w.r.IntN(100); {
	case n < 2*w.mutes:
		kind := w.r.IntN(3)
		a.disturb(kind != 1, kind != 0, d)
	case n < 2*(w.mutes+w.cuts):
		a.cut()
		w.later(d, a.connect)
	case n < 2*(w.mutes+w.cuts)+w.crashes:
		switch {
		case w.disks && w.r.IntN(4) > 0:
			a.arm(d)
		case a.up:
			a.crash(d)
		}
	case n < 2*(w.mutes+w.cuts)+w.crashes+w.outages:
		w.outage(d)
	case n < 2*(w.mutes+w.cuts)+w.crashes+w.outages+w.intruders:
		w.intrude(a)
	default:
		return false
	}
	return true
}

// act lets one app do something.
func (w *world) act() {
	a := w.apps[w.r.IntN(len(w.apps))]
	if a.dead {
		return
	}
	if len(a.sessions) == 0 || w.r.IntN(12) == 0 {
		w.open(a)
		return
	}
	s := a.sessions[w.r.IntN(len(a.sessions))]
	if s.talk.group {
		w.actInGroup(s)
		return
	}
	switch n := w.r.IntN(100); {
	case n < 90:
		w.talk(s)
	case n < 95:
		s.leave(control.Close{})
	default:
		s.leave(control.Drain{})
	}
}

func (w *world) actInGroup(s *session) {
	n := w.r.IntN(100)
	switch {
	case w.bulk && !w.flooded && n > 50:
		w.flood(s)
	case s.leads() && n < 20:
		s.do(w.invitation)
		w.ambush(s.app)
	case s.leads() && n < 25:
		s.do(func(op control.Op) control.Event {
			return control.Remove{Op: op, Name: w.anyone().Service(), Force: w.r.IntN(2) == 0}
		})
	case !s.leads() && n < 3:
		s.leave(control.Close{})
	case !s.leads() && n < 5:
		s.leave(control.Drain{})
	case s.leads() && n == 25 && w.r.IntN(4) == 0:
		s.leave([]control.Event{control.Close{}, control.Drain{}}[w.r.IntN(2)])
	case n < 32:
		s.pauseOrResume()
	case n < 40:
		to := w.anyone()
		s.publish(&to, text)
	default:
		w.talk(s)
	}
}

// invitation is for a service or one instance of it, now and then for one
// subject only, which may be another.
func (w *world) invitation(op control.Op) control.Event {
	a := w.apps[w.r.IntN(len(w.apps))]
	inv := control.Invite{Op: op, Name: a.full.Service()}
	switch w.r.IntN(12) {
	case 0:
		inv.Name = a.full
	case 1:
		inv.Subject = a.subject
	case 2:
		inv.Subject = w.apps[w.r.IntN(len(w.apps))].subject
	}
	return inv
}

// anyone is the full name of a random app.
func (w *world) anyone() name.Name { return w.apps[w.r.IntN(len(w.apps))].full }

// talk publishes a few messages.
func (w *world) talk(s *session) {
	switch {
	case w.r.IntN(6) > 0:
		s.speak(1, text)
	case w.bulk:
		s.speak(200, text)
	case w.heavy: // more than the receive window holds, as soon as there is room
		for range 3 {
			s.speak(12, heavy)
			w.run(40 * time.Millisecond)
		}
	default:
		s.speak(2+w.r.IntN(12), text)
	}
}

// flood lets another member miss more messages of s than a receive window has.
// Meanwhile nobody else does anything.
func (w *world) flood(s *session) {
	members := s.core.Roster()
	o := s.talk.current(members[len(members)-1].Name)
	if len(members) < 3 || o == nil {
		return
	}
	w.flooded = true
	w.logf("%v is to miss much of %v", o, s)
	o.app.disturb(true, true, 50*time.Second)
	w.run(40 * time.Second) // it is taken for absent
	for range 5 {
		s.speak(200, text)
		w.run(100 * time.Millisecond)
	}
	w.run(20 * time.Second)
	for range 4 {
		s.speak(1, text)
		w.run(s.cfg.Interval)
	}
}

// speak publishes messages to all, as far as there is room.
func (s *session) speak(count int, kind string) {
	for ; count > 0 && s.live(); count-- {
		s.publish(nil, kind)
	}
}

// Types of messages. A heavy one counts as much in every window as if it had a
// payload of its length.
const text = "text"

var heavy = strings.Repeat("heavy", 1<<18)

// ambush lets something go wrong just while a tries to open a session or to
// bring somebody into it, now and then.
func (w *world) ambush(a *app) {
	if w.r.IntN(20) > 0 {
		return
	}
	d := w.upTo(45 * time.Second)
	w.later(w.upTo(60*time.Millisecond), func() {
		switch kind := w.r.IntN(3); {
		case kind == 0 && w.mutes > 0:
			a.disturb(true, true, d)
		case kind == 1 && w.cuts > 0:
			a.cut()
			w.later(d, a.connect)
		case kind == 2 && w.crashes > 0 && a.up:
			a.crash(d)
		}
	})
}

// maxSessions that one app opens at a time.
const maxSessions = 3

// open begins a group or a 1:1 session.
func (w *world) open(a *app) {
	led := 0
	for _, s := range a.sessions {
		if s.leads() {
			led++
		}
	}
	if led >= maxSessions {
		return
	}
	t := &conversation{id: w.r.Uint32(), group: w.groups && (!w.pairs || w.r.IntN(2) == 0)}
	peer := name.Name{}
	if t.group {
		if !w.mayLead(a) {
			return
		}
		data, control, _ := name.ChannelIDs(a.subject, name.New("org", "ns", "channel"))
		t.channel = name.New("org", "ns", "channel").WithID(data)
		t.control = name.New("org", "ns", "channel").WithID(control)
	} else {
		to := w.anyone()
		if to.Key() == a.full.Key() {
			return
		}
		if w.r.IntN(4) > 0 {
			to = to.Service()
		}
		peer = to
	}
	w.talks[t.id] = t
	w.ambush(a)
	s := a.begin(t, control.Initiator, peer, w.newPace())
	s.step(control.Start{})
	if t.group && w.r.IntN(3) == 0 {
		s.gather()
	}
}

// gather invites everybody.
func (s *session) gather() {
	for _, o := range s.w.apps {
		if o != s.app && s.live() {
			s.do(func(op control.Op) control.Event { return control.Invite{Op: op, Name: o.full.Service()} })
		}
	}
}

// mayLead keeps most of a run in one group: only then it grows.
func (w *world) mayLead(a *app) bool {
	for _, o := range w.apps {
		for _, s := range o.sessions {
			if s.talk.group && s.leads() && (o == a || w.r.IntN(5) > 0) {
				return false
			}
		}
	}
	return true
}

// do asks for an operation that has an outcome.
func (s *session) do(ev func(control.Op) control.Event) {
	s.w.ops++
	if s.asked == nil {
		s.asked, s.forced = map[control.Op]bool{}, map[control.Op]bool{}
	}
	s.asked[s.w.ops] = true
	e := ev(s.w.ops)
	if r, ok := e.(control.Remove); ok && r.Force {
		s.forced[s.w.ops] = true
	}
	s.w.logf("%v: operation %d, %T", s, s.w.ops, e)
	s.step(e)
}

// leave ends the session.
func (s *session) leave(ev control.Event) {
	s.leaving = true
	s.w.logf("%v: %T", s, ev)
	s.step(ev)
}

// pauseOrResume is a soft close, or the return from one.
func (s *session) pauseOrResume() {
	if !s.opened || s.leaving {
		return
	}
	s.turned = s.w.now
	if s.away {
		s.do(func(op control.Op) control.Event { return control.Rejoin{Op: op} })
	} else {
		s.do(func(op control.Op) control.Event { return control.SoftClose{Op: op} })
	}
	if s.live() {
		s.away = !s.core.Roster()[0].Online
	}
}

// intrude lets an app say something in a conversation that it has no part in.
func (w *world) intrude(a *app) {
	if len(w.sessions) == 0 || !a.up {
		return
	}
	t := w.sessions[w.r.IntN(len(w.sessions))].talk
	for _, s := range t.sessions {
		if s.app.subject == a.subject { // once a member, and hard to tell from it
			return
		}
	}
	victim := t.sessions[w.r.IntN(len(t.sessions))]
	o := control.Outbound{ID: control.MessageID(1 + w.r.IntN(50)), To: victim.app.full}
	if t.group && w.r.IntN(3) == 0 {
		o.To, o.Broadcast = t.channel, true
	}
	command := &pb.CommandPayload{}
	switch w.r.IntN(5) {
	case 0:
		o.Type = typeLeaveRequest
		command.CommandPayloadType = &pb.CommandPayload_LeaveRequest{LeaveRequest: &pb.LeaveRequestPayload{}}
	case 1:
		o.Type = typeGroupClose
		command.CommandPayloadType = &pb.CommandPayload_GroupClose{GroupClose: &pb.GroupClosePayload{}}
	case 2:
		o.Type = typeHeartbeat
		command.CommandPayloadType = &pb.CommandPayload_Heartbeat{Heartbeat: &pb.HeartbeatPayload{Epoch: uint64(w.r.IntN(9))}}
	default:
		o.Type = typeMessage
	}
	in := a.inbound(o)
	if o.Type == typeMessage {
		in.App = &pb.ApplicationPayload{PayloadType: "text", Blob: []byte("intruder")}
	} else {
		in.Command = command
	}
	w.logf("%s intrudes", a.label)
	w.send(a, &packet{talk: t, to: o.To, wide: o.Broadcast, in: in})
}
