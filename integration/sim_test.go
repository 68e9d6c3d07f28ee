package integration

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/session/simulate"
)

// Seeds of TestSim unless SIM_SEEDS says otherwise, and how many of them there
// are to one with the real MLS core.
const (
	simSeeds     = 1000
	simRealEvery = 10
	simBugSeeds  = 1000 // within which each bug must be found
)

// simNumber reads a number from the environment.
func simNumber(t *testing.T, key string, otherwise uint64) uint64 {
	text := os.Getenv(key)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return n
}

// simFor is how long TestSim runs by SIM_FOR, zero if a number of seeds ends it.
func simFor(t *testing.T) time.Duration {
	text := os.Getenv("SIM_FOR")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("SIM_FOR: %q is not a duration such as 8h", text)
	}
	return d
}

const (
	simProgress = time.Minute // between two lines of progress, with SIM_FOR
	simFailures = 10          // after so many failing seeds a run by SIM_FOR ends
)

// Whole networks of sessions, each drawn from a seed, keep their promises; see
// package simulate. SIM_SEEDS says how many are played, SIM_FIRST where to
// begin. A seed that is played alone shows its trace.
//
// For a night SIM_FOR says how long to play, whatever the number of seeds. Such
// a run tells how far it is every minute, and goes on after a seed that fails:
//
//	SIM_FOR=8h SIM_FIRST=$(date +%s)000000 go test ./integration -run '^TestSim$' -v -timeout 0
func TestSim(t *testing.T) {
	limit := simFor(t)
	seeds, first := simNumber(t, "SIM_SEEDS", simSeeds), simNumber(t, "SIM_FIRST", 0)
	if limit > 0 && os.Getenv("SIM_SEEDS") == "" {
		seeds = math.MaxUint64
	}
	all := simTally{began: time.Now(), told: time.Now()}
	var next, failures atomic.Uint64
	more := func() (seed uint64, ok bool) {
		n := next.Add(1) - 1
		over := limit > 0 && (time.Since(all.began) > limit || failures.Load() >= simFailures)
		return first + n, n < seeds && !over
	}
	t.Run("shard", func(t *testing.T) {
		for shard := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				for seed, ok := more(); ok && (limit > 0 || !t.Failed()); seed, ok = more() {
					r := playSim(t, seed, seeds == 1)
					if len(r.Violations) > 0 {
						failures.Add(1)
					}
					if all.add(r, simReal(seed)) && limit > 0 {
						t.Logf("up to seed %d, %d failed: %v", seed, failures.Load(), &all)
					}
				}
			})
		}
	})
	t.Log(&all)
	if seeds > 100 && all.Acknowledged < all.Published/4 {
		t.Errorf("the network is too bad to show anything")
	}
}

// simReal reports whether a seed is played with the real MLS core.
func simReal(seed uint64) bool { return seed%simRealEvery == 3 }

// simTally is what came of all seeds so far.
type simTally struct {
	sync.Mutex
	simulate.Result
	seeds, real int
	began, told time.Time
}

// add reports whether it is time to tell of progress.
func (y *simTally) add(r simulate.Result, real bool) bool {
	y.Lock()
	defer y.Unlock()
	y.seeds++
	if real {
		y.real++
	}
	y.Steps += r.Steps
	y.Sessions += r.Sessions
	y.Published += r.Published
	y.Acknowledged += r.Acknowledged
	y.Delivered += r.Delivered
	y.Epochs += r.Epochs
	y.Restarts += r.Restarts
	y.Virtual += r.Virtual
	if time.Since(y.told) < simProgress {
		return false
	}
	y.told = time.Now()
	return true
}

func (y *simTally) String() string {
	y.Lock()
	defer y.Unlock()
	took := time.Since(y.began)
	return fmt.Sprintf("%d seeds run, %d of them with the real MLS core, in %v (%.0f a second): %d sessions, %d steps, "+
		"%d messages published, %d acknowledged by all, %d delivered, %d commits, %d restarts of sessions, %v of virtual time",
		y.seeds, y.real, took.Round(time.Second/10), float64(y.seeds)/took.Seconds(), y.Sessions, y.Steps,
		y.Published, y.Acknowledged, y.Delivered, y.Epochs, y.Restarts, y.Virtual.Round(time.Hour))
}

// playSim plays one seed, and once more with a trace if it fails.
func playSim(t *testing.T, seed uint64, trace bool) simulate.Result {
	c := simulate.Config{Seed: seed, RealMLS: simReal(seed), Trace: trace}
	r := simulate.Run(c)
	if trace {
		t.Logf("trace of seed %d\n%s", seed, r.Trace)
	}
	if len(r.Violations) == 0 {
		return r
	}
	if !trace {
		c.Trace = true
		r = simulate.Run(c)
	}
	t.Errorf("seed %d: %s\nreplay with: SIM_FIRST=%d SIM_SEEDS=1 go test ./integration -run '^TestSim$' -v\nthe last of it:\n%s",
		seed, strings.Join(r.Violations, "\n"), seed, lastLines(r.Trace, 80))
	return r
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Every bug that is put in on purpose is found, else the simulation shows
// nothing; and soon, so that the thousands of seeds are worth their time.
func TestSimBugs(t *testing.T) {
	for _, bug := range simulate.Bugs {
		t.Run(strings.ReplaceAll(bug.String(), " ", "-"), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(simBugSeeds) {
				r := simulate.Run(simulate.Config{Seed: seed, Bug: bug})
				if len(r.Violations) > 0 {
					t.Logf("found with seed %d: %s", seed, r.Violations[0])
					return
				}
			}
			t.Errorf("not found within %d seeds", simBugSeeds)
		})
	}
}

// A seed always goes the same way, so that a failure can be replayed.
func TestSimRepeats(t *testing.T) {
	for seed := range uint64(30) {
		c := simulate.Config{Seed: seed, RealMLS: simReal(seed)}
		first := simulate.Run(c)
		c.Trace = true
		second := simulate.Run(c)
		if first.Digest != second.Digest || first.Steps != second.Steps || second.Trace == "" {
			t.Errorf("seed %d goes another way the second time: %d steps, then %d", seed, first.Steps, second.Steps)
		}
	}
	if a, b := simulate.Run(simulate.Config{Seed: 1}), simulate.Run(simulate.Config{Seed: 2}); a.Digest == b.Digest {
		t.Error("two seeds go the same way")
	}
}
