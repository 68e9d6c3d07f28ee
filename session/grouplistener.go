package session

import (
	"context"
	"errors"
	"slices"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// GroupListenOptions say who may invite us to groups. One of Moderators,
// Subjects, Accept and AnyModerator must be set.
type GroupListenOptions struct {
	Security Security
	// EndWhenLost ends the group for us when its moderator is silent for three
	// heartbeats or the link is down for LostAfter.
	EndWhenLost bool
	// Backlog is how many groups wait for Accept; we leave further ones.
	// Default 128.
	Backlog int
	// MaxGroups that we may be in at once; further invitations are not
	// answered. Those that are over, but have messages that are stored and not
	// confirmed, count too. Default 1024.
	MaxGroups int
	// Moderators may invite us, by name; ids in them do not matter. Names
	// are bound to identities only as far as Config.Names and the identity
	// provider say: with identity.OwnID every subject can use any name, and
	// with a shared secret every holder can be any subject.
	Moderators []name.Name
	// Subjects may invite us: verified subjects of identity tokens.
	Subjects []string
	// Accept decides about a verified invitation that the lists, if there are
	// any, allow. It must return quickly.
	Accept func(GroupInvitation) error
	// AnyModerator lets everybody with a valid identity invite us.
	AnyModerator bool
}

// GroupInvitation is a verified request to enter a group.
type GroupInvitation struct {
	Moderator name.Name
	Subject   string // verified, from the identity token
	To        name.Name
	Channel   name.Name
	MLS       bool
	Metadata  map[string]string
}

func (o GroupListenOptions) withDefaults() GroupListenOptions {
	if o.Backlog <= 0 {
		o.Backlog = 128
	}
	if o.MaxGroups <= 0 {
		o.MaxGroups = 1024
	}
	return o
}

// Validate reports a missing policy.
func (o GroupListenOptions) Validate() error {
	if len(o.Moderators) == 0 && len(o.Subjects) == 0 && o.Accept == nil && !o.AnyModerator {
		return errors.New("session: GroupListenOptions say nobody may invite: set Moderators, Subjects, Accept or AnyModerator")
	}
	return nil
}

var errUninvited = errors.New("the moderator is not one of those who may invite us")

// admit is nil if the invitation is acceptable.
func (o GroupListenOptions) admit(inv GroupInvitation) error {
	listed := slices.Contains(o.Subjects, inv.Subject) ||
		slices.ContainsFunc(o.Moderators, func(n name.Name) bool { return n.Prefix == inv.Moderator.Prefix })
	if !listed && !o.AnyModerator && (o.Accept == nil || len(o.Moderators)+len(o.Subjects) > 0) {
		return errUninvited
	}
	if o.Accept != nil {
		return o.Accept(inv)
	}
	return nil
}

// ListenGroups starts to answer those who invite us to groups, as far as the
// options allow. Without it, or after the listener was closed, nobody can
// invite us. There is one listener of this kind.
func (a *App) ListenGroups(o GroupListenOptions) (*GroupListener, error) {
	if err := o.Validate(); err != nil {
		return nil, &Error{Code: CodeInvalid, Err: err}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, &Error{Code: CodeClosed}
	}
	if a.invited != nil {
		return nil, invalid("ListenGroups: the app listens already")
	}
	o = o.withDefaults()
	a.invited = &GroupListener{app: a, opts: o}
	a.invited.open(o.Backlog)
	return a.invited, nil
}

// GroupListener hands out the groups that others invite us to. Safe for
// concurrent use.
type GroupListener struct {
	app  *App
	opts GroupListenOptions
	backlog[*Group]
}

// Accept waits for the next group that we are in. It returns *Error with
// CodeClosed after Close, or the error of ctx.
func (l *GroupListener) Accept(ctx context.Context) (*Group, error) { return l.accept(ctx) }

// Close stops listening. Groups that wait for Accept are left; accepted ones
// live on.
func (l *GroupListener) Close() error {
	l.app.mu.Lock()
	if l.app.invited == l {
		l.app.invited = nil
	}
	l.app.mu.Unlock()
	l.close()
	return nil
}

// full reports whether no other group may be entered.
func (l *GroupListener) full() bool {
	l.app.mu.Lock()
	defer l.app.mu.Unlock()
	return len(l.app.groups)+int(l.app.unread.groups.Load()) >= l.opts.MaxGroups || l.app.halfOpen >= maxHalfOpen
}
