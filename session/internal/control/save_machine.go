package control

import (
	"iter"
	"time"
)

type savedMachine struct {
	Peer     savedPeer
	Begun    bool           `json:",omitempty"`
	JoinMsg  *savedOutbound `json:",omitempty"`
	CommitID uint32         `json:",omitempty"`
	Since    time.Time      `json:",omitzero"`
	Update   *savedRequest  `json:",omitempty"`
	Epoch    uint64         `json:",omitempty"` // where Update leads
	Stored   []savedCommit  `json:",omitempty"`
	Behind   int            `json:",omitempty"`
	Rejoin   *savedRequest  `json:",omitempty"`
	CaughtUp *savedRequest  `json:",omitempty"`
	Admitted []byte         `json:",omitempty"`
	Welcome  *savedOutbound `json:",omitempty"`
	Issued   time.Time      `json:",omitzero"`
	Asked    time.Time      `json:",omitzero"`
}

type savedCommit struct {
	From   uint64
	ID     uint32
	Commit []byte
}

// Save returns the session for [ReadSaved], secrets in clear; nil without an
// error if there is nothing to keep, because it is not open yet, or over.
func (m *Machine) Save() ([]byte, error) {
	if !worthKeeping(m.state) {
		return nil, nil
	}
	s := saveConfig(&m.cfg)
	s.Stream = m.stream.save()
	sm := &savedMachine{
		Peer: m.peer.save(&m.answers), Begun: m.begun,
		CommitID: m.rot.commitID, Since: m.rot.since, Update: m.rot.update.save(), Epoch: m.rot.epoch,
		Behind: m.rot.behind, Rejoin: m.rot.rejoin.save(), CaughtUp: m.rot.caughtUp.save(), Admitted: m.rot.admitted, Issued: m.rot.issued, Asked: m.rot.asked,
	}
	if m.joinMsg != nil {
		o := m.joinMsg.save()
		sm.JoinMsg = &o
	}
	if m.rot.admitted != nil {
		o := m.rot.welcome.save()
		sm.Welcome = &o
	}
	for _, c := range m.rot.stored {
		sm.Stored = append(sm.Stored, savedCommit{From: c.from, ID: c.id, Commit: c.commit})
	}
	s.Machine = sm
	return s.write(m.cfg.MLS, m.state)
}

// Kept yields the messages that a restored session needs beside what Save
// returns. What a key stands for never changes.
func (m *Machine) Kept() iter.Seq2[string, AppMessage] {
	return kept(func(yield func(string, AppMessage) bool) {
		_ = m.stream.kept(yield) && m.peer.kept(yield)
	})
}

func (r *restorer) machine(cfg Config, s *saved) (*Machine, error) {
	from := s.Machine
	m := New(cfg)
	if err := r.stream(&m.stream, &s.Stream); err != nil {
		return nil, err
	}
	if err := r.peer(&m.peer, &m.answers, &from.Peer, m.receivers); err != nil {
		return nil, err
	}
	var err error
	for to, request := range map[**request]*savedRequest{
		&m.rot.update: from.Update, &m.rot.rejoin: from.Rejoin, &m.rot.caughtUp: from.CaughtUp,
	} {
		if *to, err = r.request(request); err != nil {
			return nil, err
		}
	}
	if from.JoinMsg != nil {
		o, err := from.JoinMsg.restore()
		if err != nil {
			return nil, err
		}
		m.joinMsg = &o
	}
	if from.Welcome != nil {
		if m.rot.welcome, err = from.Welcome.restore(); err != nil {
			return nil, err
		}
		m.rot.admitted = from.Admitted
	}
	for _, c := range from.Stored {
		m.rot.stored = append(m.rot.stored, storedCommit{from: c.From, id: c.ID, commit: c.Commit})
	}
	m.begun = from.Begun
	m.rot.commitID, m.rot.since, m.rot.epoch = from.CommitID, from.Since, from.Epoch
	m.rot.issued, m.rot.asked = from.Issued, from.Asked
	m.rot.behind = from.Behind
	m.state = s.restoredState()
	m.linkDown, m.beat = r.now, r.now.Add(HeartbeatInterval)
	if m.state == draining {
		m.drained = r.now.Add(MaxDrain)
	}
	if r.mls {
		if err := m.checkMembers(); err != nil {
			return nil, err
		}
		m.rot.own = m.ownLeaf()
		m.deaf = m.deaf || m.tx.Deaf(m.peer.name.Key()) // by what many restarts have skipped
		m.forgetAt, m.forgetTo = r.now.Add(m.patience()), m.Epoch()
	}
	return m, nil
}
