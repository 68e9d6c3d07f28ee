package link

import (
	"sync"
	"time"
)

// gate limits log lines that strangers can cause to one a second. It is safe
// for concurrent use.
type gate struct {
	mu      sync.Mutex
	next    time.Time
	skipped int
}

// open reports whether a line may be written now, and how many were skipped
// since the last one.
func (g *gate) open(now time.Time) (skipped int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Before(g.next) {
		g.skipped++
		return 0, false
	}
	skipped, g.skipped = g.skipped, 0
	g.next = now.Add(time.Second)
	return skipped, true
}
