package session

import (
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

const (
	// While so many messages wait for the link, nothing new is published.
	queueForPublish = 64
	// Beyond so many nothing is added that will be sent or asked for again
	// anyway: data, acknowledgements, retransmissions.
	queueLimit = 4096
	// flushWait is how long the last words of an ended session wait for the link.
	flushWait = 2 * time.Second
)

// dataKey tells data messages apart. One that waits in line is not put there
// again: a slow link must not be filled with retransmissions of what it has not
// yet sent. In a group every member counts its messages from 1, so what goes to
// one of them is not what goes to another.
type dataKey struct {
	typ control.Type
	id  control.MessageID
	to  name.Key
}

func dataKeyOf(o *control.Outbound) dataKey { return dataKey{o.Type, o.ID, o.To.Key()} }

// outlet is where the next frame goes; nil channels if there is none. The frame
// is encoded only now, so that token and encryption are as fresh as can be and
// generations leave in order.
func (d *driver) outlet() (chan<- *wire.Frame, *wire.Frame) {
	for d.head == nil && len(d.queue) > 0 {
		if d.queue[0].Encrypt && !d.maySeal() {
			d.pop()
			continue
		}
		f, err := d.app.codec.encode(d.queue[0], envelope{
			source: d.local, session: uint32(d.id), multicast: d.kind.multicast(), seal: d.core.Seal,
		}, time.Now())
		if err != nil {
			d.app.log.Error().Err(err).Uint32("session", uint32(d.id)).Msg("message cannot be sent")
			d.pop()
			continue
		}
		d.head = f
	}
	if d.head == nil {
		return nil, nil
	}
	return d.app.out, d.head
}

func (d *driver) sent() {
	d.head = nil
	d.pop()
}

func (d *driver) pop() {
	delete(d.queued, dataKeyOf(&d.queue[0]))
	d.queue[0] = control.Outbound{}
	d.queue = d.queue[1:]
}

// flush sends the last words of an ended session.
func (d *driver) flush() {
	limit := time.NewTimer(flushWait)
	defer limit.Stop()
	for {
		out, head := d.outlet()
		if head == nil {
			return
		}
		select {
		case out <- head:
			d.sent()
		case <-d.inbox: // so that the link's reader does not wait for us
		case <-limit.C:
			return
		case <-d.app.ctx.Done():
			return
		}
	}
}

// enqueue puts a message in line, an urgent one before all that are not encoded
// and encrypted yet.
func (d *driver) enqueue(o control.Outbound) {
	data := dataKeyOf(&o)
	if !control.IsCommand(o.Type) && d.queued[data] {
		return
	}
	if n := len(d.queue); n >= queueLimit && !control.IsCommand(o.Type) || n >= 2*queueLimit {
		d.app.dropped.Add(1)
		return
	}
	if !control.IsCommand(o.Type) {
		d.queued[data] = true
	}
	if !o.Urgent {
		d.queue = append(d.queue, o)
		return
	}
	at := 0
	if d.head != nil {
		at = 1
	}
	for at < len(d.queue) && d.queue[at].Urgent {
		at++
	}
	d.queue = slices.Insert(d.queue, at, o)
}
