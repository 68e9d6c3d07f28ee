package simulate

import (
	"fmt"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// app is one instance of an application: a name, an identity, a link, and its
// sessions. It does what package session does around the machines.
type app struct {
	w        *world
	index    int // of its place; instances follow each other there
	label    string
	full     name.Name
	subject  string
	identity signer
	clock    clock
	provider provider
	stores   bool          // its sessions, since it will crash
	fuse     int           // steps to its crash that must be stored
	down     time.Duration // how long it is away then
	asleep   []*session    // that were stored when it crashed
	foreign  bool          // it checks the age of tokens, as the real library does
	dead     bool          // crashed

	up      bool // linked to the node
	link    int  // number of the link
	unheard bool // what it sends is lost
	deaf    bool // what it is sent is lost
	trouble time.Time

	sessions []*session // that have not ended
	tombs    []tomb
}

// tomb remembers an ended session whose peer may repeat its farewell.
type tomb struct {
	talk  *conversation
	peer  name.Key
	until time.Time
}

const tombLife = 30 * time.Second

// conversation is what sessions of different apps have in common: an id, and
// the names of a channel.
type conversation struct {
	id       uint32
	group    bool
	channel  name.Name // data
	control  name.Name
	leader   *session // moderator, or who opened it
	sessions []*session
	stale    time.Time // when an old token cost the group a member, or a change
	slowest  pace      // the longest of all their intervals, and the most retries
}

// newApp starts an instance at a place. It keeps the subject of its forerunner,
// or has one of its own, as identities with a shared secret do.
func (w *world) newApp(index int, before *app) *app {
	service := index
	if index > 0 && index == w.climate.apps-1 && w.apps1() {
		service = 0 // a second instance of the first service
	}
	a := &app{w: w, index: index, label: string(rune('a' + index))}
	if before != nil && w.r.IntN(3) == 0 {
		a.subject, a.identity, a.label = before.subject, before.identity, before.label
		a.foreign = before.foreign
	} else {
		a.subject = fmt.Sprintf("org/ns/s%d_%d", service, w.r.Uint32())
		a.identity = w.newSigner(a.subject)
		a.foreign = w.foreign && w.r.IntN(2) == 0
	}
	if before == nil {
		a.clock = w.newClock()
	} else {
		a.clock = before.clock
		a.label = before.label + "'"
	}
	a.provider = w.newProvider(a.clock.at(w.now))
	w.foreigners[a.subject] = a.foreign
	a.full = name.New("org", "ns", fmt.Sprintf("s%d", service)).WithID(name.IDOf(a.subject))
	return a
}

// apps1 reports whether the last app shares the service of the first.
func (w *world) apps1() bool { return w.cfg.Seed%3 == 0 && w.climate.apps > 2 }

// connect links the app to the node, if both are there.
func (a *app) connect() {
	if a.up || a.dead || a.w.net.down {
		return
	}
	a.link++
	a.up = true
	a.trouble = a.w.now
	a.w.logf("%s: link up", a.label)
	a.w.net.subscribe(a, a.full.Key())
	a.w.net.subscribe(a, a.full.Service().Key())
	for _, s := range a.sessions {
		if s.subscribed {
			s.subscribe()
		}
	}
	for _, s := range slices.Clone(a.sessions) {
		s.step(control.LinkUp{})
	}
}

// cut breaks the link.
func (a *app) cut() {
	if !a.up {
		return
	}
	a.up = false
	a.w.logf("%s: link down", a.label)
	a.w.net.disconnect(a)
	for _, s := range slices.Clone(a.sessions) {
		s.step(control.LinkDown{})
	}
}

// crash ends the app with all it knows; a new instance comes after d.
func (a *app) crash(d time.Duration) {
	w := a.w
	w.logf("%s crashes", a.label)
	a.up, a.dead = false, true
	w.net.disconnect(a)
	for _, s := range a.sessions {
		s.crashed, s.due = true, time.Time{}
	}
	a.sessions = nil
	next := w.newApp(a.index, a)
	w.apps[a.index] = next
	w.later(d, next.connect)
}

// troubled reports whether something is wrong with the app or its link now.
func (a *app) troubled() bool { return !a.up || a.unheard || a.deaf || a.w.net.down }

// wellFor reports whether nothing was wrong for d.
func (a *app) wellFor(d time.Duration) bool {
	return !a.troubled() && !a.trouble.Add(d).After(a.w.now)
}

// disturb makes the app unheard, deaf or both for d.
func (a *app) disturb(unheard, deaf bool, d time.Duration) {
	if a.unheard || a.deaf || !a.up {
		return
	}
	a.w.logf("%s is cut off: unheard %v, deaf %v, for %v", a.label, unheard, deaf, d)
	a.unheard, a.deaf = unheard, deaf
	a.w.later(d, a.recover)
}

func (a *app) recover() {
	if a.unheard || a.deaf {
		a.w.logf("%s is heard and hears again", a.label)
		a.unheard, a.deaf, a.trouble = false, false, a.w.now
	}
}

// arrive sorts a message by session.
func (a *app) arrive(p *packet) {
	if s := a.sessionOf(p); s != nil {
		s.step(control.Received{Msg: p.in})
		return
	}
	switch p.in.Type {
	case typeDiscoveryRequest:
		a.answer(p, control.Outbound{Type: typeDiscoveryReply})
	case typeJoinRequest:
		if p.in.From.Key() != p.talk.leader.app.full.Key() {
			return // nobody else may invite, as far as our policy goes
		}
		s := a.begin(p.talk, control.Responder, p.in.From, a.w.taken(p.in))
		s.step(control.Start{})
		s.step(control.Received{Msg: p.in})
	case typeLeaveRequest, typeGroupClose:
		buried := func(t tomb) bool {
			return t.talk == p.talk && t.peer == p.in.From.Key() && a.w.now.Before(t.until)
		}
		if slices.ContainsFunc(a.tombs, buried) {
			a.answer(p, control.FarewellAnswer(p.in.Type, p.in.From))
		}
	}
}

// answer replies outside any session.
func (a *app) answer(p *packet, o control.Outbound) {
	if !a.up {
		return
	}
	in := a.inbound(o)
	in.ID = p.in.ID
	a.w.send(a, &packet{talk: p.talk, to: p.in.From, in: in})
}

// inbound is a message of this app as its receiver gets it.
func (a *app) inbound(o control.Outbound) control.Inbound {
	return control.Inbound{
		Type: o.Type, ID: o.ID, From: a.full, Subject: a.subject, Key: a.identity.public,
		Command: o.Command, Metadata: o.Metadata, Lost: o.Lost,
	}
}

// sessionOf finds the session of a message. 1:1 sessions are found by id and
// sender, groups by id.
func (a *app) sessionOf(p *packet) *session {
	for _, s := range a.sessions {
		if s.talk != p.talk {
			continue
		}
		if p.talk.group || s.core.Roster()[1].Name.Key() == p.in.From.Key() ||
			p.in.Type == typeDiscoveryReply && s.leads() {
			return s
		}
	}
	return nil
}

// bury remembers an ended session, and forgets those that are long ended.
func (a *app) bury(s *session) {
	a.sessions = slices.DeleteFunc(a.sessions, func(o *session) bool { return o == s })
	a.tombs = slices.DeleteFunc(a.tombs, func(t tomb) bool { return !a.w.now.Before(t.until) })
	if !s.leads() && s.opened {
		a.tombs = append(a.tombs, tomb{talk: s.talk, peer: s.cfg.Peer.Key(), until: a.w.now.Add(tombLife)})
	}
}
