package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestRandomHistories runs random changes by random committers, restarts
// included, and compares all members after each.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			h := &history{t: t, rnd: mathrand.New(mathrand.NewPCG(seed, 1))}
			h.all = []*app{newApp(t, "m0").create()}
			h.names = 1
			h.grow()
			for range 25 {
				h.step()
				agree(h.all...)
			}
		})
	}
}

type history struct {
	t     *testing.T
	rnd   *mathrand.Rand
	all   []*app
	names int
}

func (h *history) pick() *app { return h.all[h.rnd.IntN(len(h.all))] }

func (h *history) but(out ...*app) (rest []*app) {
	for _, a := range h.all {
		if !slices.Contains(out, a) {
			rest = append(rest, a)
		}
	}
	return rest
}

func (h *history) grow() {
	n := newApp(h.t, fmt.Sprint("m", h.names))
	h.names++
	by := h.pick()
	by.add(n, h.but(by)...)
	h.all = append(h.all, n)
}

func (h *history) step() {
	by, other := h.pick(), h.pick()
	if by == other || len(h.all) < 3 {
		h.grow()
		return
	}
	switch h.rnd.IntN(5) {
	case 0:
		if len(h.all) < 12 {
			h.grow()
		}
	case 1:
		by.commit(Change{Remove: []uint32{other.g.Self()}}, h.but(by, other)...)
		h.all = h.but(other)
	case 2:
		kp, p := other.keyPackage()
		welcome := by.commit(Change{Remove: []uint32{other.g.Self()}, Add: [][]byte{kp}}, h.but(by, other)...)
		other.join(p, welcome)
	case 3:
		by.commit(Change{Path: true}, h.but(by)...)
	case 4:
		other.reload()
	}
}

// TestSameLeafOtherKey: a message of a removed member must not pass as one of
// the member that has its leaf now.
func TestSameLeafOtherKey(t *testing.T) {
	a, b, c := three(t)
	late := b.protect("late", "")
	next := newApp(t, "dave")
	kp, p := next.keyPackage()
	next.join(p, a.commit(Change{Remove: []uint32{1}, Add: [][]byte{kp}}, c))
	if next.g.Self() != 1 {
		t.Fatalf("leaf %d", next.g.Self())
	}
	if _, err := c.g.Unprotect(late); !errors.Is(err, ErrDecrypt) {
		t.Errorf("message of the removed member: %v", err)
	}
	agree(a, c, next)
}

// TestSameLeafSameKey: after a rejoin, messages from before are still good.
func TestSameLeafSameKey(t *testing.T) {
	a, b, c := three(t)
	late := b.protect("late", "")
	kp, p := b.keyPackage()
	b.join(p, a.commit(Change{Remove: []uint32{1}, Add: [][]byte{kp}}, c))
	c.reads(late, "late", "", 1)
	agree(a, b, c)
}

// liar signs something else than it is asked to.
type liar struct{ Signer }

func (l liar) Sign([]byte) ([]byte, error) { return l.Signer.Sign([]byte("else")) }

func TestWrongSignatureOfMember(t *testing.T) {
	a, b := two(t)
	honest := a.g.cfg.Signer
	a.g.cfg.Signer = liar{honest}
	_, err := b.g.Unprotect(a.protect("x", ""))
	if !errors.Is(err, ErrSignature) {
		t.Errorf("got %v", err)
	}
	safe(t, err)
	a.g.cfg.Signer = honest
	agree(a, b)
}

// TestIndependentGroups: groups of the same inputs share nothing.
func TestIndependentGroups(t *testing.T) {
	a := newApp(t, "alice")
	id := []byte("one id")
	var authenticators [][]byte
	for range 2 {
		g, err := Create(a.c, id, time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		a.g = g
		a.add(newApp(t, "bob"))
		authenticators = append(authenticators, a.g.Authenticator())
	}
	if bytes.Equal(authenticators[0], authenticators[1]) {
		t.Error("equal secrets")
	}
}
