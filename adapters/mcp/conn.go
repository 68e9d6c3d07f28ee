package mcp

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// MaxMessage is the longest message in bytes that is ever sent. SLIM has no
// fragmentation, and a node of the 2.x line drops the whole connection on a
// message above 4 MiB; with the padding of MLS about 3.66 MB of plain text still
// pass (measured with SLIM 2.2.0), so this leaves room for headers and tokens.
const MaxMessage = 3_600_000

// ErrTooLarge is returned, wrapped, when a message exceeds [MaxMessage]. It was
// not sent and the Conn lives on.
var ErrTooLarge = errors.New("message too large for SLIM")

// SizeError says by how much a message is too long. It is an [ErrTooLarge].
type SizeError struct {
	Size int // bytes of the refused message
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("message of %d bytes exceeds the SLIM limit of %d bytes", e.Size, MaxMessage)
}

// Is makes errors.Is(err, ErrTooLarge) true.
func (e *SizeError) Is(target error) bool { return target == ErrTooLarge }

// CheckSize returns a [*SizeError] if msg is longer than [MaxMessage].
func CheckSize(msg []byte) error {
	if len(msg) > MaxMessage {
		return &SizeError{Size: len(msg)}
	}
	return nil
}

// SessionLostError says that a session ended without a farewell: a message ran
// out of its retries, the peer went silent, or the link stayed down. It is also
// a [net.ErrClosed].
type SessionLostError struct {
	Err error // cause; may be nil
}

func (e *SessionLostError) Error() string {
	if e.Err == nil {
		return "SLIM session lost"
	}
	return "SLIM session lost: " + e.Err.Error()
}

// Unwrap returns net.ErrClosed and the cause.
func (e *SessionLostError) Unwrap() []error {
	if e.Err == nil {
		return []error{net.ErrClosed}
	}
	return []error{net.ErrClosed, e.Err}
}

// Conn is one SLIM session that carries one stream of JSON-RPC messages.
//
// One goroutine may read while any number write; Close may be called from
// anywhere, repeatedly.
type Conn interface {
	// ReadFrame returns the next message, which the caller owns. A JSON array is
	// split: its elements come one by one. It returns io.EOF after an orderly end
	// by either side, a *SessionLostError after any other, or ctx.Err().
	ReadFrame(ctx context.Context) ([]byte, error)
	// WriteFrame queues one message and returns; msg must not be changed
	// afterwards. Messages of one caller keep their order. It blocks while too
	// many messages are unacknowledged, and returns ErrTooLarge, ctx.Err(), or
	// an error that is net.ErrClosed once the session has ended.
	WriteFrame(ctx context.Context, msg []byte) error
	// Close ends the session with a farewell to the peer. Queued messages are
	// given a short time to arrive.
	Close() error
	// Peer is the name of the app at the other end.
	Peer() name.Name
	// SessionID is the number of the session.
	SessionID() session.ID
	// Done is closed when the session has ended, for whatever reason.
	Done() <-chan struct{}
}

// Dialer opens sessions.
type Dialer interface {
	// Dial opens a session to an app named "org/ns/app".
	Dial(ctx context.Context, name string) (Conn, error)
}

// Listener yields the sessions that peers open.
type Listener interface {
	// Accept waits for the next session. It returns an error that is
	// net.ErrClosed after Close.
	Accept(ctx context.Context) (Conn, error)
	Close() error
}
