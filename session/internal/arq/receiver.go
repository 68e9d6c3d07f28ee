package arq

import "time"

// Item is one step of a delivered stream: a message, or a run of messages
// that will never come.
type Item[T any] struct {
	ID   MessageID
	Msg  T
	Lost bool
	// Through ends a lost run ID..Through, both included and counted with
	// Next. It equals ID for a single loss and for a message.
	Through MessageID
}

// Result is what a receiver wants done.
type Result[T any] struct {
	Ack     bool        // acknowledge the message just given
	Deliver []Item[T]   // to the application, in order
	Request []MessageID // send one RTX_REQUEST each
	// Duplicate: the message was there already, nothing is delivered.
	Duplicate bool
	// Refused: neither kept nor acknowledged (beyond the window, no room, or
	// a reply nobody asked for).
	Refused bool
}

// Receiver is the receiving side of one source. Not safe for concurrent use.
type Receiver[T any] struct{ cfg ReceiverConfig }

// NewReceiver returns a receiver that has seen nothing.
func NewReceiver[T any](c ReceiverConfig) *Receiver[T] {
	return &Receiver[T]{cfg: c.withDefaults()}
}

func (r *Receiver[T]) Message(now time.Time, id MessageID, msg T, size int) (out Result[T]) {
	return out
}
func (r *Receiver[T]) Reply(now time.Time, id MessageID, msg T, size int, lost bool) (out Result[T]) {
	return out
}
func (r *Receiver[T]) Tick(now time.Time) (out Result[T]) { return out }
func (r *Receiver[T]) NextTimeout() time.Time             { return time.Time{} }
func (r *Receiver[T]) Pause(now time.Time)                {}
func (r *Receiver[T]) Resume(now time.Time)               {}

// Flush gives up every open gap and delivers what is held. For a source that
// is gone for good.
func (r *Receiver[T]) Flush() (out Result[T]) { return out }
func (r *Receiver[T]) Last() MessageID        { return 0 }
