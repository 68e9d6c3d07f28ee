//go:build !race

// The race detector turns off what lets slices.Grow allocate once.

package mls

import (
	"bytes"
	"runtime"
	"testing"
)

// TestMessageAllocations holds what one message may allocate, in a group with
// P-256. Nearly all of Protect's is inside crypto/ecdsa.
func TestMessageAllocations(t *testing.T) {
	const runs = 50
	m, aad := newMeeting(t, 2), make([]byte, benchAAD)
	for _, text := range benchTexts {
		t.Run(text.name, func(t *testing.T) {
			plain := make([]byte, text.size)
			var blobs [][]byte
			protect := func() { blobs = append(blobs, m.protect(t, plain, aad)) }
			unprotect := func() {
				got, err := m.last.Unprotect(blobs[0])
				if err != nil || !bytes.Equal(got.Plaintext, plain) {
					t.Fatal(err)
				}
				blobs = blobs[1:]
			}
			if n := testing.AllocsPerRun(runs, protect); n > 75 {
				t.Errorf("Protect allocates %v times", n)
			}
			size := len(blobs[0])
			if n := testing.AllocsPerRun(runs, unprotect); n > 25 {
				t.Errorf("Unprotect allocates %v times", n)
			}
			// One copy of the message, and what does not grow with it.
			bound := uint64(size + size/4 + 16<<10)
			if n := bytesPerRun(runs, protect); n > bound {
				t.Errorf("Protect allocates %d bytes for a message of %d", n, size)
			}
			if n := bytesPerRun(runs, unprotect); n > bound {
				t.Errorf("Unprotect allocates %d bytes for a message of %d", n, size)
			}
		})
	}
}

// bytesPerRun is testing.AllocsPerRun for bytes.
func bytesPerRun(runs uint64, f func()) uint64 {
	f()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / runs
}
