package control

import (
	"crypto/sha256"
	"iter"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

const (
	// keepGone is how many members that left lately survive a restart.
	keepGone = 16
	// keepWelcomes is how many answers to rejoins do, the last ones: each has all
	// leaves of the group in it, and every member rejoins when its token is old. A
	// member whose request was answered before the restart, and that did not get
	// the answer, asks anew.
	keepWelcomes = 4
)

type savedMember struct {
	savedPeer
	Moderator  bool           `json:",omitempty"`
	Receives   bool           `json:",omitempty"`
	Gone       bool           `json:",omitempty"`
	Away       bool           `json:",omitempty"`
	AwaySince  time.Time      `json:",omitzero"`
	Listed     bool           `json:",omitempty"`
	Token      []byte         `json:",omitempty"`
	Since      uint64         `json:",omitempty"`
	Unproven   bool           `json:",omitempty"`
	Owing      bool           `json:",omitempty"`
	Vain       int            `json:",omitempty"`
	Welcomed   bool           `json:",omitempty"`
	Departed   bool           `json:",omitempty"`
	Seen       uint32         `json:",omitempty"`
	Relist     int            `json:",omitempty"`
	Readmitted time.Time      `json:",omitzero"`
	Admitted   []byte         `json:",omitempty"`
	Welcome    *savedOutbound `json:",omitempty"`
	Rejoins    []MessageID    `json:",omitempty"`
}

type savedGroup struct {
	Members   []savedMember // then those that are gone
	Letters   []savedLetter `json:",omitempty"`
	Update    *savedRound   `json:",omitempty"`
	Status    *savedRound   `json:",omitempty"`
	Parked    bool          `json:",omitempty"`
	Announced bool          `json:",omitempty"`
}

type savedLetter struct {
	ID       MessageID
	To       name.Key
	Attempts int
}

type savedRound struct {
	Request savedRequest
	Waiting []name.Key
	Epoch   uint64 `json:",omitempty"`
}

func (m *member) save() savedMember {
	s := savedMember{
		savedPeer: m.peer.save(&m.answers), Moderator: m.moderator, Receives: m.receives,
		Away: m.away, AwaySince: m.awaySince, Listed: m.listed, Since: m.since, Unproven: m.unproven, Owing: m.owing, Vain: m.vain,
		Welcomed: m.welcomed, Departed: m.departed, Seen: m.seen, Relist: m.relist, Readmitted: m.readmitted,
		Admitted: m.admitted, Rejoins: m.rejoins,
	}
	if m.token != [sha256.Size]byte{} {
		s.Token = m.token[:]
	}
	if m.admitted != nil {
		o := m.welcome.save()
		s.Welcome = &o
	}
	return s
}

func (r *restorer) member(g *group, from *savedMember) (*member, error) {
	m := g.newMember(from.Name)
	if err := r.peer(&m.peer, &m.answers, &from.savedPeer, g.receivers); err != nil {
		return nil, err
	}
	m.moderator, m.receives = from.Moderator, from.Receives
	m.away, m.awaySince, m.listed, m.since = from.Away, from.AwaySince, from.Listed, from.Since
	m.unproven, m.owing, m.vain = from.Unproven, from.Owing, from.Vain
	m.welcomed, m.departed, m.seen, m.relist, m.readmitted = from.Welcomed, from.Departed, from.Seen, from.Relist, from.Readmitted
	m.rejoins = from.Rejoins
	copy(m.token[:], from.Token)
	if from.Welcome != nil {
		o, err := from.Welcome.restore()
		if err != nil {
			return nil, err
		}
		m.welcome, m.admitted = o, from.Admitted
	}
	return m, nil
}

func (g *group) save() *savedGroup {
	s := &savedGroup{Update: g.update.save(), Status: g.status.save(), Parked: g.parked, Announced: g.announced}
	since := g.welcomesSince()
	for _, m := range g.members {
		sm := m.save()
		if m.readmitted.Before(since) {
			sm.Admitted, sm.Welcome = nil, nil
		}
		s.Members = append(s.Members, sm)
	}
	for _, m := range g.gone[max(0, len(g.gone)-keepGone):] {
		sm := m.save()
		sm.Gone, sm.Admitted, sm.Welcome = true, nil, nil
		s.Members = append(s.Members, sm)
	}
	for _, l := range g.letters {
		s.Letters = append(s.Letters, savedLetter{ID: l.id, To: l.to.name.Key(), Attempts: l.attempts})
	}
	return s
}

// welcomesSince is when the first of the last keepWelcomes members rejoined, zero
// if there are not so many.
func (g *group) welcomesSince() time.Time {
	var times []time.Time
	for _, m := range g.members {
		if m.admitted != nil {
			times = append(times, m.readmitted)
		}
	}
	if len(times) < keepWelcomes {
		return time.Time{}
	}
	slices.SortFunc(times, time.Time.Compare)
	return times[len(times)-keepWelcomes]
}

func (g *group) kept(yield func(string, AppMessage) bool) {
	if !g.stream.kept(yield) {
		return
	}
	for _, m := range slices.Concat(g.members, g.gone) {
		if !m.peer.kept(yield) {
			return
		}
	}
	for _, l := range g.letters {
		if !yield(letterKey(l.id), l.msg) {
			return
		}
	}
}

// Kept yields the messages that a restored session needs beside what Save
// returns. What a key stands for never changes.
func (g *group) Kept() iter.Seq2[string, AppMessage] { return kept(g.kept) }

// group restores what moderator and participant share.
func (r *restorer) group(g *group, s *saved) error {
	if err := r.stream(&g.stream, &s.Stream); err != nil {
		return err
	}
	serials := g.serials
	for i := range s.Group.Members {
		from := &s.Group.Members[i]
		m, err := r.member(g, from)
		if err != nil {
			return err
		}
		if from.Gone {
			g.gone = append(g.gone, m)
			continue
		}
		if g.byName[m.name.Key()] != nil {
			return errSaved
		}
		g.members = append(g.members, m)
		g.byName[m.name.Key()] = m
		if m.owing {
			g.owing++
		}
		g.deaf = g.deaf || m.online && g.tx.Deaf(m.name.Key()) // by what was skipped
	}
	g.serials = serials
	// The list of a moderator may lack itself and us, and have MaxMembers others.
	if len(g.members) > MaxMembers+1 || len(g.gone) > maxGone {
		return errSaved
	}
	if err := r.letters(g, s.Group.Letters); err != nil {
		return err
	}
	var err error
	if g.update, err = r.round(g, s.Group.Update); err != nil {
		return err
	}
	if g.status, err = r.round(g, s.Group.Status); err != nil {
		return err
	}
	g.parked, g.announced = s.Group.Parked, s.Group.Announced
	g.state = s.restoredState()
	g.linkDown, g.beat = r.now, r.now.Add(HeartbeatInterval)
	if g.state == draining {
		g.drained = r.now.Add(MaxDrain)
	}
	if r.mls {
		g.forgetAt, g.forgetTo = r.now.Add(g.patience()), g.Epoch()
	}
	return nil
}

func (r *restorer) letters(g *group, list []savedLetter) error {
	if len(list) > maxLetters {
		return errSaved
	}
	for _, from := range list {
		l := &letter{id: from.ID, to: g.byName[from.To], attempts: from.Attempts, due: r.now}
		var ok bool
		if l.msg, ok = r.message(letterKey(l.id)); !ok || l.to == nil {
			return errSaved
		}
		g.letters = append(g.letters, l)
	}
	return nil
}

func (r *round) save() *savedRound {
	if r.over() {
		return nil
	}
	s := &savedRound{Request: *r.request.save(), Epoch: r.epoch}
	for _, m := range r.waiting {
		s.Waiting = append(s.Waiting, m.name.Key())
	}
	return s
}

func (r *restorer) round(g *group, s *savedRound) (*round, error) {
	if s == nil {
		return nil, nil
	}
	req, err := r.request(&s.Request)
	if err != nil {
		return nil, err
	}
	out := &round{request: *req, epoch: s.Epoch}
	for _, k := range s.Waiting {
		m := g.byName[k]
		if m == nil {
			m = g.left(k)
		}
		if m == nil {
			return nil, errSaved
		}
		out.waiting = append(out.waiting, m)
	}
	return out, nil
}
