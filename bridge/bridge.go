package bridge

import (
	"context"
	"errors"
	"time"
)

// FramePipe is a stream of JSON-RPC messages: standard input and output, a child
// process, a WebSocket, a SLIM session.
type FramePipe interface {
	// ReadFrame returns the next message, which the caller owns; io.EOF at an
	// orderly end. A *stdio.TooLongError stands for a message that was thrown
	// away, after which reading goes on. Any other error is the end, except
	// ctx.Err(). It is called by one goroutine.
	ReadFrame(ctx context.Context) ([]byte, error)
	// WriteFrame hands over one message. An error is the end of the pipe. It is
	// called by one goroutine.
	WriteFrame(ctx context.Context, msg []byte) error
	// Close unblocks both and releases the pipe; it may be called repeatedly.
	Close() error
}

// Backend makes the server side of one SLIM session.
type Backend interface {
	// Open starts a server. ctx bounds only the opening.
	Open(ctx context.Context) (FramePipe, error)
}

// PeerEra says which MCP revisions the SLIM app speaks.
type PeerEra uint8

// The eras. A legacy peer opens with initialize and may be destroyed by anything
// else as its first message, as agntcy's slim-mcp-proxy is.
const (
	EraAuto   PeerEra = iota // find out, with server/discover in a session of its own
	EraLegacy                // revisions up to 2025-11-25: server/discover is answered here
	EraModern                // revision 2026-07-28 and later: pass everything on
)

// ErrUnknownEra is returned by [ParsePeerEra].
var ErrUnknownEra = errors.New("peer era must be auto, legacy or modern")

// ParsePeerEra reads auto, legacy or modern.
func ParsePeerEra(s string) (PeerEra, error) {
	for e := EraAuto; e <= EraModern; e++ {
		if e.String() == s {
			return e, nil
		}
	}
	return 0, ErrUnknownEra
}

func (e PeerEra) String() string {
	switch e {
	case EraLegacy:
		return "legacy"
	case EraModern:
		return "modern"
	default:
		return "auto"
	}
}

// ErrSessionLost is returned, wrapped, by [Connect] when the back went away
// under a host that had opened a legacy MCP session. All requests have been
// answered. Only a new initialize helps, so the process should end with an error
// for the host to start it again.
var ErrSessionLost = errors.New("MCP session lost")

// Limits and times of the pump.
const (
	// DefaultTimeout is how long a request may stay without answer or progress.
	DefaultTimeout = 60 * time.Second
	// MaxTimeout is the hard limit of a request, whatever progress it makes.
	MaxTimeout = 10 * time.Minute
	// NoTimeout lets requests wait for ever.
	NoTimeout time.Duration = -1
	// DefaultMaxSessions is how many servers [Serve] runs at the same time.
	DefaultMaxSessions = 16

	hardTimeout  = MaxTimeout
	pingTimeout  = 10 * time.Second // then the bridge answers a peer's ping itself
	dialTimeout  = 30 * time.Second
	probeTimeout = 3 * time.Second // for the answer to server/discover
	drainTimeout = 2 * time.Second // for what is in flight when the front ends
	flushTimeout = time.Second     // for the last answers
	minBackoff   = 500 * time.Millisecond
	maxBackoff   = 30 * time.Second
	queueSize    = 64
	maxPending   = 1024 // requests per direction
	maxIDSize    = 1024 // of a request id, and of a progress token that is looked at

	// lossGrace is how long a back that takes nothing any more is still read:
	// answers that it gave must not be lost.
	lossGrace      = time.Second
	warnInterval   = 10 * time.Second // between warnings that a peer can provoke
	maxBatch       = 1024             // messages of one JSON array
	refusalTimeout = 10 * time.Second
)
