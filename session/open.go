package session

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/arq"
	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// maxSessionID is the first id that upstream keeps for itself.
const maxSessionID = 1<<32 - 1 - 1000

// newInitiator starts a session that looks for peer.
func (a *App) newInitiator(peer name.Name, o Options) (*Session, error) {
	cfg := control.Config{
		Role: control.Initiator, Local: a.self, Peer: peer,
		Reliable: o.Delivery == Reliable, MaxRetries: o.MaxRetries, Interval: o.Interval,
		Metadata: o.Metadata, Subject: o.PeerSubject, EndWhenLost: o.EndWhenLost,
	}
	group, err := a.group(o.Security == RequireMLS)
	if err != nil {
		return nil, &Error{Code: CodeSecurity, Err: err}
	}
	s := a.newSession(cfg, group)
	s.initiator, s.metadata = true, o.Metadata
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil, &Error{Code: CodeClosed}
	}
	for {
		s.id = ID(rand.Uint32N(maxSessionID))
		if a.opening[s.id] == nil && !a.idInUse(s.id) {
			break
		}
	}
	a.opening[s.id] = s
	a.wg.Add(1)
	a.mu.Unlock()
	s.start(control.Start{}, nil)
	return s, nil
}

// idInUse is called with mu held.
func (a *App) idInUse(id ID) bool {
	for k := range a.sessions {
		if k.id == id {
			return true
		}
	}
	return false
}

// newResponder starts the session of a verified join. The settings come from
// the peer and are held within reason.
func (a *App) newResponder(in *incoming, msg control.Inbound, inv Invitation, l *Listener) {
	timer := msg.Command.GetJoinRequest().GetTimerSettings()
	cfg := control.Config{
		Role: control.Responder, Local: inv.To, Peer: in.source,
		Reliable:    timer.GetTimeout() > 0,
		MaxRetries:  min(int(timer.GetMaxRetries()), maxRetriesTaken),
		Interval:    min(max(time.Duration(timer.GetTimeout())*time.Millisecond, minIntervalTaken), maxIntervalTaken),
		EndWhenLost: l.opts.EndWhenLost,
	}
	if !cfg.Reliable {
		cfg.MaxRetries, cfg.Interval = DefaultMaxRetries, DefaultInterval
	}
	group, err := a.group(inv.MLS)
	if err != nil {
		a.drop(in, err)
		return
	}
	s := a.newSession(cfg, group)
	s.id, s.metadata, s.listener = in.id(), inv.Metadata, l
	key := sessionKey{s.id, in.source.Key()}
	a.mu.Lock()
	if a.closed || a.sessions[key] != nil || a.joining[inv.Subject] >= maxHalfOpenPerSubject {
		a.mu.Unlock()
		return
	}
	a.sessions[key] = s
	a.halfOpen++
	a.joining[inv.Subject]++
	s.state.subject = inv.Subject
	a.wg.Add(1)
	a.mu.Unlock()
	s.start(control.Start{}, &msg)
}

func (a *App) group(wanted bool) (control.MLS, error) {
	if !wanted {
		return nil, nil
	}
	return newMLSGroup(a.cfg.Identity, a.cfg.Verifier, time.Now())
}

func (a *App) newSession(cfg control.Config, group control.MLS) *Session {
	cfg.MLS = group
	cfg.NewID = rand.Uint32
	cfg.LostAfter = LostAfter
	cfg.RotateAfter, cfg.RotateMessages = a.cfg.RotateAfter, a.cfg.RotateMessages
	s := &Session{
		app: a, local: cfg.Local, reliable: cfg.Reliable, encrypted: group != nil,
		receipts: map[arq.MessageID]*Receipt{},
		inbox:    make(chan *incoming, inboxFrames), pubs: make(chan *publication), wishes: make(chan control.Event),
		link: make(chan struct{}, 1), request: make(chan struct{}, 1),
		opened: make(chan struct{}), leaving: make(chan struct{}), done: make(chan struct{}),
		inQueue: inQueue{ready: make(chan struct{}, 1)},
	}
	s.state.peer = cfg.Peer
	s.machine = control.New(cfg)
	return s
}

// found moves an initiator's session to where messages of its peer are routed.
// It refuses if the peer has opened a session of the same number with us, which
// it can only do on purpose.
func (a *App) found(s *Session, peer name.Name) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := sessionKey{s.id, peer.Key()}
	if a.sessions[key] != nil {
		return false
	}
	delete(a.opening, s.id)
	a.sessions[key] = s
	return true
}

var errIDTaken = errors.New("the peer uses the session's number for another session")

// openedResponder ends the half-open state of s.
func (a *App) openedResponder(subject string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.joinEnded(subject)
}

// joinEnded is called with mu held.
func (a *App) joinEnded(subject string) {
	a.halfOpen--
	if a.joining[subject]--; a.joining[subject] <= 0 {
		delete(a.joining, subject)
	}
}

// forget takes an ended session out of the tables.
func (a *App) forget(s *Session, wasOpen bool) {
	st := s.snapshot()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.opening[s.id] == s {
		delete(a.opening, s.id)
	}
	key := sessionKey{s.id, st.peer.Key()}
	if a.sessions[key] == s {
		delete(a.sessions, key)
	}
	if !s.initiator && !wasOpen {
		a.joinEnded(st.subject)
	}
	if wasOpen {
		a.tombs.put(s.id, st.peer.Key(), tombstone{local: s.local, subject: st.subject}, time.Now())
	}
}
