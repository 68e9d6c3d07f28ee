package session

import (
	"fmt"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// EventKind is what a [GroupEvent] tells.
type EventKind int

const (
	_             EventKind = iota
	MemberJoined            // it is in the group now
	MemberLeft              // it left by itself
	MemberRemoved           // the moderator removed it
	MemberOffline           // it is silent, does not acknowledge, or paused
	MemberOnline            // it is back
	MemberBlocked           // it needs a change that cannot be made, Err says why; moderator only
	EpochChanged            // the group has new keys
)

var eventTexts = map[EventKind]string{
	MemberJoined: "joined", MemberLeft: "left", MemberRemoved: "removed", MemberOffline: "offline",
	MemberOnline: "online", MemberBlocked: "blocked", EpochChanged: "new keys",
}

// String is the kind in a word or two.
func (k EventKind) String() string { return eventTexts[k] }

// GroupEvent is news of a group.
type GroupEvent struct {
	Kind    EventKind
	Member  name.Name // zero with EpochChanged
	Subject string    // of the member, verified; empty if not known yet
	Epoch   uint64
	Err     error // with MemberBlocked
}

// String is one line.
func (e GroupEvent) String() string {
	switch {
	case e.Kind == EpochChanged:
		return fmt.Sprintf("%v (epoch %d)", e.Kind, e.Epoch)
	case e.Err != nil:
		return fmt.Sprintf("%s %v: %v", e.Member.Path(), e.Kind, e.Err)
	}
	return fmt.Sprintf("%s %v", e.Member.Path(), e.Kind)
}

// eventsKept is how many events wait for the application.
const eventsKept = 256

var eventKinds = map[control.News]EventKind{
	control.Joined: MemberJoined, control.Left: MemberLeft, control.Expelled: MemberRemoved,
	control.Offline: MemberOffline, control.Online: MemberOnline, control.Blocked: MemberBlocked,
}

// tell queues an event; the oldest makes place. Only the driver calls it.
func (g *Group) tell(e GroupEvent) {
	for {
		select {
		case g.events <- e:
			return
		default:
		}
		select {
		case <-g.events:
		default:
		}
	}
}
