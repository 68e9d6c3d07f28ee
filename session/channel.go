package session

import (
	"context"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// channelUse counts the groups that need the subscription of a channel: two
// groups of one moderator may have the same, and one may follow another.
type channelUse struct {
	name  name.Name
	users int // guarded by App.mu
	// turn is held by whoever subscribes or unsubscribes the name.
	turn chan struct{}
}

// inTurn runs f, one at a time.
func (u *channelUse) inTurn(ctx context.Context, f func() error) error {
	select {
	case u.turn <- struct{}{}:
		defer func() { <-u.turn }()
		return f()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enterChannel subscribes the name of a channel, on this link and all later
// ones. It returns when the node has acknowledged.
func (a *App) enterChannel(ctx context.Context, n name.Name) error {
	a.mu.Lock()
	use := a.channels[n.Key()]
	if use == nil {
		use = &channelUse{name: n, turn: make(chan struct{}, 1)}
		a.channels[n.Key()] = use
	}
	if use.users++; use.users == 1 {
		a.subsGen++
	}
	a.mu.Unlock()
	err := use.inTurn(ctx, func() error { return a.ensureSubscribed(ctx, n) })
	if err != nil {
		a.leaveChannel(n)
	}
	return err
}

// leaveChannel undoes enterChannel. An Unsubscribe that the node does not
// acknowledge is left at that: the link's end does the same.
func (a *App) leaveChannel(n name.Name) {
	a.mu.Lock()
	use := a.channels[n.Key()]
	use.users--
	last := use.users == 0
	if last {
		a.subsGen++
	}
	a.mu.Unlock()
	if last {
		_ = use.inTurn(a.ctx, func() error { return a.endChannel(use) })
	}
}

// endChannel unsubscribes a channel, unless a group has entered it meanwhile.
// Groups that enter it now wait for their turn.
func (a *App) endChannel(use *channelUse) error {
	key := use.name.Key()
	unused := func() bool { return use.users == 0 && a.channels[key] == use }
	a.mu.Lock()
	end := unused()
	a.mu.Unlock()
	if !end {
		return nil
	}
	err := a.endSubscription(a.ctx, use.name)
	a.mu.Lock()
	defer a.mu.Unlock()
	if unused() {
		delete(a.channels, key)
	}
	return err
}
