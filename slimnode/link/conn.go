package link

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// Conn is one negotiated link. Its methods are safe for concurrent use, except
// that Recv has one caller at a time.
type Conn struct {
	carrier  carrier
	endpoint string
	agreed   agreed
	policy   policy
	out      *outbox
	log      zerolog.Logger
	gate     *gate // shared by the links of a server
	stats    counters

	reading chan struct{} // bound 1: held by whoever calls carrier.recv
	verify  *macer        // the holder of reading
	done    chan struct{} // closed when the link has ended
	stopped chan struct{} // closed when the writer has returned
	closing atomic.Bool   // Close has been called; a sync.Once would make later callers wait on a lock
	gone    chan struct{} // closed when Close has finished

	mu      sync.Mutex
	err     error
	inRecv  bool
	watched <-chan struct{} // of the ctx of the last Recv
	unwatch func() bool
}

// counters of a link.
type counters struct {
	received, sent, badMAC, invalid, ignored atomic.Uint64
	warned                                   [3]atomic.Bool
}

// Stats are the counters of a link.
type Stats struct {
	Received, Sent uint64 // frames handed out and written
	DroppedMAC     uint64 // frames without the tag they need, or with a wrong one
	DroppedInvalid uint64 // well-formed messages that break a rule of the data plane
	Ignored        uint64 // link messages after the negotiation
	Queued         int    // frames in the outbox now
}

func newConn(ca carrier, endpoint string, a agreed, cfg *Config, g *gate) *Conn {
	c := &Conn{
		carrier:  ca,
		endpoint: endpoint,
		agreed:   a,
		policy:   policy{typ: a.typ, secured: a.key != nil, strict: !cfg.AllowNoMAC},
		gate:     g,
		out:      newOutbox(cfg.Budget),
		reading:  make(chan struct{}, 1),
		done:     make(chan struct{}),
		stopped:  make(chan struct{}),
		gone:     make(chan struct{}),
	}
	c.log = cfg.Logger.With().Str("link", oneLine(a.linkID)).Str("peer", oneLine(a.nodeID)).Logger()
	if c.policy.signs() {
		c.verify = newMacer(a)
	}
	ca.negotiated()
	go c.write()
	return c
}

// Type is the rank of the link: a claim of the peer that the configuration does
// not allow counts as Edge.
func (c *Conn) Type() ConnType { return c.agreed.typ }

// LinkID is the id the dialer chose. It is not unique and proves nothing.
func (c *Conn) LinkID() string { return c.agreed.linkID }

// PeerNodeID is the peer's name for itself; it may be empty.
func (c *Conn) PeerNodeID() string { return c.agreed.nodeID }

// PeerVersion is the version the peer reports.
func (c *Conn) PeerVersion() string { return c.agreed.version }

// Endpoint is what was dialled, or the address of the accepted peer.
func (c *Conn) Endpoint() string { return c.endpoint }

// Secured reports whether headers carry a MAC in both directions.
func (c *Conn) Secured() bool { return c.policy.signs() }

// Hybrid reports whether the key comes from X25519 and ML-KEM-768.
func (c *Conn) Hybrid() bool { return c.agreed.hybrid }

// Done is closed when the link has ended, for whatever reason.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the link ended: nil while it lives, io.EOF after the peer ended
// it, ErrClosed after Close, the cause of the context of Recv, or an *Error.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Stats returns the counters of the link.
func (c *Conn) Stats() Stats {
	return Stats{
		Received: c.stats.received.Load(), Sent: c.stats.sent.Load(),
		DroppedMAC: c.stats.badMAC.Load(), DroppedInvalid: c.stats.invalid.Load(), Ignored: c.stats.ignored.Load(),
		Queued: c.out.len(),
	}
}

// Send queues a frame; the writer removes recv_from, forward_to and the tag of
// another link, signs and writes it. It waits while the outbox is full (128
// frames or 8 MiB), until ctx ends or the link does; then it returns the cause
// of ctx or what Err says. Frames of one caller stay in order. That Send
// returned nil does not mean the frame was written: see Flush.
func (c *Conn) Send(ctx context.Context, f *wire.Frame) error {
	return c.out.push(ctx, item{frame: f, size: f.SignedSize()})
}

// Flush waits until the writer has handed everything queued so far to the
// carrier. Errors are those of Send.
func (c *Conn) Flush(ctx context.Context) error {
	mark := make(chan struct{})
	if err := c.out.push(ctx, item{mark: mark}); err != nil {
		return err
	}
	select {
	case <-mark:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return c.Err()
	}
}

// write is the writer goroutine: it ends with the link.
func (c *Conn) write() {
	defer close(c.stopped)
	var sign func(*wire.Header) []byte
	if c.policy.signs() {
		sign = newMacer(c.agreed).tag
	}
	for {
		it, ok := c.out.pop()
		if !ok {
			select {
			case <-c.out.ready:
				continue
			case <-c.done:
				return
			}
		}
		if it.mark != nil {
			close(it.mark)
			continue
		}
		if err := c.carrier.send(outgoing(it.frame, sign)); err != nil {
			c.sendFailed(err)
			return
		}
		c.stats.sent.Add(1)
	}
}

// outgoing gives the frame its final header for this link. sign is nil where
// nothing is signed.
func outgoing(f *wire.Frame, sign func(*wire.Header) []byte) [][]byte {
	if sign == nil {
		return f.With(wire.Patch{}).Segments()
	}
	return f.WithTag(sign).Segments()
}

// sendFailed ends the link, except that io.EOF leaves the verdict to the
// reader, who gets the peer's status.
func (c *Conn) sendFailed(err error) {
	if errors.Is(err, io.EOF) {
		c.out.close(io.EOF)
		return
	}
	c.fail(wrap("send", c.endpoint, err))
}

// Recv returns the next frame whose tag is right; others are dropped and
// counted, and so are invalid messages and late link messages. It returns what
// Err says when the link has ended: io.EOF if the peer ended it, an *Error that
// wraps wire.ErrMalformed after bytes that are no message. If ctx ends while
// Recv waits, the link ends too, since a carrier cannot be left in the middle
// of a message; a ctx that has ended before costs nothing but the call.
func (c *Conn) Recv(ctx context.Context) (*wire.Frame, error) {
	select {
	case c.reading <- struct{}{}:
		defer func() { <-c.reading }()
	case <-c.done:
		return nil, c.Err()
	}
	if err := c.watch(ctx); err != nil {
		return nil, err
	}
	defer c.rest()
	for {
		select {
		case <-c.done:
			return nil, c.Err()
		default:
		}
		b, err := c.carrier.recv()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				err = wrap("receive", c.endpoint, err)
			}
			c.fail(err)
			return nil, c.Err()
		}
		f, err := c.admit(b)
		if err != nil {
			c.fail(err)
			return nil, c.Err()
		}
		if f != nil {
			c.stats.received.Add(1)
			return f, nil
		}
	}
}

// admit returns the frame if it may pass, nil if it is to be dropped.
func (c *Conn) admit(b []byte) (*wire.Frame, error) {
	f, err := wire.Parse(b)
	var inv *wire.InvalidError
	switch {
	case errors.As(err, &inv):
		c.dropped(&c.stats.invalid, 0, inv.Reason.String())
		return nil, nil
	case err != nil:
		if skipped, ok := c.gate.open(time.Now()); ok {
			c.log.Warn().Err(err).Int("skipped", skipped).Msg("link ended: the peer sent bytes that are no message")
		}
		return nil, wrap("receive", c.endpoint, err)
	case f.Kind() == wire.KindLink:
		c.dropped(&c.stats.ignored, 1, "link message after the negotiation")
		return nil, nil
	case !c.policy.admits(c.verify, f):
		c.dropped(&c.stats.badMAC, 2, "header tag absent or wrong")
		return nil, nil
	}
	return f, nil
}

// dropped counts, and logs the first drop of its kind on this link.
func (c *Conn) dropped(n *atomic.Uint64, kind int, why string) {
	n.Add(1)
	if c.stats.warned[kind].Swap(true) {
		return
	}
	if skipped, ok := c.gate.open(time.Now()); ok {
		c.log.Warn().Str("reason", why).Int("skipped", skipped).Msg("message dropped; more on this link are only counted")
	}
}

// watch ends the link if ctx ends before rest is called. The watching is set up
// once per context, not once per frame.
func (c *Conn) watch(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.inRecv = true
	done := ctx.Done()
	if done == c.watched {
		return nil
	}
	if c.unwatch != nil {
		c.unwatch()
	}
	c.watched = done
	c.unwatch = context.AfterFunc(ctx, func() {
		c.mu.Lock()
		hit := c.inRecv && c.watched == done
		c.mu.Unlock()
		if hit {
			c.fail(context.Cause(ctx))
		}
	})
	return nil
}

func (c *Conn) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inRecv = false
}

// end marks the link as ended; false if it was already.
func (c *Conn) end(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.err = err
	if c.unwatch != nil {
		c.unwatch()
	}
	close(c.done)
	c.out.close(err)
	return true
}

// fail ends the link at once.
func (c *Conn) fail(err error) {
	c.end(err)
	c.carrier.abort(nil)
}

// Close ends the link and waits for its goroutines, two seconds at most.
// Queued frames are dropped (see Flush); what was written reaches the peer if
// it reads on. It may be called repeatedly, always returns nil, and unblocks
// Send and Recv.
func (c *Conn) Close() error {
	if c.closing.Swap(true) {
		<-c.gone
		return nil
	}
	defer close(c.gone)
	if c.end(ErrClosed) {
		c.linger()
	}
	c.carrier.abort(nil)
	<-c.stopped
	return nil
}

// linger gives the peer a moment to take what was written and to end its side.
func (c *Conn) linger() {
	timer := time.NewTimer(lingerTimeout)
	defer timer.Stop()
	select {
	case <-c.stopped:
	case <-timer.C:
		c.carrier.kill() // the writer is stuck: the peer does not read
		return
	}
	c.carrier.finish()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		c.reading <- struct{}{}
		for {
			if _, err := c.carrier.recv(); err != nil {
				return
			}
		}
	}()
	select {
	case <-drained:
	case <-timer.C:
		c.carrier.abort(nil)
		<-drained
	}
}
