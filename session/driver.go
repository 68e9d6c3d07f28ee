package session

import (
	"errors"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
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
	// parting: the last process had said farewell; it is said again when there
	// is a link.
	parting bool
	buffers int // our share of app.buffers
}

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
		d.live()
	}()
}

// live is the rest of the session's life.
func (d *driver) live() {
	d.run()
	d.account(0) // what is left belongs to the application
	d.lastSave()
	d.flush()
	d.kind.forget(d.isOpen)
	close(d.done)
}

// receive takes a message of this session from the link's reader. The goroutine
// of a session that is kept may be waiting for the disk, and then everybody else
// must not wait with it: what does not fit is dropped, and sent again.
func (c *conversation) receive(in *incoming) {
	if c.keep != nil {
		select {
		case c.inbox <- in:
		default:
			c.app.dropped.Add(1)
		}
		return
	}
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
	for d.keepUp(); !d.over; d.keepUp() {
		var due <-chan time.Time
		if at := d.nextTimeout(); !at.IsZero() {
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
			d.onMore()
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

// nextTimeout is when the core or the store has something to do.
func (d *driver) nextTimeout() time.Time {
	at, save := d.core.NextTimeout(), d.keep.due()
	if at.IsZero() || !save.IsZero() && save.Before(at) {
		return save
	}
	return at
}

// onMore takes what else has arrived, so that it is stored together.
func (d *driver) onMore() {
	for n := 1; d.keep != nil && n < keepBatch; n++ {
		select {
		case in := <-d.inbox:
			d.onIncoming(in)
		default:
			return
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

func (d *driver) onIncoming(in *incoming) {
	switch in.typ() {
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG:
		if d.inQueue.full(d.keep.delivering()) || d.overBudget() {
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

// overBudget reports whether the sessions of the app together hold too much for
// this one to take more.
func (d *driver) overBudget() bool {
	d.account(d.core.HeldBytes() + d.inQueue.size())
	return d.buffers > bufferFree && d.app.buffers.Load() > int64(d.app.cfg.BufferBytes)
}

// account sets our share of what all sessions hold.
func (d *driver) account(n int) {
	d.app.buffers.Add(int64(n - d.buffers))
	d.buffers = n
}

func (d *driver) publish(p *publication) {
	if p.reply != nil {
		d.inQueue.expect(p.reply)
	}
	out := d.core.Step(time.Now(), p.event())
	d.receipts[out.PublishedID] = p.receipt
	if d.keep != nil {
		d.keep.taken = append(d.keep.taken, p.taken)
	}
	d.apply(out)
}

func (d *driver) onLink() {
	gen, up := d.app.linkState()
	if gen != d.linkGen && d.up || !up && d.up {
		d.step(control.LinkDown{})
	}
	if up && (!d.up || gen != d.linkGen) {
		d.step(control.LinkUp{})
		if d.parting {
			d.parting = false
			d.step(control.Close{})
		}
	}
	d.linkGen, d.up = gen, up
}

func (d *driver) step(ev control.Event) {
	d.apply(d.core.Step(time.Now(), ev))
}

// apply does what a step wants done, where sessions are kept after it is stored.
func (d *driver) apply(out control.Output) {
	if d.keep != nil {
		d.keep.waiting = append(d.keep.waiting, step{out: out})
		return
	}
	d.carry(step{out: out})
}

func (d *driver) carry(s step) {
	out := s.out
	d.remember(out)
	for _, o := range out.Send {
		d.enqueue(o)
	}
	for i, del := range out.Deliver {
		d.deliver(del, s.mark(d.keep, i))
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

func (d *driver) deliver(del control.Delivery, m mark) {
	head := inRecordOf(&del)
	if !d.inQueue.push(head.item(del.Msg.Payload, m)) && m.keep != nil {
		if err := d.confirm(m.n); err != nil {
			d.app.log.Warn().Err(err).Msg("a late reply stays stored")
		}
	}
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
