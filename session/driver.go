package session

import (
	"errors"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
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

// driver is the goroutine of a session: it alone touches the machine.
type driver struct {
	*conversation
	queue   []control.Outbound
	queued  map[dataKey]bool // data in queue
	head    *wire.Frame      // queue[0], encoded and encrypted
	linkGen uint64
	up      bool
	isOpen  bool
	over    bool
}

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

// start runs the session. The caller has counted it in app.wg and put it into
// the tables.
func (c *conversation) start(first control.Event, join *control.Inbound) {
	d := &driver{conversation: c, queued: map[dataKey]bool{}}
	d.linkGen, d.up = c.app.linkState()
	go func() {
		defer c.app.wg.Done()
		d.step(first)
		if !d.up {
			d.step(control.LinkDown{})
		}
		if join != nil {
			d.step(control.Received{Msg: *join})
		}
		d.run()
		d.flush()
		c.kind.forget(d.isOpen)
		close(c.done)
	}()
}

// receive takes a message of this session from the link's reader.
func (c *conversation) receive(in *incoming) {
	select {
	case c.inbox <- in:
	case <-c.done:
	}
}

// pokeLink says that the link came or went.
func (c *conversation) pokeLink() {
	select {
	case c.link <- struct{}{}:
	default:
	}
}

func (d *driver) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for !d.over {
		var due <-chan time.Time
		if at := d.core.NextTimeout(); !at.IsZero() {
			timer.Reset(time.Until(at))
			due = timer.C
		}
		pubs, letters := d.publishable()
		out, head := d.outlet()
		select {
		case out <- head:
			d.sent()
		case in := <-d.inbox:
			d.onIncoming(in)
		case p := <-pubs:
			d.publish(p)
		case p := <-letters:
			d.publish(p)
		case ev := <-d.wishes:
			d.ending.Do(func() { close(d.leaving) })
			d.step(ev)
		case ev := <-d.orders:
			d.step(ev)
		case <-d.link:
			d.onLink()
		case <-due:
			d.step(control.Tick{})
		case <-d.app.ctx.Done():
			d.finish(&Error{Code: CodeClosed, Err: causeUnlessClosed(d.app.Err())})
		}
	}
}

// causeUnlessClosed leaves out the cause that says nothing more.
func causeUnlessClosed(err error) error {
	if errors.Is(err, &Error{Code: CodeClosed}) {
		return nil
	}
	return err
}

// publishable is where new messages to all and to one come from; nil channels
// while there is no room for them.
func (d *driver) publishable() (pubs, letters <-chan *publication) {
	if len(d.queue) >= queueForPublish {
		return nil, nil
	}
	if d.core.CanPublish() {
		pubs = d.pubs
	}
	if d.core.CanPublishTo() {
		letters = d.letters
	}
	return pubs, letters
}

// outlet is where the next frame goes; nil channels if there is none. The frame
// is encoded only now, so that token and encryption are as fresh as can be and
// generations leave in order.
func (d *driver) outlet() (chan<- *wire.Frame, *wire.Frame) {
	for d.head == nil && len(d.queue) > 0 {
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

func (d *driver) onIncoming(in *incoming) {
	switch in.typ() {
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG:
		if d.inQueue.full() {
			d.app.dropped.Add(1) // not acknowledged: a reliable peer sends it again
			return
		}
		fallthrough
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REPLY: // the reorder window has room for what it asked for
		if err := in.checkBounds(); err != nil {
			d.app.drop(in, err)
			return
		}
	}
	msg, err := d.app.codec.authenticate(in.publish, in.metadata, time.Now())
	if err != nil {
		d.app.drop(in, err)
		return
	}
	out := d.core.Step(time.Now(), control.Received{Msg: msg})
	if out.Dropped != "" {
		d.app.dropped.Add(1)
		d.app.log.Debug().Uint32("session", uint32(d.id)).Str("type", in.typeName()).Str("reason", out.Dropped).Msg("message dropped")
	}
	d.apply(out)
}

func (d *driver) publish(p *publication) {
	if p.reply != nil {
		d.inQueue.expect(p.reply)
	}
	out := d.core.Step(time.Now(), p.event())
	d.receipts[out.PublishedID] = p.receipt
	d.apply(out)
}

func (d *driver) onLink() {
	gen, up := d.app.linkState()
	if gen != d.linkGen && d.up || !up && d.up {
		d.step(control.LinkDown{})
	}
	if up && (!d.up || gen != d.linkGen) {
		d.step(control.LinkUp{})
	}
	d.linkGen, d.up = gen, up
}

func (d *driver) step(ev control.Event) {
	d.apply(d.core.Step(time.Now(), ev))
}

// apply does what a step wants done.
func (d *driver) apply(out control.Output) {
	d.remember(out)
	for _, o := range out.Send {
		d.enqueue(o)
	}
	for _, del := range out.Deliver {
		d.deliver(del)
	}
	for _, s := range out.Settled {
		if r := d.receipts[s.ID]; r != nil {
			delete(d.receipts, s.ID)
			r.settle(s)
		}
	}
	if out.Opened {
		d.onOpened()
	}
	if out.Ended != nil {
		d.finish(d.endError(out.Ended))
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

// remember updates what the application sees.
func (d *driver) remember(out control.Output) {
	if err := d.kind.remember(d, out); err != nil {
		d.finish(err)
	}
	if out.Rotated {
		d.app.log.Debug().Uint32("session", uint32(d.id)).Uint64("epoch", d.core.Epoch()).Msg("keys rotated")
	}
	if out.Ended == nil {
		d.mu.Lock()
		d.epoch = d.core.Epoch()
		d.mu.Unlock()
	}
}

func (d *driver) deliver(del control.Delivery) {
	if del.Missing > 0 {
		d.inQueue.push(inItem{err: &Error{Code: CodeMessagesLost, Peer: del.From, Err: lostMessages(del.Missing)}})
		return
	}
	d.inQueue.push(inItem{msg: Message{
		Payload: del.Msg.Payload, Type: del.Msg.Type, Metadata: del.Msg.Metadata,
		Source: del.From, Subject: del.Subject, Direct: del.Direct,
	}})
}

func (d *driver) onOpened() {
	d.isOpen = true
	close(d.opened)
	d.app.log.Debug().Uint32("session", uint32(d.id)).Stringer("peer", d.kind.peer()).Bool("mls", d.encrypted).Msg("session open")
	if !d.kind.announce() {
		d.app.log.Warn().Stringer("peer", d.kind.peer()).Msg("session turned away: too many wait to be accepted")
		d.step(control.Close{})
	}
}

func (d *driver) endError(e *control.End) *Error {
	err := &Error{Peer: d.kind.peer(), Err: e.Cause}
	switch e.Reason {
	case control.ClosedByPeer:
		err.Code, err.Remote = CodeClosedByPeer, true
	case control.NoPeer:
		err = noPeer(d.kind.peer(), d.app.cfg.Node)
		if !d.up {
			err = &Error{Code: CodeLinkDown, Peer: d.kind.peer()}
		}
	case control.NoAnswer, control.HalfOpen:
		err.Code = CodeTimeout
	case control.PeerGone:
		err.Code = CodePeerGone
	case control.LinkLost:
		err.Code = CodePeerGone
		err.Err = errLinkEnded
	case control.Rejected:
		err.Code = CodeRejected
	case control.CryptoFailed:
		err.Code = CodeSecurity
	case control.Removed:
		err.Code, err.Remote = CodeRemoved, true
	default:
		err.Code = CodeClosed
	}
	return err
}

// finish ends the loop; what was published and not settled never will be.
func (d *driver) finish(err *Error) {
	if d.over {
		return
	}
	d.over = true
	for id, r := range d.receipts {
		delete(d.receipts, id)
		r.settle(control.Settled{})
	}
	d.mu.Lock()
	d.err = err
	d.mu.Unlock()
	d.app.log.Debug().Uint32("session", uint32(d.id)).Err(err).Msg("session over")
}

type lostMessages int

func (n lostMessages) Error() string {
	if n == 1 {
		return "one message never arrived"
	}
	return "several messages never arrived"
}
