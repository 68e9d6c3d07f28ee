package slimnode

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/internal/route"
	"github.com/slimbridge/slimbridge/slimnode/link"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// conn is a link with its number. The fields at the end belong to the reader.
type conn struct {
	id   ConnID
	link *link.Conn

	ids     []ConnID // matches of the current message
	targets []*conn
}

// accept is the handler of all listeners.
func (n *Node) accept(ctx context.Context, l *link.Conn) {
	c := n.register(l, n.cfg.MaxConns)
	if c == nil {
		n.counts.refused.Add(1)
		n.cfg.Logger.Debug().Str("addr", l.Endpoint()).Int("limit", n.cfg.MaxConns).Msg("link refused: too many")
		return
	}
	n.handle(ctx, c)
}

// handle is the life of a link: it is its reader, and the only goroutine that
// adds or removes its routes while it lives.
func (n *Node) handle(ctx context.Context, c *conn) {
	l := c.link
	log := n.cfg.Logger.With().Uint64("conn", uint64(c.id)).Str("link", oneLine(l.LinkID())).Str("peer", oneLine(l.PeerNodeID())).Logger()
	log.Info().Str("addr", l.Endpoint()).Bool("mac", l.Secured()).Bool("hybrid", l.Hybrid()).Msg("link up")
	defer func() {
		dropped := n.unregister(c)
		ev := log.Info().Int("subscriptions", dropped)
		if err := l.Err(); err != nil && !errors.Is(err, io.EOF) {
			ev = ev.Err(err)
		}
		ev.Msg("link down")
	}()
	for {
		f, err := l.Recv(ctx)
		if err != nil {
			return
		}
		n.counts.received.Add(1)
		n.dispatch(ctx, c, f)
	}
}

func (n *Node) dispatch(ctx context.Context, c *conn, f *wire.Frame) {
	h := f.Header()
	if h == nil {
		n.counts.ignored.Add(1) // an ack: this node asks for none
		return
	}
	if h.TTL <= 1 {
		n.drop(DropTTL, c, f)
		return
	}
	switch f.Kind() {
	case wire.KindSubscribe, wire.KindUnsubscribe:
		n.subscription(ctx, c, f)
	case wire.KindPublish:
		n.publish(ctx, c, f)
	}
}

// register gives a link its number; nil if there are as many as limit.
func (n *Node) register(l *link.Conn, limit int) *conn {
	n.table.Lock()
	defer n.table.Unlock()
	if len(n.conns) >= limit {
		return nil
	}
	n.next++
	c := &conn{id: n.next, link: l}
	n.conns[c.id] = c
	n.routes.AddConn(c.id, route.Edge) // Remote counts as Edge, Peer is refused by the link
	return c
}

// unregister returns how many subscriptions went with the link.
func (n *Node) unregister(c *conn) int {
	n.table.Lock()
	defer n.table.Unlock()
	if _, known := n.conns[c.id]; known {
		n.counts.add(c.link.Stats())
		delete(n.conns, c.id)
	}
	return n.routes.DropConn(c.id)
}

// forget takes the routes of a link that has ended; its reader does the rest.
func (n *Node) forget(c *conn) {
	n.table.Lock()
	defer n.table.Unlock()
	n.routes.DropConn(c.id)
}

func (n *Node) snapshot() []*conn {
	n.table.RLock()
	defer n.table.RUnlock()
	out := make([]*conn, 0, len(n.conns))
	for _, c := range n.conns {
		out = append(out, c)
	}
	return out
}

// send queues f for c, waiting for room.
func (c *conn) send(ctx context.Context, f *wire.Frame) error {
	return c.link.Send(ctx, f)
}

// watch is the watchdog goroutine: it ends links that have frames queued and
// whose writer wrote none for the StuckTimeout, whether or not a sender waits:
// what is queued costs memory, and a fan-out to many stuck consumers must not
// wait for one after the other.
func (n *Node) watch() {
	type progress struct {
		sent  uint64
		since time.Time
	}
	last := map[ConnID]progress{}
	tick := time.NewTicker(max(n.cfg.StuckTimeout/watchRate, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
		seen := map[ConnID]progress{}
		for _, c := range n.snapshot() {
			s := c.link.Stats()
			if s.Queued == 0 {
				continue
			}
			p, known := last[c.id]
			if !known || p.sent != s.Sent {
				p = progress{s.Sent, time.Now()}
			}
			if seen[c.id] = p; time.Since(p.since) >= n.cfg.StuckTimeout {
				n.evict(c, s.Queued)
			}
		}
		last = seen
	}
}

// watchRate is how many looks the watchdog takes per StuckTimeout: a stuck
// consumer is noticed after at most a tenth more.
const watchRate = 10

func (n *Node) evict(c *conn, queued int) {
	n.counts.stuck.Add(1)
	n.cfg.Logger.Warn().Uint64("conn", uint64(c.id)).Str("peer", oneLine(c.link.PeerNodeID())).Int("queued", queued).
		Dur("after", n.cfg.StuckTimeout).Msg("link ended: the consumer takes nothing")
	n.wg.Go(func() {
		c.link.Close() //nolint:errcheck // always nil
	})
}
