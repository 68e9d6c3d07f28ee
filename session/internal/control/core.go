package control

import (
	"iter"
	"time"
)

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
	// HeldBytes is the size of what peers sent and waits for older messages.
	HeldBytes() int
	// Save returns the session for [ReadSaved], secrets in clear; nil without an
	// error if there is nothing to keep, because it is not open yet, or over.
	Save() ([]byte, error)
	// Kept yields the messages that a restored session needs beside what Save
	// returns. What a key stands for never changes.
	Kept() iter.Seq2[string, AppMessage]
}

var (
	_ Core = (*Machine)(nil)
	_ Core = (*Moderator)(nil)
	_ Core = (*Participant)(nil)
)
