package arq

import "time"

// Outgoing is one message to put on the wire now.
type Outgoing[P comparable, T any] struct {
	ID MessageID
	// ToAll: to the session destination, for every peer (a first
	// transmission). Otherwise to Peer alone.
	ToAll   bool
	Peer    P
	Msg     T
	Attempt int // 0 for the first transmission
}

// Settled says that nothing more happens for a published message.
type Settled[P comparable] struct {
	ID      MessageID
	Missing []P  // peers that did not acknowledge; empty: everybody did
	Failed  bool // from Fail: the session ended first, Missing may be empty for a message never sent
}

// Sender is the sending side of one session: one sequence of ids and the
// peers that acknowledge it. Not safe for concurrent use.
type Sender[P comparable, T any] struct{ cfg SenderConfig }

// NewSender returns a sender without peers whose first id is 1.
func NewSender[P comparable, T any](c SenderConfig) *Sender[P, T] {
	return &Sender[P, T]{cfg: c.withDefaults()}
}

func (s *Sender[P, T]) CanPublish(size int) bool { return true }

func (s *Sender[P, T]) Publish(now time.Time, msg T, size int) (id MessageID, transmit bool) {
	return 0, false
}
func (s *Sender[P, T]) Online(now time.Time, p P) (send []Outgoing[P, T]) { return nil }
func (s *Sender[P, T]) Offline(p P) (settled []Settled[P])                { return nil }

// Remove takes a peer off for good, as when it leaves the roster: Offline,
// and what is known about it is forgotten. If it comes back it is a new peer.
func (s *Sender[P, T]) Remove(p P) (settled []Settled[P])            { return nil }
func (s *Sender[P, T]) Ack(p P, id MessageID) (settled []Settled[P]) { return nil }
func (s *Sender[P, T]) Rtx(now time.Time, p P, id MessageID) (msg T, found bool, settled []Settled[P]) {
	return msg, false, nil
}
func (s *Sender[P, T]) Tick(now time.Time) (resend []Outgoing[P, T], settled []Settled[P], lost []P) {
	return nil, nil, nil
}
func (s *Sender[P, T]) NextTimeout() time.Time { return time.Time{} }
func (s *Sender[P, T]) Pause(now time.Time)    {}
func (s *Sender[P, T]) Resume(now time.Time)   {}
func (s *Sender[P, T]) Pending() int           { return 0 }
func (s *Sender[P, T]) Fail() []Settled[P]     { return nil }
