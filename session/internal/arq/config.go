package arq

import (
	"math"
	"time"
)

// Defaults of the windows. Ring is upstream's producer ring; the others have
// no upstream value, since its windows are unbounded.
const (
	DefaultInterval    = time.Second
	DefaultRing        = 512
	DefaultRingBytes   = 64 << 20
	DefaultWindow      = 256
	DefaultWindowBytes = 16 << 20
	DefaultHold        = 512
	DefaultHoldBytes   = 16 << 20
)

// SenderConfig sets up a [Sender]. Zero sizes mean their defaults.
type SenderConfig struct {
	// Reliable asks for acknowledgements and retransmission.
	Reliable bool
	// Interval between transmissions of one message. Default 1 s.
	Interval time.Duration
	// MaxRetries is the number of retransmissions: a message is sent
	// MaxRetries+1 times and given up one interval later. Zero means none.
	MaxRetries int
	// Ring is how many newest messages are kept for retransmission requests. Default 512.
	Ring int
	// RingBytes bounds the payload kept, unacknowledged or not; the oldest
	// settled messages go first. Default 64 MiB, at least WindowBytes.
	RingBytes int
	// Window is how many messages may be unsettled, parked ones included. Default 256, at most Ring.
	Window int
	// WindowBytes bounds the payload of unsettled messages. Default 16 MiB.
	// One larger message is accepted while nothing else is unsettled.
	WindowBytes int
	// Reach is how many transmissions a peer may miss in a row before it can
	// take no later one, see reach.go. Window is at most half of it. Zero:
	// any number.
	Reach int
}

func (c SenderConfig) withDefaults() SenderConfig {
	c.Interval = orDefault(c.Interval, DefaultInterval)
	c.MaxRetries = max(c.MaxRetries, 0)
	c.Ring = orDefault(c.Ring, DefaultRing)
	c.Window = min(orDefault(c.Window, DefaultWindow), c.Ring)
	if c.Reach > 0 {
		c.Window = min(c.Window, max(c.Reach/2, 1))
	}
	c.WindowBytes = orDefault(c.WindowBytes, DefaultWindowBytes)
	c.RingBytes = max(orDefault(c.RingBytes, DefaultRingBytes), c.WindowBytes)
	return c
}

// ReceiverConfig sets up a [Receiver]. Zero sizes mean their defaults.
type ReceiverConfig struct {
	// Reliable asks for order, exactly-once delivery and acknowledgements.
	Reliable bool
	// StartAtOne says that the stream is seen from its beginning, as in a
	// 1:1 session: the first id must be 1. Otherwise the first message that
	// arrives is the start.
	StartAtOne bool
	// Interval between requests for one missing message. Default 1 s.
	Interval time.Duration
	// MaxRetries is the number of repeated requests: a message is asked for
	// MaxRetries+1 times and lost one interval later. Zero means none.
	MaxRetries int
	// Hold is the reorder window: how far beyond the last delivered id a
	// message may be. Default 512.
	Hold int
	// HoldBytes bounds the payload of messages held while a gap is open.
	// Default 16 MiB.
	HoldBytes int
}

func (c ReceiverConfig) withDefaults() ReceiverConfig {
	c.Interval = orDefault(c.Interval, DefaultInterval)
	c.MaxRetries = max(c.MaxRetries, 0)
	c.Hold = orDefault(c.Hold, DefaultHold)
	c.HoldBytes = orDefault(c.HoldBytes, DefaultHoldBytes)
	return c
}

func orDefault[N int | time.Duration](n, d N) N {
	if n <= 0 {
		return d
	}
	return n
}

// patience is how long one side keeps trying: (retries+1) intervals,
// without overflow.
func patience(interval time.Duration, retries int) time.Duration {
	if n := int64(retries) + 1; int64(interval) <= math.MaxInt64/n {
		return interval * time.Duration(n)
	}
	return math.MaxInt64
}
