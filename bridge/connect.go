package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"

	"github.com/slimbridge/slimbridge/adapters/mcp"
)

// ConnectConfig configures [Connect].
type ConnectConfig struct {
	// Front is the MCP host, usually a *stdio.Pipe. Connect closes it.
	Front FramePipe
	// Dialer opens the SLIM sessions.
	Dialer mcp.Dialer
	// Peer is the SLIM app to talk to: "org/ns/app".
	Peer string
	// Node names the SLIM node in texts for people.
	Node string
	// Era of the peer. Default [EraAuto].
	Era PeerEra
	// Timeout of a request without answer or progress; with progress it ends after
	// ten minutes at the latest. Default [DefaultTimeout]; [NoTimeout] for none.
	Timeout time.Duration
	// Logger gets what went wrong, never a payload. The zero value is silent.
	Logger zerolog.Logger
}

// Validate reports what is missing.
func (c ConnectConfig) Validate() error {
	var errs []error
	if c.Front == nil {
		errs = append(errs, errors.New("connect: Front is required"))
	}
	if c.Dialer == nil {
		errs = append(errs, errors.New("connect: Dialer is required"))
	}
	if c.Peer == "" {
		errs = append(errs, errors.New("connect: Peer is required"))
	}
	return errors.Join(errs...)
}

// Connect relays between a host and one SLIM app until the host ends, ctx is
// done, or a legacy MCP session is lost.
//
// The session is opened at the first request, since a host may start a server
// and never speak to it. While the app cannot be reached each request is
// answered with the reason, which hosts show, and the next one tries again.
//
// When the host ends its output, or ctx is done, requests in flight have two
// seconds to finish. Connect then returns nil, as it does when the host stops
// reading. It returns [ErrSessionLost], wrapped, or what Validate says.
//
// A Go program whose standard output is a closed pipe is killed by SIGPIPE unless
// it ignores that signal; do so before calling Connect.
func Connect(ctx context.Context, c ConnectConfig) error {
	if err := c.Validate(); err != nil {
		return err
	}
	return relayConfig{
		front:     c.Front,
		open:      func(ctx context.Context) opened { return c.dial(ctx, nil) },
		probe:     c.dial,
		timeout:   timeoutOf(c.Timeout),
		drain:     drainTimeout,
		era:       c.Era,
		lost:      sessionLostText,
		collect:   true,
		limitBack: true,
		log:       c.Logger.With().Str("peer", c.Peer).Logger(),
	}.run(ctx)
}

// dial opens a session, and probes it if there is a server/discover to send.
func (c ConnectConfig) dial(ctx context.Context, discover []byte) opened {
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := c.Dialer.Dial(dialCtx, c.Peer)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return opened{err: fmt.Errorf("no SLIM app named %s is reachable through %s: no answer within %v", c.Peer, c.Node, dialTimeout)}
	case err != nil:
		return opened{err: err}
	case discover == nil:
		return opened{pipe: conn}
	default:
		return probe(ctx, conn, discover)
	}
}

// sessionLostText says how a SLIM session ended.
func sessionLostText(err error) string {
	var lost *mcp.SessionLostError
	switch {
	case errors.Is(err, io.EOF):
		return "SLIM session lost: the peer closed it"
	case errors.As(err, &lost):
		return lost.Error()
	default:
		return "SLIM session lost: " + err.Error()
	}
}

// timeoutOf maps the public setting to the pump's, where zero is none.
func timeoutOf(d time.Duration) time.Duration {
	switch {
	case d == 0:
		return DefaultTimeout
	case d < 0:
		return 0
	default:
		return d
	}
}
