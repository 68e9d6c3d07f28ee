package simulate

import (
	"maps"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
)

// Apps that keep their sessions on a disk, crash at any step, and come back.

// disk is what an app has stored of one session.
type disk struct {
	state    []byte // nil: nothing
	messages map[string]control.AppMessage
	floor    uint64 // see witness
	sealed   int    // messages encrypted since
}

// arm lets the app crash within a few steps of its sessions that somebody relies on. Only from now on
// they are stored: what nobody will read need not be written.
func (a *app) arm(d time.Duration) {
	if !a.up || a.stores {
		return
	}
	a.w.logf("%s will crash", a.label)
	a.stores, a.fuse, a.down = true, 1+a.w.r.IntN(8), d
	for _, s := range a.sessions {
		s.save()
	}
}

// save stores the session as it is.
func (s *session) save() {
	state, err := s.core.Save()
	if err != nil {
		s.w.failf("%v cannot be saved: %v", s, err)
	}
	s.disk = disk{}
	if state != nil {
		s.disk.state, s.disk.messages = state, maps.Collect(s.core.Kept())
		if s.mls != nil {
			s.disk.floor = s.mls.floor
		}
	}
}

// seals is called before every encryption: the driver may go only so far beyond
// what it has stored.
func (s *session) seals() {
	if !s.app.stores {
		return
	}
	if s.disk.sealed == control.SkipAhead {
		s.save()
	}
	s.disk.sealed++
}

// dies stores what a step did if it must be, and reports whether the app
// crashed meanwhile: before that, or after it, when a part of the messages had
// left. The application knows what was stored.
func (s *session) dies(before []control.RosterEntry, out control.Output) bool {
	a := s.app
	if !a.stores || !out.ReliedOn() { // what else was done may be undone
		return false
	}
	a.fuse--
	early := a.fuse == 0 && a.w.r.IntN(2) == 0
	if !early && a.w.cfg.Bug != SavedLate {
		s.save()
	}
	switch {
	case a.fuse > 0:
		return false
	case out.Ended != nil && !early: // it has no time left to crash
		a.fuse = 1
		return false
	case early:
		if m := s.writing; m != nil { // the application has not even got its id
			s.writing, m.settled = nil, true
		}
	default:
		s.wrote(out)
		s.note(out)
		s.subscribed = (s.subscribed || out.Subscribe) && !out.Unsubscribe
		s.outbox = append(s.outbox, out.Send[:a.w.r.IntN(len(out.Send)+1)]...)
		s.flush(false)
		s.read(before, out)
		s.hear(out)
		for _, st := range out.Settled {
			s.checkSettled(st)
		}
	}
	a.fall()
	return true
}

// fall is the crash.
func (a *app) fall() {
	w := a.w
	w.logf("%s crashes, and will come back", a.label)
	a.up, a.dead, a.stores, a.tombs = false, true, false, nil
	w.net.disconnect(a)
	for _, s := range a.sessions {
		s.crashed, s.due, s.outbox = true, time.Time{}, nil
		for op := range s.asked { // nobody will tell how they ended
			s.ops[op] = true
		}
		if s.disk.state != nil {
			a.asleep = append(a.asleep, s)
		}
	}
	a.sessions = nil
	w.later(a.down, a.restart)
}

// restart brings the sessions back that were stored.
func (a *app) restart() {
	if !a.dead {
		return
	}
	a.dead = false
	a.w.logf("%s starts again", a.label)
	a.sessions, a.asleep = a.asleep, nil
	var closing []*session
	for _, s := range slices.Clone(a.sessions) {
		if s.restore() {
			closing = append(closing, s)
		}
	}
	a.connect()
	for _, s := range closing {
		if s.live() {
			s.leave(control.Close{})
		}
	}
}

// restore makes the machine anew; it reports whether it was about to end.
func (s *session) restore() (closing bool) {
	w := s.w
	saved, err := control.ReadSaved(s.disk.state)
	if err != nil {
		w.failf("%v cannot be read: %v", s, err)
		return false
	}
	cfg := saved.Config()
	cfg.NewID, cfg.LostAfter, cfg.RotateAfter, cfg.RotateMessages = s.cfg.NewID, s.cfg.LostAfter, s.cfg.RotateAfter, s.cfg.RotateMessages
	if s.mls != nil {
		s.mls = &witness{engine: w.newEngine(s.app), s: s, floor: s.disk.floor}
		cfg.MLS = s.mls
	}
	core, err := saved.Restore(s.app.clock.at(w.now), cfg, func(key string) (control.AppMessage, bool) {
		m, ok := s.disk.messages[key]
		return m, ok
	})
	if err != nil {
		w.failf("%v cannot be restored: %v", s, err)
		return false
	}
	w.result.Restarts++
	s.core = core
	s.core = w.bend(s)
	s.crashed, s.turned = false, w.now
	s.leaving, s.away = saved.Closing(), !s.core.Roster()[0].Online
	s.due = s.app.clock.when(s.core.NextTimeout())
	for _, m := range s.published {
		m.again = m.settled // nobody stores that it was
	}
	return saved.Closing()
}
