package session

import (
	"context"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// channelUse counts the groups that need the subscription of a channel: two
// groups of one moderator may have the same.
type channelUse struct {
	name  name.Name
	users int
}

// enterChannel subscribes the name of a channel, on this link and all later
// ones. It returns when the node has acknowledged.
func (a *App) enterChannel(ctx context.Context, n name.Name) error {
	a.mu.Lock()
	use := a.channels[n.Key()]
	if use == nil {
		use = &channelUse{name: n}
		a.channels[n.Key()] = use
		a.subsGen++
	}
	use.users++
	a.mu.Unlock()
	err := a.ensureSubscribed(ctx, n)
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
	if use == nil {
		a.mu.Unlock()
		return
	}
	use.users--
	last := use.users == 0
	if last {
		delete(a.channels, n.Key())
		a.subsGen++
	}
	a.mu.Unlock()
	if last {
		_ = a.endSubscription(a.ctx, n)
	}
}
