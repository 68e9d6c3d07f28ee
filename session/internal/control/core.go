package control

import "time"

// Core is what a driver drives: a [Machine], a [Moderator] or a [Participant].
type Core interface {
	Step(now time.Time, ev Event) Output
	// NextTimeout is when to step with [Tick]; zero: not before another event.
	NextTimeout() time.Time
	// CanPublish and CanPublishTo report whether [Publish] and [PublishTo]
	// would be accepted.
	CanPublish() bool
	CanPublishTo() bool
	// Seal encrypts the payload of an [Outbound] whose Encrypt is set, when it
	// is sent: in the order of sending, not before.
	Seal(payload, aad []byte) ([]byte, error)
	Epoch() uint64
	// Roster lists the members, ourselves first.
	Roster() []RosterEntry
}

var (
	_ Core = (*Machine)(nil)
	_ Core = (*Moderator)(nil)
	_ Core = (*Participant)(nil)
)
