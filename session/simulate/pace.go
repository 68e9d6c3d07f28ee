package simulate

import (
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
)

// pace is how often and how long a session repeats what is not answered.
type pace struct {
	retries  int
	interval time.Duration
}

// usual is the interval of all sessions where they are alike.
const usual = time.Second

// Bounds on what a responder takes over from the one that invites it, and what
// it does without such settings, as in package session.
const (
	maxRetries    = 30
	minInterval   = 200 * time.Millisecond
	plainRetries  = 10
	plainInterval = time.Second
)

func (p pace) patience() time.Duration { return time.Duration(p.retries+1) * p.interval }

// newPace draws how a session behaves that an app opens. Nobody is less patient
// than the climate demands.
func (w *world) newPace() pace {
	p := pace{w.retries, usual}
	if !w.unequal {
		return p
	}
	least := p.patience()
	p.interval = 600*time.Millisecond + w.upTo(2400*time.Millisecond)
	if w.lossy == 0 && w.r.IntN(2) == 0 {
		p.interval = minInterval + w.upTo(400*time.Millisecond)
		least = 0
	}
	p.retries += w.r.IntN(8)
	if n := int(least / p.interval); p.retries < n {
		p.retries = n
	}
	p.retries = min(p.retries, maxRetries)
	return p
}

// taken is the pace of one that is invited with in. Where the climate is
// stubborn it has its own, as an implementation may that looks for no settings.
func (w *world) taken(in control.Inbound) pace {
	if w.stubborn {
		return w.newPace()
	}
	timer := in.Command.GetJoinRequest().GetTimerSettings()
	if timer.GetTimeout() == 0 {
		return pace{plainRetries, plainInterval}
	}
	return pace{
		retries:  min(int(timer.GetMaxRetries()), maxRetries),
		interval: max(time.Duration(timer.GetTimeout())*time.Millisecond, minInterval),
	}
}

// with is the more patient of both in every respect.
func (p pace) with(o pace) pace { return pace{max(p.retries, o.retries), max(p.interval, o.interval)} }

// slowest is more patient than anybody was.
func (w *world) slowest() (p pace) {
	for _, t := range w.talks {
		p = p.with(t.slowest)
	}
	return p
}
