package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/arq"
	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// ID is the number of a session, chosen by its initiator.
type ID uint32

const (
	// inboxFrames is how many received messages wait for the session's
	// goroutine. When it is full the link's reader waits; the goroutine
	// never waits for anything but the CPU.
	inboxFrames = 256
	maxHalfOpen = 256
	// One subject may not take all places.
	maxHalfOpenPerSubject = 16
)

// Session is one 1:1 session. Safe for concurrent use.
type Session struct {
	app       *App
	id        ID
	local     name.Name
	initiator bool
	reliable  bool
	encrypted bool
	metadata  map[string]string
	listener  *Listener // of a responder

	machine  *control.Machine // owned by run
	receipts map[arq.MessageID]*Receipt
	inbox    chan *incoming
	pubs     chan *publication
	wishes   chan control.Event // Drain, Close
	link     chan struct{}
	inQueue  inQueue
	request  chan struct{} // held by the one Request under way
	opened   chan struct{}
	leaving  chan struct{} // closed when Close or Drain was asked for
	ending   sync.Once
	done     chan struct{}

	mu    sync.Mutex
	state snapshot
	err   error
}

// snapshot is what the getters show of the machine.
type snapshot struct {
	peer    name.Name
	subject string
	online  bool
	epoch   uint64
}

type publication struct {
	msg     control.AppMessage
	receipt *Receipt
	reply   chan Message // of a Request: takes the next message of the peer
}

// Receipt tells what became of a published message. Safe for concurrent use.
type Receipt struct {
	done chan struct{}
	peer name.Name
	err  error // set before done is closed
}

// Done is closed when the fate of the message is known.
func (r *Receipt) Done() <-chan struct{} { return r.done }

// Wait returns nil once the peer has acknowledged (in an unreliable session:
// once the message was sent), *Error with CodeUnacknowledged if it never did
// or the session ended first, or the error of ctx.
func (r *Receipt) Wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// unacknowledged reports whether the message is known not to have arrived.
func (r *Receipt) unacknowledged() bool {
	select {
	case <-r.done:
		return r.err != nil
	default:
		return false
	}
}

func (r *Receipt) settle(acknowledged bool) {
	if !acknowledged {
		r.err = &Error{Code: CodeUnacknowledged, Peer: r.peer}
	}
	close(r.done)
}

// ID is the session's number.
func (s *Session) ID() ID { return s.id }

// Local is the name by which the peer knows us.
func (s *Session) Local() name.Name { return s.local }

// Initiator reports whether we opened the session.
func (s *Session) Initiator() bool { return s.initiator }

// Reliable reports whether messages are acknowledged and ordered.
func (s *Session) Reliable() bool { return s.reliable }

// Encrypted reports whether the session is protected by MLS.
func (s *Session) Encrypted() bool { return s.encrypted }

// Suite is the MLS cipher suite, empty without MLS.
func (s *Session) Suite() string {
	if !s.encrypted {
		return ""
	}
	return suiteName
}

// Metadata came with the join; on the initiator it is what Open was given.
func (s *Session) Metadata() map[string]string { return publicMetadata(s.metadata) }

// Peer is the full name of the instance the session is with.
func (s *Session) Peer() name.Name { return s.snapshot().peer }

// PeerSubject is the peer's verified identity.
func (s *Session) PeerSubject() string { return s.snapshot().subject }

// Epoch is the MLS epoch, 0 without MLS.
func (s *Session) Epoch() uint64 { return s.snapshot().epoch }

// Participants are the two members.
func (s *Session) Participants() []Participant {
	st := s.snapshot()
	return []Participant{{Name: s.local, Online: true, Self: true}, {Name: st.peer, Online: st.online}}
}

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is why the session is over; nil while it is not.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Session) snapshot() snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Publish queues a message for the peer and returns when the session has taken
// it; it waits while 256 messages or 16 MiB are unacknowledged. Messages of
// one goroutine keep their order. Errors: *Error with CodeTooLarge,
// CodeInvalid or the reason why the session is over, or that of ctx; then
// nothing was sent.
func (s *Session) Publish(ctx context.Context, m Message) (*Receipt, error) {
	return s.publish(ctx, m, nil)
}

func (s *Session) publish(ctx context.Context, m Message, reply chan Message) (*Receipt, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if m.Type == "" {
		m.Type = DefaultPayloadType
	}
	p := &publication{
		msg:     control.AppMessage{Type: m.Type, Payload: m.Payload, Metadata: m.Metadata},
		receipt: &Receipt{done: make(chan struct{}), peer: s.Peer()}, reply: reply,
	}
	select {
	case s.pubs <- p:
		return p.receipt, nil
	case <-s.leaving:
		return nil, &Error{Code: CodeClosed, Peer: p.receipt.peer}
	case <-s.done:
		return nil, s.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Receive waits for the next message. A gap in the stream, which a reliable
// session only has when the peer no longer had the message, is *Error with
// CodeMessagesLost, and the session goes on; any other *Error says why the
// session is over, after all messages were read.
func (s *Session) Receive(ctx context.Context) (Message, error) {
	for {
		m, ok, err := s.inQueue.pop()
		if ok {
			return m, err
		}
		select {
		case <-s.inQueue.ready:
		case <-s.done:
			if m, ok, err := s.inQueue.pop(); ok {
				return m, err
			}
			return Message{}, s.Err()
		case <-ctx.Done():
			return Message{}, context.Cause(ctx)
		}
	}
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
	receipt, err := s.publish(ctx, m, reply)
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

// Drain takes no more messages, waits until the peer has acknowledged what was
// published, and closes the session. When ctx ends it closes at once.
func (s *Session) Drain(ctx context.Context) error {
	s.wish(control.Drain{})
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), s.Close())
	}
}

// Close says farewell and ends the session. It waits up to 3 s for the peer's
// answer; after that the farewell is repeated in the background until its
// retries run out. It may be called again.
func (s *Session) Close() error {
	s.leave()
	wait := time.NewTimer(closeWait)
	defer wait.Stop()
	select {
	case <-s.done:
	case <-wait.C:
	}
	return nil
}

// leave starts the farewell without waiting.
func (s *Session) leave() { s.wish(control.Close{}) }

func (s *Session) wish(ev control.Event) {
	select {
	case s.wishes <- ev:
	case <-s.done:
	}
}
