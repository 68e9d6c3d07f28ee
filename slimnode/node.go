package slimnode

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"syscall"

	"github.com/slimbridge/slimbridge/slimnode/internal/route"
	"github.com/slimbridge/slimbridge/slimnode/link"
)

// ErrClosed is returned by the methods of a closed node. It is also
// net.ErrClosed.
var ErrClosed = fmt.Errorf("node closed: %w", net.ErrClosed)

// Node is a running or not yet started node. See the package comment.
type Node struct {
	cfg    Config
	ctx    context.Context // of the node's life: ends dialled links and the watchdog
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	counts counters
	warn   limiter
	budget *link.Budget // of all outboxes together

	mu       sync.Mutex
	started  bool
	watching bool
	closed   bool
	servers  []*link.Server
	bound    []bound

	// table guards routes and conns. It is held for a lookup or an update, never
	// while sending. MatchOne moves a cursor and so takes the write lock.
	table  sync.RWMutex
	routes *route.Table
	conns  map[ConnID]*conn
	next   ConnID
}

// bound is a listener of Start.
type bound struct {
	net.Listener
	cfg  Listener
	path string // of the WebSocket; "" is gRPC
}

// New checks the configuration and returns a node that does nothing yet.
func New(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	n := &Node{
		cfg:    cfg,
		routes: route.New(route.Limits{PerConn: cfg.MaxSubscriptionsPerConn, Total: cfg.MaxSubscriptions}),
		conns:  map[ConnID]*conn{},
		warn:   limiter{log: cfg.Logger},
		budget: link.NewBudget(cfg.QueueBytes),
	}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	return n, nil
}

// Start binds all listeners, or none and says which one failed, and begins to
// dial the clients. It returns once the node listens; ctx bounds the call only.
func (n *Node) Start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return ErrClosed
	case n.started:
		return errors.New("the node was started already")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	listeners, err := bindAll(ctx, n.cfg.Listeners)
	if err != nil {
		return err
	}
	for _, b := range listeners {
		n.bound = append(n.bound, b)
		n.cfg.Logger.Info().Str("endpoint", b.url()).Msg("listening")
		s := n.newServer(b.cfg)
		n.wg.Go(func() {
			if err := serveOn(s, b.Listener, b.path); err != nil {
				n.cfg.Logger.Error().Err(err).Str("endpoint", b.cfg.Endpoint).Msg("listener failed")
			}
		})
	}
	for _, c := range n.cfg.Clients {
		n.wg.Go(func() { n.dial(c) })
	}
	n.started = true
	n.startWatch()
	return nil
}

// Serve accepts gRPC links from l, strictly, until the node is closed; then it
// returns nil. It closes l. It works with and without Start and is meant for
// in-memory listeners.
func (n *Node) Serve(l net.Listener) error { return n.serve(bound{Listener: l}) }

// ServeWebSocket is [Node.Serve] for WebSocket links on the given path.
func (n *Node) ServeWebSocket(l net.Listener, path string) error {
	if path == "" {
		path = "/"
	}
	return n.serve(bound{Listener: l, path: path})
}

func (n *Node) serve(b bound) error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		b.Close() //nolint:errcheck // unused
		return ErrClosed
	}
	s := n.newServer(b.cfg)
	n.startWatch()
	n.mu.Unlock()
	return serveOn(s, b.Listener, b.path)
}

func serveOn(s *link.Server, l net.Listener, path string) error {
	if path == "" {
		return s.ServeGRPC(l)
	}
	return s.ServeWebSocket(l, path)
}

// startWatch needs mu.
func (n *Node) startWatch() {
	if !n.watching {
		n.watching = true
		n.wg.Go(n.watch)
	}
}

// newServer needs mu.
func (n *Node) newServer(l Listener) *link.Server {
	s, err := link.NewServer(link.ServerConfig{
		Config: link.Config{
			NodeID:             n.cfg.NodeID,
			Version:            n.cfg.Version,
			AllowNoMAC:         l.AllowNoMAC,
			PQC:                n.cfg.RequirePQC,
			NegotiationTimeout: l.NegotiationTimeout,
			Budget:             n.budget,
			Logger:             n.cfg.Logger,
		},
		MaxLinks: n.cfg.MaxConns,
		Handle:   n.accept,
	})
	if err != nil {
		panic(fmt.Sprintf("slimnode: configuration that passed New: %v", err))
	}
	n.servers = append(n.servers, s)
	return s
}

// dial keeps one client link until the node ends.
func (n *Node) dial(c Client) {
	err := link.Redial(n.ctx, c.Endpoint, link.DialConfig{
		Config: link.Config{
			NodeID:     n.cfg.NodeID,
			Version:    n.cfg.Version,
			AllowNoMAC: c.AllowNoMAC,
			PQC:        n.cfg.RequirePQC,
			Budget:     n.budget,
			Logger:     n.cfg.Logger,
		},
		LinkID:  c.LinkID,
		NetDial: c.NetDial,
	}, link.Backoff{}, func(ctx context.Context, c *link.Conn) error {
		n.handle(ctx, n.register(c, math.MaxInt))
		return c.Err()
	})
	if n.ctx.Err() == nil {
		n.cfg.Logger.Error().Err(err).Str("endpoint", c.Endpoint).Msg("client link given up")
	}
}

// Addrs are the bound addresses, in the order of Config.Listeners.
func (n *Node) Addrs() []net.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []net.Addr
	for _, b := range n.bound {
		out = append(out, b.Addr())
	}
	return out
}

// Endpoints are the bound addresses as clients on this machine dial them, such
// as "http://127.0.0.1:46357", in the order of Config.Listeners.
func (n *Node) Endpoints() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, b := range n.bound {
		out = append(out, b.url())
	}
	return out
}

// Drain lets every link write what is queued for it, then closes the node. If
// ctx ends first the rest is dropped, and the cause of ctx is returned after
// the node has closed, which takes up to about two seconds more.
func (n *Node) Drain(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, c := range n.snapshot() {
		wg.Go(func() {
			c.link.Flush(ctx) //nolint:errcheck // ended links have nothing to flush; the rest is ctx
		})
	}
	wg.Wait()
	err := context.Cause(ctx)
	n.Close() //nolint:errcheck // always nil
	return err
}

// Close stops listening, ends every link (peers see a regular end and start to
// reconnect) and waits for all goroutines. Queued messages are dropped, see
// [Node.Drain]. It may be called repeatedly and always returns nil.
func (n *Node) Close() error {
	n.mu.Lock()
	n.closed = true
	servers := n.servers
	n.mu.Unlock()
	n.cancel(ErrClosed)
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() {
			s.Shutdown(context.Background()) //nolint:errcheck // only the context could fail it
		})
	}
	wg.Wait()
	n.wg.Wait()
	return nil
}

// bindAll opens all listeners or none.
func bindAll(ctx context.Context, cfgs []Listener) (all []bound, err error) {
	defer func() {
		if err != nil {
			for _, b := range all {
				b.Close() //nolint:errcheck // nothing came of it
			}
		}
	}()
	for _, l := range cfgs {
		at, err := parseListener(l.Endpoint)
		if err != nil {
			return all, err
		}
		nl, err := new(net.ListenConfig).Listen(ctx, "tcp", at.addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			return all, fmt.Errorf("%s is already in use, perhaps by another node: %w", at.addr, syscall.EADDRINUSE)
		}
		if err != nil {
			return all, fmt.Errorf("listen at %s: %w", at.addr, err)
		}
		all = append(all, bound{Listener: nl, cfg: l, path: at.path})
	}
	return all, nil
}
