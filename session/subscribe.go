package session

import (
	"context"
	"errors"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/link"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

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
