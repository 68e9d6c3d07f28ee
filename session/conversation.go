package session

import (
	"context"
	"errors"
	"iter"
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
	// goroutine. When it is full the link's reader waits, since the goroutine
	// waits for nothing but the CPU; of a session that is kept, which waits for
	// its State too, messages are dropped.
	inboxFrames = 256
	maxHalfOpen = 256
	// One subject may not take all places.
	maxHalfOpenPerSubject = 16
)

// conversation is what a [Session] and a [Group] have in common: a protocol
// core, the queues to and from its one goroutine, and what the application
// sees of it.
type conversation struct {
	app       *App
	id        ID
	local     name.Name
	initiator bool
	reliable  bool
	encrypted bool
	metadata  map[string]string
	kind      kind

	core     control.Core // owned by the driver
	keep     *keeper      // nil: nothing is kept
	shelved  bool         // stored, but cannot go on in this process
	receipts map[arq.MessageID]*Receipt
	inbox    chan *incoming
	pubs     chan *publication
	letters  chan *publication  // to one member of a group
	wishes   chan control.Event // to end: Drain, Close
	orders   chan control.Event // all others
	link     chan struct{}
	inQueue  inQueue
	opened   chan struct{}
	leaving  chan struct{} // closed when Close or Drain was asked for
	ending   sync.Once
	done     chan struct{}

	mu    sync.Mutex
	epoch uint64
	err   error
}

// kind is what the driver leaves to the kind of session it drives.
type kind interface {
	// multicast reports whether this is SLIM's session type for groups.
	multicast() bool
	// hears reports whether messages to that name are for this session.
	hears(to name.Key) bool
	// peer is whom errors name.
	peer() name.Name
	// remember updates what the application sees. An error ends the session.
	remember(d *driver, out control.Output) *Error
	// info is what is stored of the session itself.
	info() infoRecord
	// announce hands an opened session to whoever waits for it. False turns it
	// away.
	announce() bool
	// forget takes the ended session out of the app's tables.
	forget(wasOpen bool)
}

// setUp fills what all kinds need. cfg is the one of the core.
func (c *conversation) setUp(a *App, cfg *control.Config, k kind) {
	*c = conversation{
		app: a, keep: newKeeper(a.cfg.State), local: cfg.Local, kind: k, metadata: cfg.Metadata,
		initiator: cfg.Role == control.Initiator, reliable: cfg.Reliable, encrypted: cfg.MLS != nil,
		receipts: map[arq.MessageID]*Receipt{},
		inbox:    make(chan *incoming, inboxFrames), pubs: make(chan *publication), letters: make(chan *publication), wishes: make(chan control.Event), orders: make(chan control.Event),
		link: make(chan struct{}, 1), opened: make(chan struct{}), leaving: make(chan struct{}), done: make(chan struct{}),
		inQueue: inQueue{ready: make(chan struct{}, 1)},
	}
}

type publication struct {
	msg     control.AppMessage
	to      *name.Name // one member of a group
	receipt *Receipt
	taken   chan struct{} // closed when it is stored; nil if nothing is
	reply   chan Message  // of a Request: takes the next message of the peer
}

func (p *publication) event() control.Event {
	if p.to != nil {
		return control.PublishTo{To: *p.to, Msg: p.msg}
	}
	return control.Publish{Msg: p.msg}
}

// ID is the session's number.
func (c *conversation) ID() ID { return c.id }

// Local is the name by which the others know us.
func (c *conversation) Local() name.Name { return c.local }

// Reliable reports whether messages are acknowledged and ordered.
func (c *conversation) Reliable() bool { return c.reliable }

// Encrypted reports whether the session is protected by MLS.
func (c *conversation) Encrypted() bool { return c.encrypted }

// Suite is the MLS cipher suite, empty without MLS.
func (c *conversation) Suite() string {
	if !c.encrypted {
		return ""
	}
	return suiteName
}

// Metadata came with the join; where we opened the session it is what the
// options said.
func (c *conversation) Metadata() map[string]string { return publicMetadata(c.metadata) }

// Epoch is the MLS epoch, 0 without MLS.
func (c *conversation) Epoch() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// Done is closed when the session is over.
func (c *conversation) Done() <-chan struct{} { return c.done }

// Err is why the session is over; nil while it is not.
func (c *conversation) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Publish queues a message for the peer, or for all members of a group, and
// returns when the session has taken it; it waits while 256 messages or 16 MiB
// are unacknowledged. Messages of one goroutine keep their order. Errors:
// *Error with CodeTooLarge, CodeInvalid or the reason why the session is over,
// or that of ctx; then nothing was sent.
func (c *conversation) Publish(ctx context.Context, m Message) (*Receipt, error) {
	return c.publish(ctx, m, &publication{})
}

func (c *conversation) publish(ctx context.Context, m Message, p *publication) (*Receipt, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if m.Type == "" {
		m.Type = DefaultPayloadType
	}
	p.msg = control.AppMessage{Type: m.Type, Payload: m.Payload, Metadata: m.Metadata}
	peer, pubs := c.kind.peer(), c.pubs
	if p.to != nil {
		peer, pubs = *p.to, c.letters
	}
	p.receipt = newReceipt(peer)
	if c.keep != nil {
		p.taken = make(chan struct{})
	}
	select {
	case pubs <- p:
		return c.stored(p)
	case <-c.leaving:
		return nil, &Error{Code: CodeClosed, Peer: peer}
	case <-c.done:
		return nil, c.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// stored waits until a published message is safe.
func (c *conversation) stored(p *publication) (*Receipt, error) {
	if p.taken == nil {
		return p.receipt, nil
	}
	select {
	case <-p.taken:
		return p.receipt, nil
	case <-c.done:
		select {
		case <-p.taken:
			return p.receipt, nil
		default:
			return nil, c.Err()
		}
	}
}

// Receive waits for the next message. A gap in the stream, which a reliable
// session only has when the sender no longer had the message, is *Error with
// CodeMessagesLost, and the session goes on; any other *Error says why the
// session is over, after all messages were read.
func (c *conversation) Receive(ctx context.Context) (Message, error) {
	for {
		m, ok, err := c.pop()
		if ok {
			return m, err
		}
		select {
		case <-c.inQueue.ready:
		case <-c.done:
			if m, ok, err := c.pop(); ok {
				return m, err
			}
			return Message{}, c.Err()
		case <-ctx.Done():
			return Message{}, context.Cause(ctx)
		}
	}
}

// pop takes the next item. A gap cannot be confirmed by the application; it is
// when it was told.
func (c *conversation) pop() (Message, bool, error) {
	it, ok := c.inQueue.pop()
	if ok && it.err != nil && it.mark.keep != nil {
		return it.msg, ok, errors.Join(it.err, c.confirm(it.mark.n))
	}
	return it.msg, ok, it.err
}

// Messages receives until the session is over, which ends the loop without an
// error if it was closed by either side, or until ctx ends. Gaps are errors
// with CodeMessagesLost in between.
//
//	for m, err := range s.Messages(ctx) { ... }
func (c *conversation) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := c.Receive(ctx)
			if errors.Is(err, &Error{Code: CodeClosed}) || errors.Is(err, &Error{Code: CodeClosedByPeer}) {
				return
			}
			if !yield(m, err) || err != nil && !errors.Is(err, &Error{Code: CodeMessagesLost}) {
				return
			}
		}
	}
}

// Drain takes no more messages, waits until what was published is acknowledged,
// and closes the session. When ctx ends it closes at once.
func (c *conversation) Drain(ctx context.Context) error {
	c.wish(control.Drain{})
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), c.Close())
	}
}

// Close says farewell and ends the session; of a group it is the end for all
// members if the moderator closes it. It waits up to 3 s for the answers; after
// that the farewell is repeated in the background until its retries run out; if
// those are what a peer wanted, for a minute at most. It may be called again.
func (c *conversation) Close() error {
	if c.shelved {
		return c.drop()
	}
	c.leave()
	wait := time.NewTimer(closeWait)
	defer wait.Stop()
	select {
	case <-c.done:
	case <-wait.C:
	}
	return nil
}

// leave starts the farewell without waiting.
func (c *conversation) leave() { c.wish(control.Close{}) }

func (c *conversation) wish(ev control.Event) {
	select {
	case c.wishes <- ev:
	case <-c.done:
	}
}
