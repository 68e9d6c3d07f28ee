package slimnode

import (
	"context"

	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// publish forwards one message. The rules: agntcy/slim
// crates/datapath/src/message_processing.
func (n *Node) publish(ctx context.Context, from *conn, f *wire.Frame) {
	h := f.Header()
	out := f.With(wire.Patch{TTL: wire.Some(h.TTL - 1), IncomingConn: wire.Some(uint64(from.id))})
	if out.SignedSize() > wire.MaxMessage {
		// One byte more ends the link of the receiver, not of the sender.
		n.drop(DropTooLarge, from, f)
		return
	}
	dst := h.Destination.Key()
	if h.Fanout == wire.FanoutOne {
		n.anycast(ctx, from, dst, out)
		return
	}
	n.matchAll(from, dst)
	if len(from.targets) == 0 {
		n.drop(DropNoMatch, from, f)
		return
	}
	for i, to := range from.targets {
		n.deliver(ctx, from, to, out)
		from.targets[i] = nil // a link must not be kept alive by the buffer
	}
}

// anycast tries again if the chosen link turns out to be gone.
func (n *Node) anycast(ctx context.Context, from *conn, dst name.Key, f *wire.Frame) {
	for {
		to := n.matchOne(from, dst)
		if to == nil {
			n.drop(DropNoMatch, from, f)
			return
		}
		if n.deliver(ctx, from, to, f) || ctx.Err() != nil {
			return
		}
		n.forget(to)
	}
}

func (n *Node) matchOne(from *conn, dst name.Key) *conn {
	n.table.Lock()
	defer n.table.Unlock()
	id, ok := n.routes.MatchOne(dst, from.id)
	if !ok {
		return nil
	}
	return n.conns[id]
}

// matchAll fills from.targets.
func (n *Node) matchAll(from *conn, dst name.Key) {
	n.table.RLock()
	defer n.table.RUnlock()
	from.ids = n.routes.MatchAll(dst, from.id, from.ids[:0])
	from.targets = from.targets[:0]
	for _, id := range from.ids {
		from.targets = append(from.targets, n.conns[id])
	}
}

// deliver queues f for one target; false if that is gone. The writer of the
// link signs it, so one frame serves all targets.
func (n *Node) deliver(ctx context.Context, from, to *conn, f *wire.Frame) bool {
	if n.cfg.Tap == nil {
		return n.queue(ctx, from, to, f)
	}
	frames := n.cfg.Tap(from.id, to.id, f)
	if frames == nil {
		return n.queue(ctx, from, to, f)
	}
	for _, f := range frames {
		if !n.queue(ctx, from, to, f) {
			return false
		}
	}
	return true
}

func (n *Node) queue(ctx context.Context, from, to *conn, f *wire.Frame) bool {
	if err := to.send(ctx, f); err != nil {
		n.drop(DropGone, from, f)
		return false
	}
	n.counts.forwarded.Add(1)
	return true
}
