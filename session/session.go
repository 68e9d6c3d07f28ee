package session

import (
	"context"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// Session is one 1:1 session. Safe for concurrent use.
type Session struct {
	conversation
	machine  *control.Machine // the core
	listener *Listener        // of a responder
	request  chan struct{}    // held by the one Request under way

	state snapshot // guarded by mu
}

// snapshot is what the getters show of the machine.
type snapshot struct {
	peer    name.Name
	subject string
	online  bool
}

// Initiator reports whether we opened the session.
func (s *Session) Initiator() bool { return s.initiator }

// Peer is the full name of the instance the session is with.
func (s *Session) Peer() name.Name { return s.snapshot().peer }

// PeerSubject is the peer's verified identity.
func (s *Session) PeerSubject() string { return s.snapshot().subject }

// Participants are the two members.
func (s *Session) Participants() []Participant {
	st := s.snapshot()
	return []Participant{
		{Name: s.local, Subject: s.app.cfg.Identity.Subject(), Online: true, Self: true, Moderator: s.initiator},
		{Name: st.peer, Subject: st.subject, Online: st.online, Moderator: !s.initiator},
	}
}

func (s *Session) snapshot() snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Request publishes m and waits for the reply, which is the next message of
// the peer: nothing in the protocol ties a reply to its request. Requests of
// one session run one at a time; messages that came before stay for Receive.
// After a timeout the reply is still owed, unless the peer never acknowledged
// the request: the next message that arrives is taken for it and dropped, so
// that a late reply is never taken for the reply to a later request. A peer
// that leaves requests unanswered therefore makes later ones fail too; open a
// new session with it, or tie replies to requests in the payload. A timeout of 0 means that of ctx alone. Errors: *Error with
// CodeTimeout, those of Publish, or the reason why the session is over.
func (s *Session) Request(ctx context.Context, m Message, timeout time.Duration) (Message, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, &Error{Code: CodeTimeout, Peer: s.Peer(), Err: context.DeadlineExceeded})
		defer cancel()
	}
	select {
	case s.request <- struct{}{}:
		defer func() { <-s.request }()
	case <-s.done:
		return Message{}, s.Err()
	case <-ctx.Done():
		return Message{}, context.Cause(ctx)
	}
	reply := make(chan Message, 1)
	receipt, err := s.publish(ctx, m, &publication{reply: reply})
	if err != nil {
		return Message{}, err
	}
	select {
	case r := <-reply:
		return r, nil
	case <-s.done:
		if r, ok := s.inQueue.unexpect(reply, false); ok {
			return r, nil
		}
		return Message{}, s.Err()
	case <-ctx.Done():
		if r, ok := s.inQueue.unexpect(reply, !receipt.unacknowledged()); ok {
			return r, nil
		}
		return Message{}, context.Cause(ctx)
	}
}

// Reply answers a received message. In a 1:1 session that is Publish.
func (s *Session) Reply(ctx context.Context, _ Message, m Message) (*Receipt, error) {
	return s.Publish(ctx, m)
}

func (s *Session) multicast() bool { return false }

// hears everything: there is nobody else in the session to whom a message could
// be addressed.
func (s *Session) hears(name.Key) bool { return true }

func (s *Session) peer() name.Name { return s.Peer() }

// remember updates what the getters show.
func (s *Session) remember(d *driver, out control.Output) *Error {
	if out.PeerFound != nil {
		s.mu.Lock()
		s.state.peer = *out.PeerFound
		s.mu.Unlock()
		if !s.app.found(s, *out.PeerFound) {
			return &Error{Code: CodeRejected, Peer: *out.PeerFound, Err: errIDTaken}
		}
		s.app.log.Debug().Uint32("session", uint32(s.id)).Stringer("peer", *out.PeerFound).Msg("peer found")
	}
	s.mu.Lock()
	s.state.subject, s.state.online = s.machine.PeerSubject(), s.machine.PeerOnline()
	s.mu.Unlock()
	return nil
}

func (s *Session) info() infoRecord {
	st := s.snapshot()
	return infoRecord{
		ID: s.id, Local: s.local, Peer: st.peer, Subject: st.subject, Metadata: s.metadata,
		Initiator: s.initiator, Reliable: s.reliable, MLS: s.encrypted,
	}
}

func (s *Session) announce() bool {
	if !s.initiator {
		s.app.openedResponder(s.PeerSubject())
	}
	return s.listener == nil || s.listener.offer(s)
}

// forget takes the ended session out of the tables.
func (s *Session) forget(wasOpen bool) {
	st := s.snapshot()
	a := s.app
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
