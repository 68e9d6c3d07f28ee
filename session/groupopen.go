package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// CreateGroup makes a group of which we are the moderator and, so far, the only
// member. channel names it: three strings, the id does not matter. Errors:
// *Error with CodeInvalid, CodeSecurity or CodeClosed, or that of ctx.
func (a *App) CreateGroup(ctx context.Context, channel name.Name, o GroupOptions) (*Group, error) {
	options := Options{
		Security: o.Security, Delivery: o.Delivery, MaxRetries: o.MaxRetries, Interval: o.Interval, Metadata: o.Metadata,
	}
	if err := options.Validate(); err != nil {
		return nil, &Error{Code: CodeInvalid, Err: err}
	}
	if channel.IsZero() || !channel.HasStrings() {
		return nil, invalid("CreateGroup: the channel's name is missing")
	}
	data, ctl, ok := name.ChannelIDs(a.cfg.Identity.Subject(), channel)
	if !ok {
		return nil, invalid("CreateGroup: no ids for channel %s", channel.Path())
	}
	options = options.withDefaults()
	cfg := control.Config{
		Role: control.Initiator, Local: a.self, Channel: channel.WithID(data), Control: channel.WithID(ctl),
		Reliable: o.Delivery == Reliable, MaxRetries: options.MaxRetries, Interval: options.Interval, Metadata: o.Metadata,
	}
	var err error
	if cfg.MLS, err = a.group(o.Security == RequireMLS, ""); err != nil {
		return nil, &Error{Code: CodeSecurity, Err: err}
	}
	id, ok := a.reserveGroup()
	if !ok {
		return nil, &Error{Code: CodeClosed}
	}
	cfg.SessionID = uint32(id)
	g := a.newGroup(id, cfg)
	g.chair, g.subject = a.self, a.cfg.Identity.Subject()
	if !a.addGroup(g) {
		return nil, &Error{Code: CodeClosed}
	}
	g.start(control.Start{}, nil)
	select {
	case <-g.opened:
		return g, nil
	case <-g.done:
		return nil, g.Err()
	case <-ctx.Done():
		g.leave() // its goroutine belongs to the app
		return nil, context.Cause(ctx)
	}
}

// GroupOptions of a group that we create; the fields are as in [Options].
type GroupOptions struct {
	Security   Security
	Delivery   Delivery
	MaxRetries int
	Interval   time.Duration
	Metadata   map[string]string
}

// reserveGroup draws an id that is free.
func (a *App) reserveGroup() (ID, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.closed {
		id := ID(rand.Uint32N(maxSessionID))
		if a.groups[id] == nil && a.opening[id] == nil && !a.idInUse(id) {
			return id, true
		}
	}
	return 0, false
}

// newGroup makes the core and the conversation around it.
func (a *App) newGroup(id ID, cfg control.Config) *Group {
	a.fill(&cfg)
	g := makeGroup(&cfg)
	g.setUp(a, &cfg, g)
	g.id = id
	if cfg.Role == control.Initiator {
		g.core = control.NewModerator(cfg)
	} else {
		g.core = control.NewParticipant(cfg)
	}
	return g
}

func makeGroup(cfg *control.Config) *Group {
	return &Group{
		names:  [2]name.Name{cfg.Channel, cfg.Control},
		events: make(chan GroupEvent, eventsKept), ops: map[control.Op]chan error{},
	}
}

// addGroup puts g into the table and counts its goroutine.
func (a *App) addGroup(g *Group) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.groups[g.id] != nil {
		return false
	}
	a.groups[g.id] = g
	a.wg.Add(1)
	return true
}

// Refusals of an invitation to a group.
var (
	errNoChannel   = errors.New("invitation without the names of a channel")
	errChannelName = errors.New("invitation to a channel that is not one of the moderator's")
	errGroupTaken  = errors.New("invitation with the session id of another group")
)

// channelOf reports whether the names are those of a channel of the moderator.
// We will subscribe them, and take them back: they must not be names of ours,
// or of somebody else.
func channelOf(moderator string, channel, ctl name.Name) bool {
	if !channel.HasStrings() {
		return false
	}
	data, control, ok := name.ChannelIDs(moderator, channel)
	return ok && channel.ID == data && ctl.Key() == channel.WithID(control).Key()
}

// onGroupJoin decides about a verified invitation to a group.
func (a *App) onGroupJoin(in *incoming, msg control.Inbound) {
	n, ok := a.called(in)
	_, l := a.listeners()
	if !ok || l == nil {
		return
	}
	join := msg.Command.GetJoinRequest()
	channel, okData := wire.ToName(join.GetChannel())
	ctl, okControl := wire.ToName(join.GetControl())
	meta := publicMetadata(msg.Metadata)
	inv := GroupInvitation{
		Moderator: in.source, Subject: msg.Subject, To: n, Channel: channel,
		MLS: join.GetMlsSettings() != nil, Metadata: meta,
	}
	switch {
	case !okData || !okControl:
		a.drop(in, errNoChannel)
	case !channelOf(msg.Subject, channel, ctl):
		a.drop(in, errChannelName)
	case !inv.MLS && l.opts.Security == RequireMLS:
		a.drop(in, errNoMLS)
	case checkMetadata(meta) != nil:
		a.drop(in, errTooMuchMeta)
	case l.full():
		a.drop(in, errTooMany)
	default:
		if err := l.opts.admit(inv); err != nil {
			a.drop(in, err)
			return
		}
		a.newMember(in, msg, inv, ctl, l)
	}
}

// newMember starts the participant's side of an accepted invitation.
func (a *App) newMember(in *incoming, msg control.Inbound, inv GroupInvitation, ctl name.Name, l *GroupListener) {
	cfg := control.Config{
		Role: control.Responder, Local: inv.To, Peer: in.source, Channel: inv.Channel, Control: ctl,
		SessionID: uint32(in.id()), EndWhenLost: l.opts.EndWhenLost, Metadata: inv.Metadata,
	}
	timersOf(msg.Command.GetJoinRequest().GetTimerSettings(), &cfg)
	var err error
	if cfg.MLS, err = a.group(inv.MLS, inv.Subject); err != nil {
		a.drop(in, err)
		return
	}
	g := a.newGroup(in.id(), cfg)
	g.chair, g.subject, g.listener = in.source, inv.Subject, l
	a.mu.Lock()
	crowded := a.joining[inv.Subject] >= maxHalfOpenPerSubject
	a.mu.Unlock()
	switch {
	case crowded:
		a.drop(in, errTooMany)
		return
	case !a.addGroup(g):
		a.drop(in, errGroupTaken)
		return
	}
	a.mu.Lock()
	a.halfOpen++
	a.joining[inv.Subject]++
	a.mu.Unlock()
	g.start(control.Start{}, &msg)
}
