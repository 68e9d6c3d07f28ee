package link

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// outbox is the queue of a link's writer. Bound: OutboxFrames frames and
// OutboxBytes bytes. When full, senders wait in the order they came; nothing is
// dropped while the link lives, and everything when it ends.
type outbox struct {
	ready chan struct{} // bound 1: a wake-up for the writer, lost wake-ups are harmless

	budget *Budget

	mu      sync.Mutex
	queue   []item
	bytes   int
	waiting []*waiter
	err     error // why it was closed
}

// item is a frame, or a flush mark to be closed when the writer gets there.
type item struct {
	frame *wire.Frame
	size  int
	mark  chan<- struct{}
}

type waiter struct {
	item item
	done chan error // bound 1: the verdict of push
}

func newOutbox(b *Budget) *outbox { return &outbox{ready: make(chan struct{}, 1), budget: b} }

// push queues it, waiting for room until ctx ends or the outbox is closed.
func (o *outbox) push(ctx context.Context, it item) error {
	o.mu.Lock()
	switch {
	case o.err != nil:
		defer o.mu.Unlock()
		return o.err
	case len(o.waiting) == 0 && o.fits(it):
		o.add(it)
		o.mu.Unlock()
		return nil
	}
	w := &waiter{item: it, done: make(chan error, 1)}
	o.waiting = append(o.waiting, w)
	o.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, x := range o.waiting {
		if x == w {
			o.waiting = append(o.waiting[:i:i], o.waiting[i+1:]...)
			o.admit() // a smaller one behind it may fit
			return context.Cause(ctx)
		}
	}
	return <-w.done // it was decided meanwhile
}

// fits, add and admit need mu.
func (o *outbox) fits(it item) bool {
	return len(o.queue) == 0 || len(o.queue) < OutboxFrames && o.bytes+it.size <= OutboxBytes && o.budget.room(it.size)
}

func (o *outbox) add(it item) {
	o.queue = append(o.queue, it)
	o.bytes += it.size
	o.budget.add(it.size)
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

func (o *outbox) admit() {
	for len(o.waiting) > 0 && o.fits(o.waiting[0].item) {
		w := o.waiting[0]
		o.waiting[0] = nil
		o.waiting = o.waiting[1:]
		o.add(w.item)
		w.done <- nil
	}
}

// pop takes the oldest item, without waiting.
func (o *outbox) pop() (item, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return item{}, false
	}
	it := o.queue[0]
	o.queue[0] = item{}
	o.queue = o.queue[1:]
	o.bytes -= it.size
	o.budget.add(-it.size)
	o.admit()
	return it, true
}

// close fails all senders, now and later, and drops what is queued.
func (o *outbox) close(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return
	}
	o.err = err
	for _, w := range o.waiting {
		w.done <- err
	}
	o.budget.add(-o.bytes)
	o.queue, o.waiting, o.bytes = nil, nil, 0
}

// len is the number of queued frames.
func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue)
}

// Budget bounds what the outboxes of many links hold together. When it is used
// up each of them takes one frame at a time. Safe for concurrent use; nil is no
// bound.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{limit: bytes} }

func (b *Budget) room(size int) bool { return b == nil || b.used.Load()+int64(size) <= b.limit }

func (b *Budget) add(size int) {
	if b != nil {
		b.used.Add(int64(size))
	}
}
