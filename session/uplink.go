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
