package integration

import (
	"fmt"
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

// Whole networks of sessions, each drawn from a seed, keep their promises; see
// package simulate. SIM_SEEDS says how many are played, SIM_FIRST where to
// begin. A seed that is played alone shows its trace.
func TestSim(t *testing.T) {
	seeds, first := simNumber(t, "SIM_SEEDS", simSeeds), simNumber(t, "SIM_FIRST", 0)
	var all simTally
	var next atomic.Uint64
	began := time.Now()
	t.Run("shard", func(t *testing.T) {
		for shard := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				for n := next.Add(1); n <= seeds && !t.Failed(); n = next.Add(1) {
					seed := first + n - 1
					all.add(playSim(t, seed, seeds == 1), simReal(seed))
				}
			})
		}
	})
	took := time.Since(began)
	t.Logf("%d seeds run, %d of them with the real MLS core, in %v (%.0f a second): %d sessions, %d steps, "+
		"%d messages published, %d acknowledged by all, %d delivered, %d commits, %v of virtual time",
		all.seeds, all.real, took.Round(time.Second/10), float64(all.seeds)/took.Seconds(), all.Sessions, all.Steps,
		all.Published, all.Acknowledged, all.Delivered, all.Epochs, all.Virtual.Round(time.Hour))
	if seeds > 100 && all.Acknowledged < all.Published/4 {
		t.Errorf("the network is too bad to show anything")
	}
}

// simReal reports whether a seed is played with the real MLS core.
func simReal(seed uint64) bool { return seed%simRealEvery == 3 }

type simTally struct {
	sync.Mutex
	simulate.Result
	seeds, real int
}

func (y *simTally) add(r simulate.Result, real bool) {
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
	y.Virtual += r.Virtual
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
