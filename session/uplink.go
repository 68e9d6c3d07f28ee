package session

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/link"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

const (
	ackWait   = 10 * time.Second // for a subscription, as upstream
	ackResend = 5 * time.Second
	// refusedWait is between two attempts at a node that refuses our name.
	refusedWait = 5 * time.Second
)

func (a *App) dialConfig() link.DialConfig {
	return link.DialConfig{
		Config:  link.Config{Version: a.cfg.Version, PQC: a.cfg.PQC, Logger: a.log},
		LinkID:  rand.Text(),
		NetDial: a.cfg.NetDial,
	}
}

// keepLinked serves the first link, then redials for as long as the app lives.
func (a *App) keepLinked(first *link.Conn, cfg link.DialConfig) {
	_ = a.serveLink(a.ctx, first)
	if a.ctx.Err() != nil {
		return
	}
	err := link.Redial(a.ctx, a.cfg.Node, cfg, link.Backoff{}, a.serveLink)
	if a.ctx.Err() == nil {
		a.log.Error().Err(err).Msg("the node refuses the link for good")
		a.shutdown(&Error{Code: CodeRejected, Err: err})
	}
}

// serveLink reads one link until it ends. A writer and the subscriber run
// beside it and end with it.
func (a *App) serveLink(ctx context.Context, conn *link.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		a.setLink(nil)
		a.mu.Lock()
		clear(a.subIDs)
		a.mu.Unlock()
		cancel()
		wg.Wait()
		_ = conn.Close()
	}()
	wg.Go(func() { a.writeLoop(ctx, conn) })
	wg.Go(func() { a.resubscribe(ctx, conn) })
	// Recv would end the link with its context, at once: here the writer closes
	// it, after the last words.
	reading := context.WithoutCancel(ctx)
	for {
		f, err := conn.Recv(reading)
		if err != nil {
			return err
		}
		a.onFrame(f)
	}
}

// writeLoop writes to a link until ctx ends, and then what is left. The link
// ends with it, and so does its reader.
func (a *App) writeLoop(ctx context.Context, conn *link.Conn) {
	defer conn.Close() //nolint:errcheck // returns nil
	for {
		select {
		case <-ctx.Done():
			a.lastWords(ctx, conn)
			return
		case f := <-a.out:
			if conn.Send(ctx, f) == nil {
				continue
			}
			if ctx.Err() != nil {
				a.lastWords(ctx, conn, f)
			}
			return // a frame is lost with its link; sessions send again
		}
	}
}

// lastWords sends what sessions left, farewells above all, before the link
// closes. On a link that broke it fails at once.
func (a *App) lastWords(ctx context.Context, conn *link.Conn, first ...*wire.Frame) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	for _, f := range first {
		if conn.Send(ctx, f) != nil {
			return
		}
	}
	for {
		select {
		case f := <-a.out:
			if conn.Send(ctx, f) != nil {
				return
			}
		default:
			_ = conn.Flush(ctx)
			return
		}
	}
}

// resubscribe makes a new link known to the sessions once all names are
// subscribed on it.
func (a *App) resubscribe(ctx context.Context, conn *link.Conn) {
	for {
		a.mu.Lock()
		gen := a.subsGen
		var names []name.Name
		for _, n := range a.subs {
			names = append(names, n)
		}
		for _, c := range a.channels {
			if c.users > 0 {
				names = append(names, c.name)
			}
		}
		a.mu.Unlock()
		for _, n := range names {
			if a.subscribed(n) {
				continue // in an earlier round
			}
			err := a.subscribeOn(ctx, conn, n, true)
			switch {
			case err == nil:
			case errors.Is(err, &Error{Code: CodeRejected}) && n.Key() != a.self.Key():
				// The others still work; the next link tries this one again.
				a.log.Error().Stringer("name", n).Err(err).Msg("not reachable under this name")
			case errors.Is(err, &Error{Code: CodeRejected}):
				a.ownNameRefused(ctx, conn)
				return
			default:
				if ctx.Err() == nil {
					a.log.Warn().Stringer("name", n).Err(err).Msg("subscription failed, linking anew")
					_ = conn.Close()
				}
				return
			}
		}
		if a.publishLink(conn, gen) {
			return
		}
	}
}

// ownNameRefused: an app that cannot be reached is of no use. At the start that
// is an error of Dial; later another link may fare better.
func (a *App) ownNameRefused(ctx context.Context, conn *link.Conn) {
	a.mu.Lock()
	never := a.linkGen == 0
	a.mu.Unlock()
	if never {
		a.shutdown(errRefusedName)
		return
	}
	a.log.Error().Stringer("name", a.self).Err(errRefusedName).Msg("linking anew")
	wait := time.NewTimer(refusedWait)
	defer wait.Stop()
	select {
	case <-wait.C:
		_ = conn.Close()
	case <-ctx.Done():
	}
}

// addName reports whether the name is new.
func (a *App) addName(n name.Name) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, known := a.subs[n.Prefix]
	a.subs[n.Prefix] = n
	a.subsGen++
	return !known
}

// removeName reports whether the name was there.
func (a *App) removeName(n name.Name) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, known := a.subs[n.Prefix]
	delete(a.subs, n.Prefix)
	a.subsGen++
	return known
}

// subscribed reports whether the name is subscribed on the current link.
func (a *App) subscribed(n name.Name) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.subIDs[n.Key()] != 0
}

// publishLink announces conn, unless names were added since gen.
func (a *App) publishLink(conn *link.Conn, gen uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.subsGen != gen {
		return false
	}
	a.setLinkLocked(conn)
	return true
}

func (a *App) setLink(conn *link.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.setLinkLocked(conn)
}

func (a *App) setLinkLocked(conn *link.Conn) {
	if (conn == nil) == (a.conn == nil) {
		return
	}
	a.conn = conn
	if conn != nil {
		a.linkGen++
		close(a.linkUp)
	} else {
		a.linkUp = make(chan struct{})
	}
	for _, s := range a.allSessions() {
		s.pokeLink()
	}
}

// linkState is the number of the current link and whether it is up.
func (a *App) linkState() (gen uint64, up bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.linkGen, a.conn != nil
}

// Subscribe adds a name under which the app can be found, with the app's own
// id. Peers whose Config.Names is the default refuse it if the app's identity
// spells another name. It returns when the node has acknowledged. Errors: *Error with
// CodeTimeout, CodeRejected or CodeClosed, or that of ctx.
func (a *App) Subscribe(ctx context.Context, n name.Name) error {
	n = n.WithID(a.self.ID)
	if !n.HasStrings() {
		return invalid("Subscribe: the name has no strings")
	}
	added := a.addName(n)
	err := a.ensureSubscribed(ctx, n)
	if err != nil && added {
		a.removeName(n)
	}
	return err
}

// ensureSubscribed waits until n, which is among the names to be subscribed, is
// so on the current link.
func (a *App) ensureSubscribed(ctx context.Context, n name.Name) error {
	return a.onLink(ctx, func(ctx context.Context, conn *link.Conn) error {
		switch {
		case a.subscribed(n): // before, or with the link that came up
			return nil
		case conn != nil:
			return a.subscribeOn(ctx, conn, n, true)
		}
		return errRefusedName
	})
}

// Unsubscribe takes a name back. The app's own name stays until Close.
func (a *App) Unsubscribe(ctx context.Context, n name.Name) error {
	n = n.WithID(a.self.ID)
	if n.Prefix == a.self.Prefix {
		return invalid("Unsubscribe: %s is the app's own name", n.Path())
	}
	if !a.removeName(n) {
		return invalid("Unsubscribe: %s is not subscribed", n.Path())
	}
	return a.endSubscription(ctx, n)
}

// endSubscription unsubscribes n on the current link; the next one will not
// subscribe it.
func (a *App) endSubscription(ctx context.Context, n name.Name) error {
	a.mu.Lock()
	conn := a.conn
	a.mu.Unlock()
	if conn == nil {
		return nil
	}
	return a.subscribeOn(ctx, conn, n, false)
}

// onLink runs f on the current link; without one it waits for the next, which
// subscribes everything itself, and then runs f with nil.
func (a *App) onLink(ctx context.Context, f func(context.Context, *link.Conn) error) error {
	for {
		a.mu.Lock()
		conn, up := a.conn, a.linkUp
		a.mu.Unlock()
		if conn != nil {
			err := f(ctx, conn)
			if err == nil || !errors.Is(err, errLinkEnded) {
				return err
			}
		}
		select {
		case <-up:
			if conn == nil {
				return f(ctx, nil)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.ctx.Done():
			return a.Err()
		}
	}
}

// subscribeOn sends one Subscribe or Unsubscribe, again after 5 s with the same
// id, and waits for its acknowledgement.
func (a *App) subscribeOn(ctx context.Context, conn *link.Conn, n name.Name, add bool) error {
	a.mu.Lock()
	id := a.subIDs[n.Key()] // an Unsubscribe carries the id of its Subscribe
	if add || id == 0 {
		a.nextSub++
		if a.nextSub == 0 { // 0 means: no acknowledgement
			a.nextSub++
		}
		id = a.nextSub
	}
	if !add { // from now on it cannot be relied on, whether that succeeds or not
		delete(a.subIDs, n.Key())
	}
	ack := make(chan error, 1)
	a.acks[id] = ack
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.acks, id)
		a.mu.Unlock()
	}()
	frame, err := a.codec.subscription(a.self, n, id, add, time.Now())
	if err != nil {
		return err
	}
	deadline := time.NewTimer(ackWait)
	defer deadline.Stop()
	again := time.NewTicker(ackResend)
	defer again.Stop()
	for {
		if err := conn.Send(ctx, frame); err != nil {
			return errors.Join(errLinkEnded, err)
		}
		select {
		case err := <-ack:
			if err == nil && add {
				a.noteSubscription(n, id)
			}
			return err
		case <-again.C:
		case <-deadline.C:
			return &Error{Code: CodeTimeout, Err: errors.New("the node did not acknowledge the subscription of " + n.Path())}
		case <-conn.Done():
			return errLinkEnded
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// noteSubscription remembers the id of what is subscribed on the current link.
func (a *App) noteSubscription(n name.Name, id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.subIDs[n.Key()] = id
}

// onAck hands an acknowledgement to whoever waits for it.
func (a *App) onAck(f *wire.Frame) {
	ack := f.SubscriptionAck()
	if ack == nil {
		return
	}
	a.mu.Lock()
	waiting := a.acks[ack.GetSubscriptionId()]
	delete(a.acks, ack.GetSubscriptionId())
	a.mu.Unlock()
	if waiting == nil {
		return
	}
	if ack.GetSuccess() {
		waiting <- nil
		return
	}
	waiting <- errRefusedName
}

var errRefusedName = &Error{Code: CodeRejected, Remote: true, Err: errors.New("the node refuses the subscription")}
