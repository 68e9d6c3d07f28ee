package session

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// Group is one group session: a channel that all members hear, with one
// moderator, who invites and removes. Safe for concurrent use.
//
// Messages of one member arrive in the order in which it sent them; between
// members there is no order.
type Group struct {
	conversation
	names    [2]name.Name // channel and control
	chair    name.Name    // the moderator
	subject  string       // its verified subject
	listener *GroupListener
	events   chan GroupEvent

	// subscribing orders entering and leaving the channel, which is final.
	subscribing   sync.Mutex
	entered, left bool

	// Guarded by mu.
	roster []Participant
	ops    map[control.Op]chan error
	lastOp control.Op
}

// Channel is the group's name, by which nobody can be found but all members are
// spoken to.
func (g *Group) Channel() name.Name { return g.names[0] }

// Moderator is the full name of the member that invites and removes.
func (g *Group) Moderator() name.Name { return g.chair }

// Moderating reports whether we are the moderator.
func (g *Group) Moderating() bool { return g.initiator }

// Members lists the group, ourselves first.
func (g *Group) Members() []Participant {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.roster)
}

// Events tells what happens in the group, from when we entered it on. The
// channel is closed when the group is over. Of events that nobody reads the
// last 256 are kept.
func (g *Group) Events() <-chan GroupEvent { return g.events }

// Invite finds an instance of n, or exactly the one that n's id names, and adds
// it to the group. It returns when it is in and everybody knows; members that
// do not acknowledge count as offline. Changes of a group happen one after the
// other. Where a newcomer of the real library cannot join because the token of
// another such member is too old, that one is removed and invited again first, if
// nobody is lost by it; else see [StaleMemberError]. Only the moderator may invite.
// Errors: *Error with CodeNoPeer,
// CodeTimeout, CodeRejected, CodeSecurity, CodeInvalid or the reason why the
// group is over, or that of ctx; the invitation may still succeed after the
// latter.
func (g *Group) Invite(ctx context.Context, n name.Name, o InviteOptions) error {
	if n.IsZero() || !n.HasStrings() {
		return invalid("Invite: the name is missing")
	}
	return g.do(ctx, n, func(op control.Op) control.Event {
		return control.Invite{Op: op, Name: n, Subject: o.Subject}
	})
}

// InviteOptions of one invitation.
type InviteOptions struct {
	// Subject admits only a member with this verified subject.
	Subject string
}

// Remove takes a member out of the group; an id in n does not matter. It
// returns when it is out and everybody who stays knows. Only the moderator may
// remove. Errors as of Invite; see [StaleMemberError].
func (g *Group) Remove(ctx context.Context, n name.Name, o RemoveOptions) error {
	return g.do(ctx, n, func(op control.Op) control.Event {
		return control.Remove{Op: op, Name: n, Force: o.Force}
	})
}

// RemoveOptions of one removal.
type RemoveOptions struct {
	// Force removes also if a member that runs the real library is known to
	// be lost by that, see [StaleMemberError].
	Force bool
}

// StaleMemberError says that a change of the group was not made because members
// that run the real library could not follow it: they refuse leaves whose
// identity token has expired, one of a shared secret after an hour. It names the
// member with the old token and says what helps.
type StaleMemberError = control.StaleError

// Pause leaves the group for a while without leaving its roster: the others see
// us offline, and nothing is sent or received until Resume. It returns when the
// others know.
func (g *Group) Pause(ctx context.Context) error {
	return g.do(ctx, name.Name{}, func(op control.Op) control.Event { return control.SoftClose{Op: op} })
}

// Resume comes back after Pause. Changes of the group meanwhile cost a new
// admission by the moderator, which happens by itself. In a reliable group what
// was said meanwhile is delivered as far as its senders still have it.
func (g *Group) Resume(ctx context.Context) error {
	return g.do(ctx, name.Name{}, func(op control.Op) control.Event { return control.Rejoin{Op: op} })
}

// PublishTo sends a message to one member, outside the order of the others. It
// waits while 64 such messages are unacknowledged. to is its full name, as in
// Members and Message.Source; the receipt of a message to anybody else says at
// once that it is not acknowledged. Other members could read it, if a node let
// them have it.
func (g *Group) PublishTo(ctx context.Context, to name.Name, m Message) (*Receipt, error) {
	return g.publish(ctx, m, &publication{to: &to})
}

// Reply answers the sender of a received message alone.
func (g *Group) Reply(ctx context.Context, received Message, m Message) (*Receipt, error) {
	return g.PublishTo(ctx, received.Source, m)
}

// do runs an operation of the core.
func (g *Group) do(ctx context.Context, who name.Name, event func(control.Op) control.Event) error {
	result := make(chan error, 1)
	g.mu.Lock()
	g.lastOp++
	op := g.lastOp
	g.ops[op] = result
	g.mu.Unlock()
	select {
	case g.orders <- event(op):
	case <-g.done:
		return g.Err()
	case <-ctx.Done():
		g.take(op)
		return context.Cause(ctx)
	}
	select {
	case err := <-result:
		return g.operationError(who, err)
	case <-g.done:
		select {
		case err := <-result:
			return g.operationError(who, err)
		default:
			return g.Err()
		}
	case <-ctx.Done():
		g.take(op)
		return context.Cause(ctx)
	}
}

// take ends the wait for an operation.
func (g *Group) take(op control.Op) chan error {
	g.mu.Lock()
	defer g.mu.Unlock()
	result := g.ops[op]
	delete(g.ops, op)
	return result
}

// operationErrors are the codes of the reasons of the core.
var operationErrors = map[error]Code{
	control.ErrUnanswered: CodeTimeout, control.ErrRejoin: CodeTimeout,
	control.ErrAlreadyMember: CodeInvalid, control.ErrNotMember: CodeInvalid, control.ErrSelf: CodeInvalid,
	control.ErrFull: CodeInvalid, control.ErrBusy: CodeInvalid, control.ErrNotModerator: CodeInvalid, control.ErrNotOpen: CodeInvalid,
	control.ErrLeft: CodePeerGone, control.ErrEnded: CodeClosed,
}

func (g *Group) operationError(who name.Name, err error) error {
	var stale *StaleMemberError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, control.ErrNobody):
		return noPeer(who, g.app.cfg.Node)
	case errors.As(err, &stale):
		return &Error{Code: CodeRejected, Peer: who, Err: err}
	}
	for cause, code := range operationErrors {
		if errors.Is(err, cause) {
			return &Error{Code: code, Peer: who, Err: err}
		}
	}
	return &Error{Code: CodeSecurity, Peer: who, Err: err}
}
