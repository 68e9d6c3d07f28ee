package simulate

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Config says what to play. The zero value is seed 0 with the stand-in for MLS.
type Config struct {
	Seed uint64
	// RealMLS plays with the real MLS core, which costs about twenty times as
	// much; the course of events is the same for one seed, though keys and
	// signatures are not.
	RealMLS bool
	Bug     Bug
	// Trace records every message and event in [Result.Trace].
	Trace bool
}

// Result is what came of a run.
type Result struct {
	// Violations are the rules that were broken, in order, at most
	// maxViolations; the run stops there.
	Violations []string
	Trace      string
	// Digest is equal for two runs that went the same way.
	Digest uint64

	Steps        int // of all machines
	Sessions     int
	Published    int
	Acknowledged int // messages that everybody acknowledged
	Delivered    int
	Epochs       int // commits applied by their makers
	Restarts     int // of sessions that had been stored
	Virtual      time.Duration
}

const maxViolations = 3

// climate is what the seed decides about the whole run.
type climate struct {
	apps     int
	groups   bool // else 1:1 sessions only
	pairs    bool
	mls      bool
	reliable bool
	retries  int
	unequal  bool          // sessions differ in how often and how long they repeat
	stubborn bool          // who is invited does not follow the moderator in that
	ends     bool          // sessions end when the peer is lost
	skew     time.Duration // clocks are wrong by less

	rotateMessages int
	rotateAfter    time.Duration

	lossy     int           // of 1000 messages so many are lost
	double    int           // doubled
	slow      int           // late
	stray     int           // data late by up to 40 s
	lag       time.Duration // how slow the slow ones are at most
	bulk      bool          // many messages at a time, so that windows and rings are full
	heavy     bool          // many large messages at a time, likewise
	quiet     bool          // pauses may last more than an hour, and tokens grow old
	inOrder   bool
	mutes     int // weight of apps that are unheard or deaf for a while
	cuts      int // links that break
	crashes   int
	disks     bool // apps may come back with the sessions they had
	outages   int  // restarts of the node
	intruders int
	foreign   bool          // some apps refuse leaves with old tokens
	tokenLife time.Duration // how long an app uses one token for all; zero: it has new ones
	actions   int
	rush      time.Duration // actions follow each other within
}

// newClimate draws the climate. Retries are so many that chance alone does not
// lose a message between two ends that reach each other.
func newClimate(r *rand.Rand) climate {
	c := climate{apps: 2 + r.IntN(4), mls: r.IntN(5) > 0, reliable: r.IntN(10) > 0, ends: r.IntN(4) == 0}
	switch r.IntN(10) {
	case 0, 1, 2:
		c.pairs = true
	case 3:
		c.pairs, c.groups = true, true
	default:
		c.groups = true
	}
	switch r.IntN(4) {
	case 0:
		c.retries = 4 + r.IntN(4)
	case 1:
		c.lossy, c.double, c.slow, c.retries = 10, 30, 20, 5+r.IntN(4)
	case 2:
		c.lossy, c.double, c.slow, c.retries = 40, 60, 40, 10+r.IntN(3)
	default:
		c.lossy, c.double, c.slow, c.retries = 80, 100, 50, 16
	}
	// Without MLS nothing tells a message of an earlier stay in a group from one
	// of the present; and the changes of the group have no numbers, so that a
	// member which missed several and gets them in another order ends with an
	// old roster.
	if r.IntN(3) == 0 && c.mls {
		c.stray = 5
	}
	c.inOrder = r.IntN(3) == 0 || !c.mls
	c.quiet, c.lag = r.IntN(30) == 0, 300*time.Millisecond
	c.bulk = r.IntN(30) == 0
	c.heavy = r.IntN(12) == 0
	if c.inOrder && r.IntN(4) == 0 && !c.bulk && !c.heavy { // else some are always late
		c.lag = 3 * time.Second // answers may be slower than repetitions
	}
	if r.IntN(3) > 0 {
		c.rotateMessages = 5 + r.IntN(20)
	}
	if r.IntN(4) == 0 {
		c.rotateAfter = time.Duration(20+r.IntN(60)) * time.Second
	}
	for _, weight := range []*int{&c.mutes, &c.cuts, &c.crashes, &c.outages, &c.intruders} {
		if r.IntN(2) == 0 {
			*weight = 1 + r.IntN(3)
		}
	}
	c.people(r)
	c.actions = 50 + r.IntN(100)
	c.rush = time.Duration(50+r.IntN(600)) * time.Millisecond
	return c
}

// people draws how the apps differ from each other and from those of package
// session.
func (c *climate) people(r *rand.Rand) {
	switch r.IntN(4) {
	case 0:
		c.skew = tokenSkew
	case 1:
		c.skew = mlsSkew
	}
	c.unequal = r.IntN(2) == 0
	c.stubborn = c.unequal && r.IntN(2) == 0
	if c.disks = r.IntN(5) == 0; c.disks {
		c.crashes += 4
	}
	c.foreign = c.mls && r.IntN(4) == 0
	if c.mls && r.IntN(4) == 0 {
		c.tokenLife = time.Duration(5+r.IntN(25)) * time.Minute
	}
	c.quiet = c.quiet || c.foreign && r.IntN(8) == 0
	if c.quiet {
		c.rotateAfter *= 15 // hours would else be full of commits
	}
}

func (c climate) String() string {
	return fmt.Sprintf("%d apps, groups %v, pairs %v, MLS %v, reliable %v, %d retries, unequal %v, stubborn %v, clocks wrong by %v, disks %v, some check tokens %v, of one token for %v, end when lost %v, rotate after %d messages or %v, "+
		"of 1000 messages %d lost, %d doubled, %d slow by up to %v, %d stray, in order %v",
		c.apps, c.groups, c.pairs, c.mls, c.reliable, c.retries, c.unequal, c.stubborn, c.skew, c.disks, c.foreign, c.tokenLife, c.ends, c.rotateMessages, c.rotateAfter,
		c.lossy, c.double, c.slow, c.lag, c.stray, c.inOrder)
}
