package link

import (
	"testing"
	"time"
)

func TestGate(t *testing.T) {
	var g gate
	at := time.Unix(1000, 0)
	for _, tc := range []struct {
		after   time.Duration
		skipped int
		ok      bool
	}{{0, 0, true}, {0, 0, false}, {999 * time.Millisecond, 0, false}, {time.Second, 2, true}, {time.Minute, 0, true}} {
		if skipped, ok := g.open(at.Add(tc.after)); skipped != tc.skipped || ok != tc.ok {
			t.Errorf("after %v: %d, %v; want %d, %v", tc.after, skipped, ok, tc.skipped, tc.ok)
		}
	}
}
