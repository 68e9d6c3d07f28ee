package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math"
	"testing"
)

// say protects one message.
func say(t testing.TB, g *Group, text string) []byte {
	t.Helper()
	blob, err := g.Protect(nil, []byte(text), nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

// wantSkip skips and checks that our generation is exactly n further, or what
// it was if kind is not nil.
func wantSkip(t testing.TB, g *Group, n uint32, kind error) {
	t.Helper()
	next := func() uint64 {
		if s := g.now.messages.senders[g.self]; s != nil {
			return s[applicationRatchet].next
		}
		return 0
	}
	before, want := next(), uint64(n)
	err := g.Skip(n)
	if kind != nil {
		want = 0
	}
	if !errors.Is(err, kind) || next() != before+want {
		t.Fatalf("skip %d at generation %d: %v, generation %d", n, before, err, next())
	}
}

// TestSkip loads a sender from before its last messages.
func TestSkip(t *testing.T) {
	forSuites(t, func(t *testing.T, suite Suite) {
		for name, first := range map[string]int{"nothing sent": 0, "sent before": 3} {
			t.Run(name, func(t *testing.T) {
				c := newClub(t, suite, 4)
				from := c.groups[1]
				var blobs [][]byte
				for range first {
					blobs = append(blobs, say(t, from, "written down"))
				}
				old := twin(t, from)
				for range 5 {
					blobs = append(blobs, say(t, from, "forgotten"))
				}
				wantSkip(t, old, 5, nil)
				if !bytes.Equal(stateOf(t, old), stateOf(t, from)) {
					t.Error("five skipped are not as five sent")
				}
				wantSkip(t, old, 0, nil)
				wantSkip(t, old, 7, nil)
				blobs = append(blobs, say(t, old, "after"))
				for _, i := range []int{0, 2, 3} {
					// The last one first: the others are late.
					for k := range blobs {
						if _, err := c.groups[i].Unprotect(blobs[len(blobs)-1-k]); err != nil {
							t.Errorf("member %d, message %d from the end: %v", i, k, err)
						}
					}
				}
			})
		}
	})
}

// TestSkipWithinReach: others follow over MaxAhead skipped keys, no further.
func TestSkipWithinReach(t *testing.T) {
	forSuites(t, func(t *testing.T, suite Suite) {
		for n, want := range map[uint32]error{MaxAhead - 1: nil, MaxAhead: nil, MaxAhead + 1: ErrTooFar} {
			c := newClub(t, suite, 2)
			c.talk(t)
			from, to := c.groups[0], c.groups[1]
			wantSkip(t, from, n, nil)
			_, err := to.Unprotect(say(t, from, "text"))
			if !errors.Is(err, want) {
				t.Errorf("%d skipped: %v, want %v", n, err, want)
			}
			if _, err := from.Unprotect(say(t, to, "text")); err != nil {
				t.Errorf("%d skipped: what others send: %v", n, err)
			}
		}
	})
}

func TestSkippedKeysAreGone(t *testing.T) {
	h := newHall(t)
	from := h.group(t, 5)
	keys, ratchets := keysOf(t, from, 5, 4)
	wantSkip(t, from, 3, nil)
	for i := range 3 {
		wantHeld(t, from, false, keys[i][:aeadKeySize], keys[i][aeadKeySize:], ratchets[i])
	}
	wantHeld(t, from, true, ratchets[3])
}

func TestSkipAtTheEnd(t *testing.T) {
	g := newClub(t, X25519, 2).groups[0]
	say(t, g, "text")
	r := &g.now.messages.senders[0][applicationRatchet]
	for _, next := range []uint64{math.MaxUint32 - 3, math.MaxUint32, 1 << 32} {
		r.next = next
		for _, n := range []uint32{4, 1 << 31, math.MaxUint32} {
			refuse(t, g, ErrTooFar, "all generations are used", func() error { return g.Skip(n) })
		}
	}
	r.next = math.MaxUint32 - 3
	wantSkip(t, g, 4, ErrTooFar)
	wantSkip(t, g, 3, nil)
	wantSkip(t, g, 0, nil)
	refuse(t, g, ErrTooFar, "all generations are used", func() error {
		_, err := g.Protect(nil, []byte("text"), nil, rand.Reader)
		return err
	})
}

func TestSkipAlone(t *testing.T) {
	p := newPerson(t, P256, "p")
	g, err := Create(p.Config, nil, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wantSkip(t, g, 2, nil)
	g.Wipe()
	if err := g.Skip(1); !errors.Is(err, errWiped) {
		t.Errorf("after Wipe: %v", err)
	}
}

func BenchmarkSkip(b *testing.B) {
	g := newClub(b, X25519, 2).groups[0]
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Skip(1); err != nil {
			b.Fatal(err)
		}
	}
}
