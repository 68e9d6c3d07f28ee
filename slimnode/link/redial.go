package link

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Backoff paces [Redial]: Min, doubled per failure up to Max, each shortened by
// a random part of up to half. The zero value is 0.1 s to 5 s.
type Backoff struct {
	Min, Max time.Duration
	// Jitter returns numbers in [0,1). Default: math/rand.
	Jitter func() float64
}

func (b Backoff) withDefaults() Backoff {
	if b.Min <= 0 {
		b.Min = 100 * time.Millisecond
	}
	if b.Max <= 0 {
		b.Max = 5 * time.Second
	}
	b.Max = max(b.Max, b.Min)
	if b.Jitter == nil {
		b.Jitter = rand.Float64
	}
	return b
}

// Delay is the pause after the given number of failures in a row (from 0), for
// a random number r in [0,1).
func (b Backoff) Delay(failures int, r float64) time.Duration {
	b = b.withDefaults()
	d := b.Min
	for range failures {
		if d >= b.Max/2 {
			d = b.Max
			break
		}
		d *= 2
	}
	return d - time.Duration(r*float64(d/2))
}

// Redial keeps a link: it dials, calls run with each new link, closes the link
// when run returns, waits and dials again, without limit. Every dial uses the
// same link id and a new key. The pause starts over once a link has lived for
// b.Max. It returns the cause of ctx when that ends, and an *Error that wraps
// ErrDenied when the peer refuses us for good; what run returns is otherwise
// only logged. The context of run ends with ctx, not with the link.
func Redial(ctx context.Context, endpoint string, cfg DialConfig, b Backoff, run func(ctx context.Context, c *Conn) error) error {
	cfg, b = cfg.withDefaults(), b.withDefaults()
	for failures := 0; ; failures++ {
		lived, err := once(ctx, endpoint, cfg, run)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, ErrDenied) {
			return err
		}
		if lived >= b.Max {
			failures = 0
		}
		pause := b.Delay(failures, b.Jitter())
		cfg.Logger.Info().Err(err).Dur("pause", pause).Msg("link lost, dialling again")
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// once dials and runs one link.
func once(ctx context.Context, endpoint string, cfg DialConfig, run func(ctx context.Context, c *Conn) error) (lived time.Duration, err error) {
	c, err := Dial(ctx, endpoint, cfg)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = run(ctx, c)
	if end := c.Err(); errors.Is(end, ErrDenied) {
		err = end
	}
	c.Close() //nolint:errcheck // always nil
	return time.Since(start), err
}
