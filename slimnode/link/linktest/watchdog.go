package linktest

import (
	"runtime/debug"
	"testing"
	"time"
)

// MaxLife is how long a test may live that has a Watchdog. In the time of a
// bubble it passes within seconds.
const MaxLife = 3 * time.Hour

// Watchdog lets a test that still runs after MaxLife panic with the stacks of all
// goroutines. In a bubble such a test would else wait until the timeout of the
// test binary for what never comes: keepalives and heartbeats keep the clock
// going for ever. Call it first, so that it also watches how all else ends.
func Watchdog(t testing.TB) {
	w := time.AfterFunc(MaxLife, func() {
		debug.SetTraceback("all")
		panic("linktest: " + t.Name() + " waits for what never comes")
	})
	t.Cleanup(func() { w.Stop() })
}
