package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

const (
	// DefaultInstances is how many instances an [Anycast] talks to at most.
	DefaultInstances = 8
	// How often more instances are looked for: often at first, and after one
	// was lost, rarely once discovery finds only those we know.
	lookSoon   = 100 * time.Millisecond
	lookSeldom = 10 * time.Second
	// knownInARow discoveries of known instances end the frequent search.
	knownInARow = 3
)

// Anycast talks to all instances of a name at once, for services that keep no
// state between messages: each message may go to a different instance. Safe for
// concurrent use.
//
// On SLIM's wire every session is with one instance. An Anycast is therefore a
// pool of such sessions, found by repeated discovery; instances that come and
// go are followed. As long as the pool has room, an instance that is in it
// already sees now and then a session that is opened and closed at once.
//
// A group of keys cannot be shared with whichever instance comes next, so with
// MLS there is one session, with one instance, as SLIM has it: [Anycast.Sticky]
// tells. When that instance is gone, the next one found takes its place.
//
// What is in a pool ends with the process, also with [Config].State.
type Anycast struct {
	app    *App
	name   name.Name
	opts   AnycastOptions
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	pumps  sync.WaitGroup // added to by the search only
	ended  chan struct{}  // closed when the search and all pumps are over
	in     chan Message
	look   chan struct{} // asks for another instance

	mu     sync.Mutex
	pool   []*instance
	next   int      // where the round goes on
	result *outcome // of the search that those without an instance wait for
}

// outcome of one search for an instance.
type outcome struct {
	done chan struct{}
	err  error // nil: there is another instance; set before done is closed
}

func newOutcome() *outcome { return &outcome{done: make(chan struct{})} }

// instance is one session of the pool.
type instance struct {
	*Session
	requests int // under way or waiting
}

// AnycastOptions of an [Anycast]. Other fields of [Options] are not offered:
// Metadata and EndWhenLost are set by the pool.
type AnycastOptions struct {
	// Security: with RequireMLS, the default, the Anycast is sticky.
	Security   Security
	Delivery   Delivery
	MaxRetries int
	Interval   time.Duration
	// Instances bounds the pool. Default DefaultInstances.
	Instances int
}

// OpenAnycast finds the first instance of n and returns; further ones are found
// meanwhile. The id of n must be open. Errors are those of [App.Open].
func (a *App) OpenAnycast(ctx context.Context, n name.Name, o AnycastOptions) (*Anycast, error) {
	if o.Instances <= 0 {
		o.Instances = DefaultInstances
	}
	if o.Security == RequireMLS {
		o.Instances = 1
	}
	c := &Anycast{
		app: a, name: n.Service(), opts: o,
		in: make(chan Message, maxUnread), look: make(chan struct{}, 1), result: newOutcome(), ended: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancelCause(a.ctx)
	_, err := c.find(ctx)
	if err == nil && !a.owns(c.live) {
		err = &Error{Code: CodeClosed}
	}
	if err != nil {
		c.cancel(err)
		c.pumps.Wait()
		return nil, err
	}
	return c, nil
}

// live is the life of the Anycast. The app waits for it.
func (c *Anycast) live() {
	defer close(c.ended)
	c.keepLooking()
	c.pumps.Wait()
}

// Sticky reports whether all messages go to one instance, as long as it lives.
func (c *Anycast) Sticky() bool { return c.opts.Instances == 1 }

// Instances lists who is in the pool now.
func (c *Anycast) Instances() []name.Name {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]name.Name, 0, len(c.pool))
	for _, i := range c.pool {
		list = append(list, i.Peer())
	}
	return list
}

// Publish sends a message to the next instance in turn. Errors as of
// [Session.Publish], or those of [App.Open] while there is no instance.
func (c *Anycast) Publish(ctx context.Context, m Message) (*Receipt, error) {
	for {
		i, err := c.take(ctx, false)
		if err != nil {
			return nil, err
		}
		r, err := i.Publish(ctx, m)
		if err == nil || i.Err() == nil {
			return r, err
		}
		c.drop(i) // it ended meanwhile and has sent nothing
	}
}

// Request sends m to the instance with the fewest requests under way and waits
// for its reply, the next message of that instance. Requests run in parallel,
// one at a time on each instance. A request is sent once: if its instance is
// lost, nobody knows whether it was carried out, and the error says so.
// Errors as of [Session.Request].
func (c *Anycast) Request(ctx context.Context, m Message, timeout time.Duration) (Message, error) {
	i, err := c.take(ctx, true)
	if err != nil {
		return Message{}, err
	}
	defer c.done(i)
	return i.Request(ctx, m, timeout)
}

// Receive waits for the next message of any instance that is no reply.
func (c *Anycast) Receive(ctx context.Context) (Message, error) {
	select {
	case m := <-c.in:
		return m, nil
	case <-c.ctx.Done():
		return Message{}, &Error{Code: CodeClosed}
	case <-ctx.Done():
		return Message{}, context.Cause(ctx)
	}
}

// Close ends all sessions of the pool.
func (c *Anycast) Close() error {
	c.cancel(&Error{Code: CodeClosed})
	c.mu.Lock()
	pool := c.pool
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, i := range pool {
		wg.Go(func() { _ = i.Close() })
	}
	wg.Wait()
	<-c.ended
	return nil
}

// take chooses an instance: in turn, or the idlest for a request. Without one
// it waits for the search.
func (c *Anycast) take(ctx context.Context, request bool) (*instance, error) {
	for {
		c.mu.Lock()
		var best *instance
		for k := range c.pool {
			i := c.pool[(c.next+k)%len(c.pool)]
			if best == nil || request && i.requests < best.requests {
				best = i
			}
		}
		if best != nil {
			c.next = (c.next + 1) % len(c.pool)
			if request {
				best.requests++
			}
			c.mu.Unlock()
			return best, nil
		}
		result := c.result
		c.mu.Unlock()
		c.search()
		select {
		case <-result.done:
			if result.err != nil {
				return nil, result.err
			}
		case <-c.ctx.Done():
			return nil, &Error{Code: CodeClosed}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (c *Anycast) done(i *instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i.requests--
}

// search asks for another instance now.
func (c *Anycast) search() {
	select {
	case c.look <- struct{}{}:
	default:
	}
}

// keepLooking fills the pool.
func (c *Anycast) keepLooking() {
	known := 0
	timer := time.NewTimer(lookSoon)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.look:
			known = 0
		case <-timer.C:
		}
		wait := lookSeldom
		if c.room() {
			fresh, err := c.find(c.ctx)
			if err != nil {
				c.failed(err)
			}
			if known++; fresh {
				known = 0
			}
			if err == nil && known < knownInARow {
				wait = lookSoon
			}
		}
		timer.Reset(wait)
	}
}

func (c *Anycast) room() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pool) < c.opts.Instances
}

// failed tells those who wait that there is nobody.
func (c *Anycast) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pool) == 0 {
		c.notify(err)
	}
}

// notify is called with mu held.
func (c *Anycast) notify(err error) {
	c.result.err = err
	close(c.result.done)
	c.result = newOutcome()
}

// find opens a session with whichever instance answers. One that we have
// already is closed again.
func (c *Anycast) find(ctx context.Context) (fresh bool, err error) {
	s, err := c.app.Open(ctx, c.name, Options{
		Security: c.opts.Security, Delivery: c.opts.Delivery, MaxRetries: c.opts.MaxRetries, Interval: c.opts.Interval,
		EndWhenLost: true, unkept: true,
	})
	if err != nil {
		return false, err
	}
	i := &instance{Session: s}
	c.mu.Lock()
	for _, other := range c.pool {
		if other.Peer().Key() == s.Peer().Key() {
			c.mu.Unlock()
			s.leave()
			return false, nil
		}
	}
	if c.ctx.Err() != nil {
		c.mu.Unlock()
		s.leave()
		return false, &Error{Code: CodeClosed}
	}
	c.pool = append(c.pool, i)
	c.pumps.Go(func() { c.pump(i) })
	c.notify(nil)
	c.mu.Unlock()
	return true, nil
}

// pump merges what an instance says, until it is gone.
func (c *Anycast) pump(i *instance) {
	for {
		m, err := i.Receive(c.ctx)
		switch {
		case errors.Is(err, &Error{Code: CodeMessagesLost}):
			continue
		case err != nil:
			c.drop(i)
			return
		}
		select {
		case c.in <- m:
		case <-c.ctx.Done():
			return
		}
	}
}

// drop takes a lost instance out of the pool and looks for another.
func (c *Anycast) drop(i *instance) {
	c.mu.Lock()
	for k, other := range c.pool {
		if other == i {
			c.pool = append(c.pool[:k:k], c.pool[k+1:]...)
			break
		}
	}
	c.next = 0
	c.mu.Unlock()
	if c.ctx.Err() == nil {
		c.search()
	}
}
