package link

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Server accepts links, over gRPC and WebSocket, from any number of listeners.
// It is safe for concurrent use.
type Server struct {
	cfg      ServerConfig
	acceptor acceptor
	gate     gate

	wg    sync.WaitGroup // links
	slots chan struct{}  // bound MaxNegotiating: held while negotiating; when full, new links wait unread

	mu     sync.Mutex
	closed bool
	stops  []func() // of the listeners
	conns  int      // accepted TCP connections
	links  map[carrier]func()
}

// NewServer checks the configuration and returns a server that listens nowhere
// yet.
func NewServer(cfg ServerConfig) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	return &Server{
		cfg: cfg,
		acceptor: acceptor{
			version: cfg.Version, nodeID: cfg.NodeID, deployment: cfg.Deployment,
			requireMAC: !cfg.AllowNoMAC, requireKEM: cfg.PQC,
			allowPeer: cfg.AllowPeer, allowRemote: cfg.AllowRemote,
		},
		slots: make(chan struct{}, cfg.MaxNegotiating),
		links: map[carrier]func(){},
	}, nil
}

func (s *Server) authorize(ctx context.Context, header string) error {
	if s.cfg.Authorize == nil {
		return nil
	}
	return s.cfg.Authorize(ctx, header)
}

// full reports whether a new link would be refused.
func (s *Server) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fullLocked()
}

func (s *Server) fullLocked() bool {
	return s.closed || len(s.links) >= s.cfg.MaxLinks
}

// start runs a link in a goroutine that Shutdown waits for; false if there is
// no room.
func (s *Server) start(ca carrier, addr string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fullLocked() {
		return false
	}
	s.links[ca] = func() { ca.abort(nil) }
	s.wg.Go(func() { s.run(ca, addr) })
	return true
}

// run is the life of one link.
func (s *Server) run(ca carrier, addr string) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.links, ca)
	}()
	a, err := s.negotiate(ca)
	if err != nil {
		ca.abort(err)
		if skipped, ok := s.gate.open(time.Now()); ok {
			s.cfg.Logger.Info().Str("peer", addr).Err(wrap("negotiate", addr, err)).Int("skipped", skipped).Msg("link refused")
		}
		return
	}
	c := newConn(ca, addr, a, &s.cfg.Config, &s.gate)
	defer c.Close() //nolint:errcheck // always nil
	s.mu.Lock()
	closed := s.closed
	s.links[ca] = func() { c.Close() } //nolint:errcheck // always nil
	s.mu.Unlock()
	if closed {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-c.Done():
		case <-stop:
		}
		cancel()
	})
	s.cfg.Handle(ctx, c)
	close(stop)
	watch.Wait()
}

// negotiate is the acceptor's exchange.
func (s *Server) negotiate(ca carrier) (agreed, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), s.cfg.NegotiationTimeout, ErrTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ca.abort(nil) })
	defer stop()
	select { // a crowd that comes back after a restart is let in by and by, not refused
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return agreed{}, context.Cause(ctx)
	}
	b, err := ca.recv()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return agreed{}, cause
		}
		return agreed{}, err
	}
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return agreed{}, err
	}
	reply, a, err := s.acceptor.answer(negotiation(b), key, encapsulate768)
	if reply != nil {
		err = errors.Join(err, sendNegotiation(ca, reply))
	}
	if cause := context.Cause(ctx); cause != nil {
		return agreed{}, cause
	}
	return a, err
}

// addListener registers what ends a listener; false after Shutdown.
func (s *Server) addListener(l io.Closer, stop func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.Close() //nolint:errcheck // nothing to do about it
		return false
	}
	s.stops = append(s.stops, stop)
	return true
}

// served translates the end of a listener.
func (s *Server) served(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	return err
}

// Shutdown stops listening, ends every link in good order (gRPC status OK) and
// waits for all handlers. It returns the cause of ctx if that ends first; the
// rest then ends in the background. Frames still queued are dropped.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	stops, ends := s.stops, make([]func(), 0, len(s.links))
	s.stops = nil
	for _, end := range s.links {
		ends = append(ends, end)
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		for _, f := range append(ends, stops...) {
			wg.Go(f)
		}
		wg.Wait()
		s.wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wrap gives l the connection limit, prompt acknowledgements and TLS.
func (s *Server) wrap(l net.Listener, proto string) net.Listener {
	l = &limitedListener{Listener: l, s: s}
	if s.cfg.TLS == nil {
		return l
	}
	c := s.cfg.TLS.Clone()
	c.NextProtos = []string{proto}
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	return tls.NewListener(l, c)
}

// limitedListener closes connections above MaxLinks at once, as upstream does:
// making them wait would let silent ones keep others out.
type limitedListener struct {
	net.Listener
	s *Server
}

func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.s.mu.Lock()
		ok := l.s.conns < l.s.cfg.MaxLinks
		if ok {
			l.s.conns++
		}
		l.s.mu.Unlock()
		if ok {
			return &countedConn{Conn: quickAck(nc), s: l.s}, nil
		}
		nc.Close() //nolint:errcheck // refused
	}
}

type countedConn struct {
	net.Conn
	s    *Server
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		c.s.conns--
	})
	return c.Conn.Close()
}
