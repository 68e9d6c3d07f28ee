package simulate

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// world is one run: everything there is, and the clock.
type world struct {
	climate
	cfg   Config
	r     *rand.Rand
	bytes *rand.ChaCha8 // keys and nonces of the real MLS core
	now   time.Time
	queue happenings
	seq   uint64

	net        node
	foreigners map[string]bool // by subject
	apps       []*app
	talks      map[uint32]*conversation
	sessions   []*session // of all times, in order of beginning
	messages   []*message
	vault      vault
	secrets    map[epochKey]string // of every epoch entered
	commits    map[commitKey]commitInfo
	orders     map[orderKey]commitInfo // GROUP_UPDATEs, by their ids
	welcomes   map[string][]time.Time  // tokens in the tree of a Welcome
	ids        uint32                  // of requests
	ops        control.Op
	healed     bool
	flooded    bool // once is enough

	result Result
	trace  strings.Builder
	digest uint64
}

// start of virtual time.
var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// maxSteps bounds a run; an endless exchange of messages is a violation.
const maxSteps = 400_000

// Run plays one seed to its end, or to the first violations.
func Run(c Config) Result {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], c.Seed)
	w := &world{
		cfg: c, r: rand.New(rand.NewPCG(c.Seed, 0x51_1b)), bytes: rand.NewChaCha8(key), now: start,
		talks: map[uint32]*conversation{}, secrets: map[epochKey]string{},
		vault: vault{used: map[standInKey]bool{}}, foreigners: map[string]bool{}, welcomes: map[string][]time.Time{},
		commits: map[commitKey]commitInfo{}, orders: map[orderKey]commitInfo{},
		net: node{subs: map[name.Key][]*app{}, last: map[[2]int]time.Time{}},
	}
	w.climate = newClimate(w.r)
	w.logf("%v", w.climate)
	w.play()
	w.result.Virtual = w.now.Sub(start)
	w.result.Trace = w.trace.String()
	w.result.Digest = w.digest
	return w.result
}

// failf notes a violation.
func (w *world) failf(format string, args ...any) {
	text := fmt.Sprintf("%.3f s: ", w.now.Sub(start).Seconds()) + fmt.Sprintf(format, args...)
	w.logf("VIOLATION: %s", text)
	if len(w.result.Violations) < maxViolations {
		w.result.Violations = append(w.result.Violations, text)
	}
}

// stopped reports that the run is to end.
func (w *world) stopped() bool { return len(w.result.Violations) >= maxViolations }

func (w *world) logf(format string, args ...any) {
	if !w.cfg.Trace {
		return
	}
	fmt.Fprintf(&w.trace, "%8.3f ", w.now.Sub(start).Seconds())
	fmt.Fprintf(&w.trace, format, args...)
	w.trace.WriteByte('\n')
}

// mix adds to the digest.
func (w *world) mix(parts ...uint64) {
	h := fnv.New64a()
	var b [8]byte
	for _, p := range append(parts, w.digest, uint64(w.now.Sub(start))) {
		binary.BigEndian.PutUint64(b[:], p)
		_, _ = h.Write(b[:])
	}
	w.digest = h.Sum64()
}

// happening is something that is going to happen.
type happening struct {
	at  time.Time
	seq uint64
	do  func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = happening{}
	*h = old[:len(old)-1]
	return last
}

// later plans do.
func (w *world) later(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, happening{at: w.now.Add(d), seq: w.seq, do: do})
}

// run advances virtual time by d.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for !w.stopped() {
		at, s := end, (*session)(nil)
		for _, a := range w.apps {
			for _, x := range a.sessions {
				if !x.due.IsZero() && x.due.Before(at) {
					at, s = x.due, x
				}
			}
		}
		happens := len(w.queue) > 0 && w.queue[0].at.Before(at)
		if happens {
			at = w.queue[0].at
		}
		if !at.Before(end) {
			break
		}
		if at.After(w.now) {
			w.now = at
		}
		if happens {
			heap.Pop(&w.queue).(happening).do()
		} else {
			s.step(control.Tick{})
		}
		if w.result.Steps > maxSteps {
			w.failf("the machines do not come to rest")
			w.result.Violations = append(w.result.Violations, w.result.Violations[0], w.result.Violations[0])[:maxViolations]
		}
	}
	if end.After(w.now) {
		w.now = end
	}
}

// newID draws the id of a request: at random, but never the same twice, since 32
// bits do come again in a session of hours.
func (w *world) newID() uint32 {
	w.ids++
	return uint32(w.cfg.Seed) + w.ids*0x9e3779b1 // odd, so all differ
}

// chance is true n times of 1000.
func (w *world) chance(n int) bool { return n > 0 && w.r.IntN(1000) < n }

// upTo is a random duration below d.
func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.r.Int64N(int64(d))) }
