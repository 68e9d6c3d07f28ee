package control

import (
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

type savedModerator struct {
	Changes    uint32        `json:",omitempty"`
	History    []savedChange `json:",omitempty"`
	Subscribed bool          `json:",omitempty"`
	Rotated    time.Time     `json:",omitzero"`
	Task       *savedTask    `json:",omitempty"`
}

type savedChange struct {
	ID     uint32
	From   uint64
	Update savedOutbound
	IDs    []MessageID `json:",omitempty"`
}

// savedTask is a change of the group that was made, but not told to all.
type savedTask struct {
	Kind  taskKind
	Stage stage
	Force bool `json:",omitempty"`
	Was   bool `json:",omitempty"`
	// ListAgain as in task.
	ListAgain bool     `json:",omitempty"`
	Who       name.Key `json:",omitzero"`
	// Gone: who is not a member any more.
	Gone bool          `json:",omitempty"`
	Ask  *savedRequest `json:",omitempty"`
}

type savedParticipant struct {
	JoinMsg  *savedOutbound `json:",omitempty"`
	Changes  uint32         `json:",omitempty"`
	Behind   bool           `json:",omitempty"` // we miss a change
	Rejoin   *savedRequest  `json:",omitempty"`
	CaughtUp *savedRequest  `json:",omitempty"`
	Issued   time.Time      `json:",omitzero"`
	Asked    time.Time      `json:",omitzero"`
}

// Save returns the session for [ReadSaved], see [Core.Save]. Operations of the
// application that wait for others are not kept; of the one under way it is
// kept what the group was told.
func (mo *Moderator) Save() ([]byte, error) {
	if !worthKeeping(mo.state) {
		return nil, nil
	}
	s := saveConfig(&mo.cfg)
	s.Stream, s.Group = mo.stream.save(), mo.group.save()
	sm := &savedModerator{Changes: mo.changes, Subscribed: mo.subscribed, Rotated: mo.rotated, Task: mo.task.save(mo)}
	for _, c := range mo.history[mo.needless():] {
		sm.History = append(sm.History, savedChange{ID: c.id, From: c.from, Update: c.update.save(), IDs: c.ids})
	}
	s.Moderator = sm
	return s.write(mo.hasGroup(), mo.state)
}

// hasGroup is the MLS group if there is one yet.
func (mo *Moderator) hasGroup() MLS {
	if mo.mls == nil || mo.mls.Epoch() == 0 {
		return nil
	}
	return mo.mls
}

// needless is how many of the oldest changes all members are known to have
// carried out.
func (mo *Moderator) needless() (n int) {
	for n < len(mo.history) {
		id := mo.history[n].id
		if id == mo.changes || slices.ContainsFunc(mo.members, func(m *member) bool { return m.seen < id }) {
			break
		}
		n++
	}
	return n
}

func (t *task) save(mo *Moderator) *savedTask {
	if t == nil || t.err != nil || t.kind == inviting && t.stage != atWelcome {
		return nil
	}
	s := &savedTask{Kind: t.kind, Stage: t.stage, Force: t.force, Was: t.was, ListAgain: t.listAgain, Ask: t.ask.save()}
	if t.who != nil {
		s.Who = t.who.name.Key()
		s.Gone = mo.byName[s.Who] != t.who
	}
	return s
}

func (r *restorer) moderator(cfg Config, s *saved) (*Moderator, error) {
	mo := NewModerator(cfg)
	if err := r.group(&mo.group, s); err != nil {
		return nil, err
	}
	from := s.Moderator
	mo.changes, mo.subscribed, mo.rotated = from.Changes, from.Subscribed, from.Rotated
	if len(from.History) > keepChanges {
		return nil, errSaved
	}
	for _, c := range from.History {
		update, err := c.Update.restore()
		if err != nil || len(c.IDs) > maxRequestIDs {
			return nil, errSaved
		}
		mo.history = append(mo.history, change{id: c.ID, from: c.From, update: update, ids: c.IDs})
	}
	if err := r.task(mo, from.Task); err != nil {
		return nil, err
	}
	for _, m := range mo.members {
		switch {
		case mo.task != nil && mo.task.who == m:
		case m.departed:
			mo.queue = append(mo.queue, &task{kind: removing, who: m})
		case !m.welcomed: // its invitation had failed
			mo.queue = append(mo.queue, &task{kind: removing, who: m, force: true})
		}
	}
	return mo, nil
}

// goesOn reports whether t is at a stage that is saved.
func (t *task) goesOn() bool {
	switch t.kind {
	case inviting:
		return t.who != nil && t.stage == atWelcome
	case removing:
		return t.who != nil && (t.stage == atUpdate || t.stage == atLeave)
	case readmitting:
		return t.who != nil && t.stage == atUpdate
	}
	return t.kind == rotating && t.who == nil && t.stage == atUpdate
}

// task restores the change under way, or what is left of it.
func (r *restorer) task(mo *Moderator, s *savedTask) (err error) {
	if s == nil {
		return nil
	}
	t := &task{kind: s.Kind, stage: s.Stage, force: s.Force, was: s.Was, listAgain: s.ListAgain}
	if t.ask, err = r.request(s.Ask); err != nil {
		return err
	}
	if t.who = mo.byName[s.Who]; s.Gone {
		t.who = mo.left(s.Who)
	}
	if !t.goesOn() {
		return errSaved
	}
	if t.kind == inviting && !t.who.welcomed {
		mo.arriving = t.who
	}
	mo.task = t
	return nil
}

// Save returns the session for [ReadSaved], see [Core.Save]. Nothing is kept of
// one from which we were removed.
func (p *Participant) Save() ([]byte, error) {
	if !worthKeeping(p.state) || p.removed {
		return nil, nil
	}
	s := saveConfig(&p.cfg)
	s.Stream, s.Group = p.stream.save(), p.group.save()
	s.Participant = &savedParticipant{
		Changes: p.changes, Behind: !p.behind.IsZero() || len(p.held) > 0, Rejoin: p.rejoin.save(), CaughtUp: p.caughtUp.save(), Issued: p.issued, Asked: p.asked,
	}
	if p.joinMsg != nil {
		o := p.joinMsg.save()
		s.Participant.JoinMsg = &o
	}
	return s.write(p.mls, p.state)
}

func (r *restorer) participant(cfg Config, s *saved) (*Participant, error) {
	p := NewParticipant(cfg)
	p.members, p.moderator = nil, nil
	clear(p.byName)
	if err := r.group(&p.group, s); err != nil {
		return nil, err
	}
	if len(p.members) == 0 || !p.members[0].moderator || p.members[0].name.Key() != cfg.Peer.Key() {
		return nil, errSaved
	}
	p.moderator = p.members[0]
	from := s.Participant
	p.changes, p.issued, p.asked = from.Changes, from.Issued, from.Asked
	if from.JoinMsg != nil {
		o, err := from.JoinMsg.restore()
		if err != nil {
			return nil, err
		}
		p.joinMsg = &o
	}
	var err error
	if p.rejoin, err = r.request(from.Rejoin); err != nil {
		return nil, err
	}
	if p.caughtUp, err = r.request(from.CaughtUp); err != nil {
		return nil, err
	}
	if from.Behind {
		p.missing(r.now)
	}
	if r.mls {
		if err := p.checkGroup(); err != nil {
			return nil, err
		}
	}
	return p, nil
}
