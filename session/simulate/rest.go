package simulate

import (
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// What must come out when the network is well again.

// settling is how long the machines get to find together: absence is noticed
// after three heartbeats, and a missed commit costs a heartbeat and a rejoin.
const settling = 90 * time.Second

// rest heals the network, lets the machines come to rest, and checks the end.
func (w *world) rest() {
	w.logf("the network is well from now on")
	w.healed = true
	w.net.down = false
	for _, a := range w.apps {
		a.recover()
		a.stores = false
		a.restart()
		a.connect()
	}
	w.run(settling)
	for _, s := range slices.Clone(w.sessions) {
		if s.live() && s.away {
			s.pauseOrResume()
		}
	}
	w.run(settling)
	w.expelGhosts()
	w.run(settling)
	if w.closeStale(0) {
		w.run(settling)
	}
	for range 100 { // a rotation may have begun just now
		if len(w.queue) > 0 {
			w.run(10 * time.Millisecond)
		}
	}
	if w.stopped() {
		return
	}
	w.checkRest()
	if !w.stopped() {
		w.finale()
	}
}

// checkHalfOpen: nobody who was invited waits for ever to be let in.
func (w *world) checkHalfOpen() {
	for _, a := range w.apps {
		for _, s := range a.sessions {
			limit := min(pace{s.cfg.MaxRetries, s.cfg.Interval}.patience(), control.MaxHalfOpen) + time.Second
			if !s.leads() && !s.opened && w.now.Sub(s.began) > limit {
				w.failf("%v is still half open", s)
			}
		}
	}
}

// moderators are the sessions that lead a group now.
func (w *world) moderators() (list []*session) {
	for _, s := range w.sessions {
		if s.talk.group && s.leads() && s.live() && !s.leaving {
			list = append(list, s)
		}
	}
	return list
}

// expelGhosts removes members whose app crashed or left unheard, as an
// application would. They must be offline by now.
func (w *world) expelGhosts() {
	for _, mo := range w.moderators() {
		for _, e := range mo.core.Roster() {
			if e.Self || mo.talk.current(e.Name) != nil {
				continue
			}
			if e.Online {
				w.failf("%v takes %v for present, whose session is over", mo, e.Name.Path())
			}
			mo.do(func(op control.Op) control.Event { return control.Remove{Op: op, Name: e.Name.Service(), Force: true} })
		}
	}
}

// checkRest checks what must hold when nothing happens any more.
func (w *world) checkRest() {
	for _, s := range w.sessions {
		if s.crashed {
			continue
		}
		for op := range s.asked {
			if !s.ops[op] {
				w.failf("%v: operation %d never ends", s, op)
			}
		}
		if s.live() {
			w.checkBounds(s)
			if !s.opened {
				w.failf("%v is neither open nor over", s)
			}
		}
	}
	for _, mo := range w.moderators() {
		w.agree(mo)
	}
	for _, m := range w.messages {
		w.checkRead(m)
	}
}

// agree checks that the members of a group have its moderator's roster and
// epoch, and nobody else takes itself for a member.
func (w *world) agree(mo *session) {
	want := roster(mo)
	for _, s := range mo.talk.sessions {
		if s == mo || !s.live() || s.leaving {
			continue
		}
		if !slices.Contains(want, s.app.full.Key()) {
			w.failf("%v is not on the roster of %v, but goes on", s, mo)
			continue
		}
		if got := roster(s); !slices.Equal(got, want) {
			w.failf("%v has %d members on its roster, its moderator %v has %d", s, len(got), mo, len(want))
		}
		if s.core.Epoch() != mo.core.Epoch() {
			w.failf("%v is in epoch %d, its moderator %v in %d", s, s.core.Epoch(), mo, mo.core.Epoch())
		}
		for _, e := range mo.core.Roster() {
			if e.Name.Key() == s.app.full.Key() && !e.Online {
				w.failf("%v takes %v for absent", mo, s)
			}
		}
	}
	for _, e := range mo.core.Roster() {
		if !e.Self && mo.talk.current(e.Name) == nil {
			w.failf("%v is on the roster of %v, but its session is over", e.Name.Path(), mo)
		}
	}
}

// roster is who is in a group for s, in an order that can be compared.
func roster(s *session) (keys []name.Key) {
	for _, e := range s.core.Roster() {
		keys = append(keys, e.Name.Key())
	}
	slices.SortFunc(keys, func(a, b name.Key) int {
		if a.ID.Hi < b.ID.Hi || a.ID.Hi == b.ID.Hi && a.ID.Lo < b.ID.Lo {
			return -1
		}
		return 1
	})
	return keys
}

// checkRead: who acknowledged a message has read it, or was told that it is
// lost: a request for a retransmission counts as acknowledgement too, and if
// the one that asked goes away then, the answer may never come; nor does it if
// the group has lost its moderator, and the two are left in different epochs.
func (w *world) checkRead(m *message) {
	if !m.settled && m.by.live() && len(m.awaited) > 0 {
		w.failf("%v: message %d has no outcome", m.by, m.id)
	}
	if !m.acked || !w.reliable || !m.by.live() || m.by.mistakable() {
		return
	}
	for _, to := range m.awaited {
		apart := to.core.Epoch() != m.by.core.Epoch()
		if to.live() && !apart && !slices.Contains(m.readBy, to) && !to.reading(m.by).missed[m.id] {
			w.failf("%v acknowledged message %d of %v, but never read it", to, m.id, m.by)
		}
	}
}

// mistakable reports whether others that were away may take the stream of s for
// an earlier one of the same app in the same group: without MLS nothing tells
// them apart.
func (s *session) mistakable() bool {
	stays := 0
	for _, o := range s.talk.sessions {
		if o.app.full.Key() == s.app.full.Key() {
			stays++
		}
	}
	return s.mls == nil && s.talk.group && stays > 1
}

// finale: everybody speaks and is heard; then everything ends, and nothing is
// left.
func (w *world) finale() {
	for _, s := range slices.Clone(w.sessions) {
		if !s.live() || s.leaving || len(s.core.Roster()) < 2 || !s.reachesAll() {
			continue
		}
		m := s.publish(nil, text)
		if m == nil {
			w.failf("%v cannot publish in the end", s)
			continue
		}
		w.run(3 * s.talk.slowest.interval)
		for _, e := range s.core.Roster() {
			o := s.talk.current(e.Name)
			// One that refuses our new keys for our old token is sent the message
			// again with the next, if it is sent again at all.
			refuses := o != nil && o.app.foreign && !w.reliable
			if !e.Self && o != nil && !slices.Contains(m.readBy, o) && !s.mistakable() && !refuses {
				w.failf("%v does not hear %v in the end", o, s)
			}
		}
	}
	for _, s := range slices.Clone(w.sessions) {
		if s.live() && !s.leaving {
			s.leave(control.Close{})
		}
	}
	w.run(w.slowest().patience() + control.MaxHalfOpen + time.Minute)
	for _, a := range w.apps {
		for _, s := range a.sessions {
			w.failf("%v does not end", s)
		}
	}
	if len(w.queue) > 0 {
		w.failf("%d messages are on their way though everything is over", len(w.queue))
	}
}

// reachesAll reports whether all on the roster are there. (A group whose
// moderator is gone may have ghosts for ever.)
func (s *session) reachesAll() bool {
	if s.talk.group && !s.talk.leader.live() {
		return false
	}
	for _, e := range s.core.Roster() {
		if !e.Self && s.talk.current(e.Name) == nil {
			return false
		}
	}
	return true
}
