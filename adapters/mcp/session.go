package mcp

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// How MCP uses a session.
const (
	maxRetries    = 5 // upstream's MCP adapters: 2 x 15 s, too slow to notice a dead peer
	retryInterval = time.Second
	maxUnacked    = 64 // published and not yet acknowledged, before WriteFrame blocks
	closeTimeout  = 2 * time.Second
)

// protocolMetadata goes with the sessions we open. It is optional and unknown to
// upstream's adapters, which send and expect none.
func protocolMetadata() map[string]string { return map[string]string{"protocol": "mcp"} }

// DialOptions of [NewDialer].
type DialOptions struct {
	// Security of the sessions. The zero value requires MLS; upstream's MCP
	// adapters know only sessions without.
	Security session.Security
	// PeerSubject admits only the peer with this verified subject.
	PeerSubject string
}

// NewDialer returns a [Dialer] that opens sessions of app. They end when the peer
// is lost. It is safe for concurrent use.
func NewDialer(app *session.App, o DialOptions) Dialer { return &appDialer{app, o} }

type appDialer struct {
	app     *session.App
	options DialOptions
}

func (d *appDialer) Dial(ctx context.Context, peer string) (Conn, error) {
	n, err := name.Parse(peer)
	if err != nil {
		return nil, err
	}
	s, err := d.app.Open(ctx, n, session.Options{
		Security:    d.options.Security,
		PeerSubject: d.options.PeerSubject,
		MaxRetries:  maxRetries,
		Interval:    retryInterval,
		Metadata:    protocolMetadata(),
		EndWhenLost: true,
	})
	if err != nil {
		return nil, err
	}
	return NewConn(s), nil
}

// NewListener turns the sessions of l into Conns. Set EndWhenLost in its options,
// or vanished clients keep their servers for ever.
func NewListener(l *session.Listener) Listener { return appListener{l} }

type appListener struct{ *session.Listener }

func (l appListener) Accept(ctx context.Context) (Conn, error) {
	s, err := l.Listener.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return NewConn(s), nil
}

// NewConn returns the [Conn] over a session, which it takes over. Writing is
// pipelined: up to 64 messages may be unacknowledged.
func NewConn(s *session.Session) Conn {
	c := &sessionConn{Session: s, receipts: make(chan *session.Receipt, maxUnacked)}
	c.free = make(chan struct{}, maxUnacked)
	c.acks.Go(c.watch)
	return c
}

type sessionConn struct {
	*session.Session
	free     chan struct{}         // one token per unacknowledged message
	receipts chan *session.Receipt // never blocks: it has room for all tokens
	acks     sync.WaitGroup
	backlog  [][]byte // rest of an array; the reader's

	mu   sync.Mutex
	lost error // a message nobody acknowledged
}

func (c *sessionConn) SessionID() session.ID { return c.ID() }

func (c *sessionConn) ReadFrame(ctx context.Context) ([]byte, error) {
	if len(c.backlog) == 0 {
		m, err := c.Receive(ctx)
		if err != nil {
			return nil, c.ending(ctx, err)
		}
		c.backlog = Split(m.Payload)
	}
	frame := c.backlog[0]
	c.backlog = c.backlog[1:]
	return frame, nil
}

// ending tells an orderly end from a loss. A gap in the stream is a loss too: MCP
// cannot recover a message, and whoever waits for it should know at once.
func (c *sessionConn) ending(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	c.mu.Lock()
	lost := c.lost
	c.mu.Unlock()
	if lost != nil {
		return &SessionLostError{Err: lost}
	}
	if errors.Is(err, &session.Error{Code: session.CodeClosed}) || errors.Is(err, &session.Error{Code: session.CodeClosedByPeer}) {
		return io.EOF
	}
	return &SessionLostError{Err: err}
}

func (c *sessionConn) WriteFrame(ctx context.Context, msg []byte) error {
	if err := CheckSize(msg); err != nil {
		return err
	}
	select {
	case c.free <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.Done():
		return c.Err()
	}
	receipt, err := c.Publish(ctx, session.Message{Payload: msg})
	if err != nil {
		<-c.free
		return err
	}
	c.receipts <- receipt
	return nil
}

// watch frees the place of each acknowledged message. One that nobody
// acknowledged means that the peer is gone.
func (c *sessionConn) watch() {
	for {
		select {
		case <-c.Done():
			return
		case r := <-c.receipts:
			err := r.Wait(context.Background()) // ends with the session
			<-c.free
			if errors.Is(err, &session.Error{Code: session.CodeUnacknowledged}) {
				c.mu.Lock()
				c.lost = err
				c.mu.Unlock()
				_ = c.Session.Close() // the error to report is lost
				return
			}
		}
	}
}

// Close gives queued messages two seconds to arrive.
func (c *sessionConn) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := c.Drain(ctx)
	c.acks.Wait()
	if err != nil && ctx.Err() != nil {
		return nil // closed without waiting any longer
	}
	return err
}
