package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/slimbridge/slimbridge/adapters/mcp"
)

// maxRefusals bounds the sessions that wait to be told that all servers are
// taken; further ones are closed without a word.
const maxRefusals = 64

// ServeConfig configures [Serve].
type ServeConfig struct {
	// Listener yields the SLIM sessions. Serve closes it.
	Listener mcp.Listener
	// Backend makes one server per session, usually a [*Command]. If it is an
	// io.Closer, Serve closes it at the end.
	Backend Backend
	// MaxSessions is how many servers run at the same time. Default
	// [DefaultMaxSessions]. The first request of a further session is answered
	// with an error and the session is closed.
	MaxSessions int
	// Timeout is that of [ConnectConfig].
	Timeout time.Duration
	// Logger gets what went wrong, never a payload. The zero value is silent.
	Logger zerolog.Logger
}

// Validate reports what is missing.
func (c ServeConfig) Validate() error {
	var errs []error
	if c.Listener == nil {
		errs = append(errs, errors.New("serve: Listener is required"))
	}
	if c.Backend == nil {
		errs = append(errs, errors.New("serve: Backend is required"))
	}
	if c.MaxSessions < 0 {
		errs = append(errs, errors.New("serve: MaxSessions is negative"))
	}
	return errors.Join(errs...)
}

func (c ServeConfig) withDefaults() ServeConfig {
	if c.MaxSessions == 0 {
		c.MaxSessions = DefaultMaxSessions
	}
	return c
}

// Serve gives every SLIM session a server of its own until ctx is done or the
// listener ends. The server is started when the session is accepted and stopped
// when it ends. If the server dies, requests in flight are answered with its exit
// status; a legacy session is then closed, any other gets a new server after a
// backoff.
//
// When ctx is done, requests in flight have two seconds to finish. Serve returns
// after all servers have been stopped: nil after ctx or after the listener was
// closed, else the listener's error.
func Serve(ctx context.Context, c ServeConfig) error {
	if err := c.Validate(); err != nil {
		return err
	}
	s := &acceptor{
		ServeConfig: c.withDefaults(),
		refusals:    make(chan struct{}, maxRefusals),
	}
	s.slots = make(chan struct{}, s.MaxSessions)
	err := s.accept(ctx)
	_ = c.Listener.Close() // no more sessions, whatever it says
	s.sessions.Wait()
	if closer, ok := c.Backend.(io.Closer); ok {
		err = errors.Join(err, closer.Close())
	}
	return err
}

type acceptor struct {
	ServeConfig
	slots    chan struct{} // one token per running server
	refusals chan struct{}
	sessions sync.WaitGroup
}

func (s *acceptor) accept(ctx context.Context) error {
	for {
		conn, err := s.Listener.Accept(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		default:
			return fmt.Errorf("accept SLIM session: %w", err)
		}
		select {
		case s.slots <- struct{}{}:
			s.sessions.Go(func() {
				defer func() { <-s.slots }()
				s.serve(ctx, conn)
			})
			continue
		default:
		}
		select {
		case s.refusals <- struct{}{}:
			s.sessions.Go(func() {
				defer func() { <-s.refusals }()
				s.refuse(ctx, conn)
			})
		default:
			_ = conn.Close() // told nothing: there are too many
		}
	}
}

func (s *acceptor) serve(ctx context.Context, conn mcp.Conn) {
	log := s.Logger.With().Stringer("peer", conn.Peer()).Uint32("session", uint32(conn.SessionID())).Logger()
	log.Info().Msg("MCP session opened")
	err := relayConfig{
		front: conn,
		open: func(ctx context.Context) opened {
			pipe, err := s.Backend.Open(ctx)
			return opened{pipe: pipe, err: err}
		},
		timeout:    timeoutOf(s.Timeout),
		era:        EraModern, // nothing is kept from a server
		lost:       serverLostText,
		eager:      true,
		limitFront: true,
		log:        log,
	}.run(ctx)
	log.Info().Err(err).Msg("MCP session closed")
}

// refuse answers the first request of a session for which there is no server.
func (s *acceptor) refuse(ctx context.Context, conn mcp.Conn) {
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, refusalTimeout)
	defer cancel()
	text := fmt.Sprintf("all %d MCP servers of this bridge are in use", s.MaxSessions)
	s.Logger.Warn().Stringer("peer", conn.Peer()).Msg(text)
	for {
		frame, err := conn.ReadFrame(ctx)
		if err != nil {
			return
		}
		if h, err := mcp.Scan(frame); err == nil && h.Kind == mcp.Request {
			_ = conn.WriteFrame(ctx, mcp.ErrorResponse(h.ID, mcp.CodeInternal, text)) // the session ends anyway
			return
		}
	}
}

// serverLostText says how a server ended.
func serverLostText(err error) string {
	if errors.Is(err, io.EOF) {
		return "MCP server closed its output"
	}
	return err.Error()
}
