package mls

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"testing"
)

// A key package that outlived a restart takes the Welcome that was made for it.
func TestPendingIsLoaded(t *testing.T) {
	forSuites(t, func(t *testing.T, suite Suite) {
		c := newClub(t, suite, 2)
		p := newPerson(t, suite, "late")
		wire, pending, err := NewKeyPackage(p.Config, testNow, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		state, err := pending.Save([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		state = bytes.TrimPrefix(state, []byte("before"))
		pending.Wipe()
		if _, err := pending.Save(nil); !errors.Is(err, errWiped) {
			t.Errorf("a wiped one is saved: %v", err)
		}
		_, welcome, err := c.groups[0].Commit(Change{Add: [][]byte{wire}}, testNow, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		again, err := LoadPending(state, p.Config)
		if err != nil {
			t.Fatal(err)
		}
		g, err := Join(p.Config, again, welcome)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Unprotect(say(t, c.groups[0], "welcome")); err != nil {
			t.Error(err)
		}
	})
}

// What does not fit together is refused, and never panics.
func TestLoadPendingRefuses(t *testing.T) {
	p, other := newPerson(t, P256, "one"), newPerson(t, P256, "two")
	_, pending, err := NewKeyPackage(p.Config, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := NewKeyPackage(p.Config, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, err := pending.Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPending(good, other.Config); err == nil {
		t.Error("the package of another signer is loaded")
	}
	seal := func(b []byte) []byte {
		sum := sha256.Sum256(b)
		return append(bytes.Clone(b), sum[:]...)
	}
	for n := range good {
		if _, err := LoadPending(good[:n], p.Config); err == nil {
			t.Fatalf("%d bytes of it are loaded", n)
		}
		if n < len(good)-sha256.Size {
			if _, err := LoadPending(seal(good[:n]), p.Config); err == nil {
				t.Fatalf("%d bytes of it, sealed, are loaded", n)
			}
		}
		bent := bytes.Clone(good)
		bent[n] ^= 1
		if _, err := LoadPending(bent, p.Config); err == nil {
			t.Fatalf("byte %d does not matter", n)
		}
	}
	for name, bend := range map[string]func(*Pending){
		"another init key": func(p *Pending) { p.init = stranger.init },
		"another leaf key": func(p *Pending) { p.enc = stranger.enc },
		"a short key":      func(p *Pending) { p.enc = p.enc[1:] },
	} {
		bent := *pending
		bend(&bent)
		state, err := bent.Save(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := LoadPending(state, p.Config); err == nil {
			t.Errorf("%s is loaded", name)
		}
	}
}

func FuzzLoadPending(f *testing.F) {
	p := newPerson(f, P256, "one")
	_, pending, err := NewKeyPackage(p.Config, testNow, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	good, err := pending.Save(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-sha256.Size])
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := sha256.Sum256(b)
		_, _ = LoadPending(append(bytes.Clone(b), sum[:]...), p.Config)
	})
}
