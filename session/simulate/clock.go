package simulate

import "time"

// clock is the clock of one machine that applications run on. It is wrong, and
// goes too fast or too slow.
type clock struct {
	ahead time.Duration // when the run begins
	gains int64         // of one second so many microseconds
}

// Bounds on clocks. Two that differ by less than tokenSkew each are taken for
// right by every check of a token; two that differ by less than the skew of MLS
// can still add each other.
const (
	tokenSkew = 2400 * time.Millisecond // half of identity.ClockSkew, with room for drift
	mlsSkew   = 140 * time.Second       // half of mls.ClockSkew, likewise
	maxGains  = 1000                    // ten times what a bad quartz does
)

// newClock draws a clock within the bounds of the climate.
func (w *world) newClock() clock {
	if w.skew == 0 {
		return clock{}
	}
	return clock{ahead: w.upTo(2*w.skew) - w.skew, gains: w.r.Int64N(2*maxGains+1) - maxGains}
}

// at is what the clock shows when the world's time is t.
func (c clock) at(t time.Time) time.Time {
	run := t.Sub(start)
	return t.Add(c.ahead + run*time.Duration(c.gains)/1e6)
}

// when is the first moment at which the clock shows t or more; zero if t is. A
// time from before the run, such as that of what is due since ever, is its start.
func (c clock) when(t time.Time) time.Time {
	if t.IsZero() || c == (clock{}) {
		return t
	}
	if t.Before(c.at(start)) {
		return start // else its distance to now may be too long for a Duration
	}
	shown := t.Sub(start) - c.ahead
	w := start.Add(shown - shown*time.Duration(c.gains)/time.Duration(1e6+c.gains))
	for c.at(w).Before(t) {
		w = w.Add(1)
	}
	return w
}
