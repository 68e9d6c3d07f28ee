package session

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
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
	var err error
	if cfg.MLS, err = a.group(o.Security == RequireMLS, ""); err != nil {
		return nil, &Error{Code: CodeSecurity, Err: err}
	}
	s := a.newSession(cfg)
	if o.unkept {
		s.keep = nil
	}
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
	cfg := control.Config{
		Role: control.Responder, Local: inv.To, Peer: in.source,
		EndWhenLost: l.opts.EndWhenLost, Metadata: inv.Metadata,
	}
	timersOf(msg.Command.GetJoinRequest().GetTimerSettings(), &cfg)
	var err error
	if cfg.MLS, err = a.group(inv.MLS, inv.Subject); err != nil {
		a.drop(in, err)
		return
	}
	inPair(cfg.MLS)
	s := a.newSession(cfg)
	s.id, s.listener = in.id(), l
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

// timersOf takes over a peer's timers, within reason.
func timersOf(timer *pb.TimerSettings, cfg *control.Config) {
	cfg.Reliable = timer.GetTimeout() > 0
	if !cfg.Reliable {
		cfg.MaxRetries, cfg.Interval = DefaultMaxRetries, DefaultInterval
		return
	}
	cfg.MaxRetries = min(int(timer.GetMaxRetries()), maxRetriesTaken)
	cfg.Interval = min(max(time.Duration(timer.GetTimeout())*time.Millisecond, minIntervalTaken), maxIntervalTaken)
}

// group makes the MLS side of a session, nil without MLS. moderator is the
// subject of the peer that opened it; empty: we did.
func (a *App) group(wanted bool, moderator string) (control.MLS, error) {
	if !wanted {
		return nil, nil
	}
	return newMLSGroup(a.cfg.Identity, a.cfg.Verifier, moderator, time.Now())
}

func (a *App) newSession(cfg control.Config) *Session {
	a.fill(&cfg)
	s := &Session{machine: control.New(cfg), request: make(chan struct{}, 1)}
	s.setUp(a, &cfg, s)
	s.core = s.machine
	s.state.peer = cfg.Peer
	return s
}

// fill sets what all sessions of the app have in common.
func (a *App) fill(cfg *control.Config) {
	cfg.NewID = rand.Uint32
	cfg.LostAfter = LostAfter
	cfg.RotateAfter, cfg.RotateMessages = a.cfg.RotateAfter, a.cfg.RotateMessages
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
