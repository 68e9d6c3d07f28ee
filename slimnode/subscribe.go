package slimnode

import (
	"context"

	"github.com/slimbridge/slimbridge/slimnode/internal/route"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// subscription handles a Subscribe or an Unsubscribe: always for the
// connection it came in on, whatever recv_from says.
func (n *Node) subscription(ctx context.Context, c *conn, f *wire.Frame) {
	id, key := route.SubscriptionID(f.SubscriptionID()), f.Header().Destination.Key()
	n.table.Lock()
	var err error
	if f.Kind() == wire.KindSubscribe {
		err = n.routes.Subscribe(c.id, id, key)
	} else {
		err = n.routes.Unsubscribe(c.id, id, key)
	}
	n.table.Unlock()
	if f.Kind() == wire.KindSubscribe {
		n.counts.subscribes.Add(1)
	} else {
		n.counts.unsubscribes.Add(1)
	}
	if err != nil {
		n.counts.rejected.Add(1)
	}
	if id != 0 {
		n.ack(ctx, c, id, err)
	}
}

// ack answers on the same connection. It has no header, hence no MAC.
func (n *Node) ack(ctx context.Context, c *conn, id route.SubscriptionID, cause error) {
	a := &pb.SubscriptionAck{SubscriptionId: uint64(id), Success: cause == nil}
	if cause != nil {
		a.Error = cause.Error()
	}
	f, err := wire.Encode(&pb.Message{MessageType: &pb.Message_SubscriptionAck{SubscriptionAck: a}})
	if err != nil {
		n.cfg.Logger.Error().Err(err).Msg("encode an ack")
		return
	}
	c.send(ctx, f) //nolint:errcheck // it fails with the link only, which the reader sees
}
