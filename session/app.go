package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/slimbridge/slimbridge/slimnode/link"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

const (
	// outboxFrames bounds what sessions have handed over to the link. When it
	// is full, sessions keep their messages and stop taking new ones.
	outboxFrames = 128
	// invitesQueued bounds unverified invitations; further ones are dropped,
	// their senders ask again.
	invitesQueued = 128
	closeWait     = 3 * time.Second
)

// App is one name with one identity on one link. Safe for concurrent use.
type App struct {
	cfg   Config
	codec codec
	self  name.Name
	log   zerolog.Logger

	ctx    context.Context // ends with Close; the life of all goroutines
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	out     chan *wire.Frame
	invites chan *incoming
	dropped atomic.Uint64
	// unread counts sessions and groups that are over, but stored for the sake of
	// messages that are not confirmed.
	unread  struct{ sessions, groups atomic.Int64 }
	buffers atomic.Int64 // bytes that sessions hold of what peers sent
	warned  rateLimit

	mu       sync.Mutex
	closed   bool
	conn     *link.Conn    // nil while there is no subscribed link
	linkGen  uint64        // counts links
	linkUp   chan struct{} // closed while there is one
	subs     map[name.Prefix]name.Name
	subsGen  uint64 // counts changes of subs
	channels map[name.Key]*channelUse
	subIDs   map[name.Key]uint64 // of the Subscribe on the current link
	acks     map[uint64]chan error
	nextSub  uint64
	sessions map[sessionKey]*Session
	opening  map[ID]*Session
	groups   map[ID]*Group
	halfOpen int            // sessions of others that wait for a welcome
	joining  map[string]int // the same by subject
	tombs    tombstones
	listener *Listener
	invited  *GroupListener

	resumedSessions []*Session
	resumedGroups   []*Group
}

// sessionKey: ids are unique per moderator only.
type sessionKey struct {
	id   ID
	peer name.Key
}

// Dial connects to a node and subscribes the app's name. It returns when the
// node has acknowledged, or with the reason why that cannot be. A link that is
// lost later is redialled, without limit.
func Dial(ctx context.Context, cfg Config) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	a := &App{
		cfg: cfg, log: cfg.Logger,
		codec: codec{provider: cfg.Identity, verifier: cfg.Verifier, names: cfg.Names, version: cfg.Version, requireSigned: cfg.RequirePayloadSignature},
		self:  cfg.Name.WithID(name.IDOf(cfg.Identity.Subject())),
		out:   make(chan *wire.Frame, outboxFrames), invites: make(chan *incoming, invitesQueued),
		linkUp: make(chan struct{}), subs: map[name.Prefix]name.Name{}, channels: map[name.Key]*channelUse{}, subIDs: map[name.Key]uint64{}, acks: map[uint64]chan error{},
		nextSub: rand.Uint64(), sessions: map[sessionKey]*Session{}, opening: map[ID]*Session{}, groups: map[ID]*Group{}, joining: map[string]int{},
	}
	a.ctx, a.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if cfg.State != nil {
		err := a.claim()
		if err == nil {
			err = a.resume()
		}
		if err != nil {
			a.cancel(err)
			a.release()
			return nil, err
		}
		a.addName(a.self) // sessions are not to go on before they can be reached
	}
	dial := a.dialConfig()
	conn, err := link.Dial(ctx, cfg.Node, dial)
	if err != nil {
		a.cancel(err)
		a.wg.Wait()
		a.release()
		return nil, &Error{Code: CodeLinkDown, Err: err}
	}
	a.wg.Go(func() { a.keepLinked(conn, dial) })
	a.wg.Go(a.acceptLoop)
	if err := a.Subscribe(ctx, cfg.Name); err != nil {
		a.shutdown(err)
		a.wg.Wait()
		a.release()
		return nil, err
	}
	return a, nil
}

// Name is the app's full name; the id tells it from others of the same name.
func (a *App) Name() name.Name { return a.self }

// Node is the endpoint the app is linked to.
func (a *App) Node() string { return a.cfg.Node }

// Linked reports whether there is a link on which all names are subscribed.
func (a *App) Linked() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.conn != nil
}

// Dropped counts incoming messages that were ignored for any reason.
func (a *App) Dropped() uint64 { return a.dropped.Load() }

// Done is closed when the app is closed, or the node refuses it for good.
func (a *App) Done() <-chan struct{} { return a.ctx.Done() }

// Err is why the app ended; nil while it lives.
func (a *App) Err() error {
	if a.ctx.Err() == nil {
		return nil
	}
	return context.Cause(a.ctx)
}

// Open finds an instance of peer, or exactly the one that peer's id names, and
// opens a session with it. Errors: *Error with CodeNoPeer, CodeTimeout,
// CodeRejected, CodeSecurity, CodeLinkDown, CodeClosed, CodeInvalid, or that
// of ctx.
func (a *App) Open(ctx context.Context, peer name.Name, o Options) (*Session, error) {
	if err := o.Validate(); err != nil {
		return nil, &Error{Code: CodeInvalid, Err: err}
	}
	switch {
	case peer.IsZero() || !peer.HasStrings():
		return nil, invalid("Open: the peer's name is missing")
	case peer.ID == a.self.ID:
		return nil, invalid("Open: %s is this app itself", peer)
	}
	s, err := a.newInitiator(peer, o.withDefaults())
	if err != nil {
		return nil, err
	}
	select {
	case <-s.opened:
		return s, nil
	case <-s.done:
		return nil, s.Err()
	case <-ctx.Done():
		s.leave() // its goroutine belongs to the app
		return nil, context.Cause(ctx)
	}
}

// Listen starts to answer those who look for our names. Without it, or after
// the listener was closed, an app is found by nobody. There is one listener.
func (a *App) Listen(o ListenOptions) (*Listener, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, &Error{Code: CodeClosed}
	}
	if a.listener != nil {
		return nil, invalid("Listen: the app listens already")
	}
	o = o.withDefaults()
	a.listener = &Listener{app: a, opts: o}
	a.listener.open(o.Backlog)
	return a.listener, nil
}

// Close says farewell in all sessions, ends the link and waits for all
// goroutines. It may be called again.
func (a *App) Close() error {
	a.mu.Lock()
	a.closed = true
	open := a.allSessions()
	a.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range open {
		wg.Go(func() { _ = s.Close() })
	}
	wg.Wait()
	a.shutdown(&Error{Code: CodeClosed})
	a.wg.Wait()
	a.release()
	return nil
}

// owns runs f in a goroutine that the app waits for, unless it is closed.
func (a *App) owns(f func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.wg.Go(f)
	return true
}

func (a *App) shutdown(cause error) {
	a.mu.Lock()
	a.closed = true
	l, g := a.listener, a.invited
	a.mu.Unlock()
	if l != nil {
		_ = l.Close()
	}
	if g != nil {
		_ = g.Close()
	}
	a.cancel(cause)
}

// allSessions is called with mu held.
func (a *App) allSessions() []*conversation {
	var all []*conversation
	for _, s := range a.sessions {
		all = append(all, &s.conversation)
	}
	for _, s := range a.opening {
		all = append(all, &s.conversation)
	}
	for _, g := range a.groups {
		all = append(all, &g.conversation)
	}
	return all
}

// drop counts a message that is ignored. Security matters are worth a line,
// but not one per message.
func (a *App) drop(in *incoming, err error) {
	a.dropped.Add(1)
	if !a.warned.allow(time.Now()) {
		return
	}
	a.log.Warn().Str("source", in.sourcePath()).Str("type", in.typeName()).Err(err).
		Str("hint", hint(err)).Msg("message refused")
}

// rateLimit allows one event per ten seconds.
type rateLimit struct{ last atomic.Int64 }

func (r *rateLimit) allow(now time.Time) bool {
	last := r.last.Load()
	return now.UnixNano()-last > int64(10*time.Second) && r.last.CompareAndSwap(last, now.UnixNano())
}

var errLinkEnded = errors.New("the link to the node ended")
