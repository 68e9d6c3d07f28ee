package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thomas-vilte/mls-go/ciphersuite"
	"github.com/thomas-vilte/mls-go/group"
	"github.com/thomas-vilte/mls-go/keypackages"
	"github.com/thomas-vilte/mls-go/schedule"
)

var shownBytes = regexp.MustCompile(`[0-9a-fA-F]{8,}|[^ -~]|[0-9]+ [0-9]+ [0-9]+`)

// safe checks the text of an error.
func safe(t testing.TB, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("not an *Error: %T", err)
	}
	if text := err.Error(); shownBytes.MatchString(text) || strings.Contains(text, "#") || len(text) > 120 || !strings.HasPrefix(text, "mls: ") {
		t.Errorf("error text: %q", text)
	}
}

// unchanged runs a call that must be refused and must change nothing.
func (a *app) unchanged(name string, want error, call func() error) {
	a.t.Helper()
	before := a.save()
	err := call()
	if err == nil {
		a.t.Errorf("%s: accepted", name)
		return
	}
	if want != nil && !errors.Is(err, want) {
		a.t.Errorf("%s: got %v, want %v", name, err, want)
	}
	safe(a.t, err)
	if !bytes.Equal(before, a.save()) {
		a.t.Errorf("%s: the refused call changed the state", name)
	}
}

func TestCommitRefuses(t *testing.T) {
	a, b := two(t)
	c := newApp(t, "carol")
	good, _ := c.keyPackage()
	again, _ := c.keyPackage()
	sameSubject, _ := newApp(t, "bob").keyPackage()
	bAgain, _ := b.keyPackage()
	twin := newApp(t, "twin")
	twin.c.Signer = b.c.Signer
	sameKey, _ := twin.keyPackage()
	badSignature := bytes.Clone(good)
	badSignature[len(badSignature)-1] ^= 1
	foreign := newApp(t, "x")
	foreign.c.Credential = []byte("no subject here")
	noSubject, _ := foreign.keyPackage()

	tests := []struct {
		name string
		ch   Change
		want error
	}{
		{"nothing", Change{}, ErrInvalidCommit},
		{"remove ourselves", Change{Remove: []uint32{0}}, ErrInvalidCommit},
		{"remove nobody", Change{Remove: []uint32{7}}, ErrInvalidCommit},
		{"remove far out", Change{Remove: []uint32{1 << 31}}, ErrInvalidCommit},
		{"remove twice", Change{Remove: []uint32{1, 1}}, ErrInvalidCommit},
		{"add garbage", Change{Add: [][]byte{{0, 1, 0, 5, 1}}}, ErrMalformed},
		{"add without header", Change{Add: [][]byte{good[4:]}}, ErrUnsupported},
		{"add with bad signature", Change{Add: [][]byte{badSignature}}, ErrSignature},
		{"add a subject twice", Change{Add: [][]byte{good, again}}, ErrDuplicate},
		{"add one package twice", Change{Add: [][]byte{good, good}}, ErrDuplicate},
		{"add a present subject", Change{Add: [][]byte{sameSubject}}, ErrDuplicate},
		{"add a present member", Change{Add: [][]byte{bAgain}}, ErrDuplicate},
		{"add a present key", Change{Add: [][]byte{sameKey}}, ErrDuplicate},
		{"add without subject", Change{Add: [][]byte{noSubject}}, ErrInvalidLeaf},
		{"credential of another subject", Change{Credential: []byte("mallory#1")}, ErrInvalidLeaf},
		{"empty credential", Change{Credential: []byte{}}, ErrInvalidLeaf},
		{"huge credential", Change{Credential: make([]byte, maxCredential+1)}, ErrInvalidLeaf},
	}
	for _, tt := range tests {
		a.unchanged(tt.name, tt.want, func() error {
			_, _, err := a.g.Commit(tt.ch, time.Now(), rand.Reader)
			return err
		})
	}
	a.refuse = errors.New("not this one")
	for name, ch := range map[string]Change{"verify add": {Add: [][]byte{good}}, "verify path": {Credential: []byte("alice#2")}} {
		a.unchanged(name, a.refuse, func() error {
			_, _, err := a.g.Commit(ch, time.Now(), rand.Reader)
			return err
		})
	}
	a.refuse = nil
	a.add(c, b)
	agree(a, b, c)
}

// onlySigns is a signer that keeps its key.
type onlySigns struct{ Signer }

func TestSignerWithoutKey(t *testing.T) {
	a := newApp(t, "alice").create()
	b := newApp(t, "bob")
	b.c.Signer = onlySigns{b.c.Signer}
	a.add(b)
	agree(a, b)
	b.unchanged("commit", ErrUnsupported, func() error {
		_, _, err := b.g.Commit(Change{Path: true}, time.Now(), rand.Reader)
		return err
	})
}

func TestKeyPackageLifetime(t *testing.T) {
	a := newApp(t, "alice").create()
	b := newApp(t, "bob")
	now := time.Now()
	at := func(shift time.Duration) []byte {
		kp, _, err := NewKeyPackage(b.c, now.Add(LifetimeMargin+shift), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return kp
	}
	expired, _, err := NewKeyPackage(b.c, now.Add(-LifetimeSpan-time.Second), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		kp    []byte
		retry bool
	}{
		{"a little early", at(50 * time.Second), true}, {"too early", at(62 * time.Second), false}, {"expired", expired, false},
	} {
		a.unchanged(tt.name, ErrLifetime, func() error {
			_, _, err := a.g.Commit(Change{Add: [][]byte{tt.kp}}, now, rand.Reader)
			var e *Error
			if errors.As(err, &e) && e.RetryAt.IsZero() == tt.retry {
				t.Errorf("%s: RetryAt %v", tt.name, e.RetryAt)
			}
			return err
		})
	}
}

// TestClockBehind has a receiver whose clock is behind the maker of a key
// package: it can process the commit later.
func TestClockBehind(t *testing.T) {
	var v vector
	readVector(t, "mls-join-group.json", &v)
	synctest.Test(t, func(t *testing.T) {
		g, err := Join(v.config(t, true), v.pending(t), v.Welcome)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := g.Save(nil)
		_, err = g.Process(v.Steps[0].Hex) // the bubble's clock is years behind
		var e *Error
		if !errors.Is(err, ErrLifetime) || !errors.As(err, &e) || e.RetryAt.IsZero() {
			t.Fatalf("too early: %v", err)
		}
		if after, _ := g.Save(nil); !bytes.Equal(before, after) {
			t.Error("state changed")
		}
		time.Sleep(time.Until(e.RetryAt))
		if _, err := g.Process(v.Steps[0].Hex); err != nil {
			t.Errorf("at RetryAt: %v", err)
		}
	})
}

// TestProcessTampered flips bytes all over commits of each kind.
func TestProcessTampered(t *testing.T) {
	a, b, c := three(t)
	kp, _ := newApp(t, "dave").keyPackage()
	again, _ := c.keyPackage()
	changes := []struct {
		name string
		ch   Change
	}{
		{"path", Change{Path: true}},
		{"add", Change{Add: [][]byte{kp}}},
		{"rejoin", Change{Remove: []uint32{2}, Add: [][]byte{again}}},
		{"remove", Change{Remove: []uint32{2}}},
	}
	for _, tt := range changes {
		commit, _, err := a.g.Commit(tt.ch, time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(commit); i += 7 {
			bad := bytes.Clone(commit)
			bad[i] ^= 0x10
			b.unchanged(fmt.Sprintf("%s byte %d", tt.name, i), nil, func() error { _, err := b.g.Process(bad); return err })
		}
		b.unchanged(tt.name+" cut", ErrMalformed, func() error { _, err := b.g.Process(commit[:len(commit)-3]); return err })
		b.unchanged(tt.name+" trailing", ErrMalformed, func() error {
			_, err := b.g.Process(append(bytes.Clone(commit), 0))
			return err
		})
		if _, err := b.g.Process(commit); err != nil {
			t.Fatalf("%s: the original: %v", tt.name, err)
		}
		b.unchanged(tt.name+" again", ErrWrongEpoch, func() error { _, err := b.g.Process(commit); return err })
		a.unchanged(tt.name+" own", ErrWrongEpoch, func() error { _, err := a.g.Process(commit); return err })
	}
	agree(a, b)
}

// TestProcessRefuses has a moderator whose own checks are off.
func TestProcessRefuses(t *testing.T) {
	a, b := two(t)
	a.g.cfg.Subject = func(m Member) (string, error) { return string(m.SignatureKey), nil }
	evil := a.save()
	try := func(name string, want error, ch Change) {
		t.Helper()
		g, err := Load(evil, a.g.cfg)
		if err != nil {
			t.Fatal(err)
		}
		commit, _, err := g.Commit(ch, time.Now(), rand.Reader)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b.unchanged(name, want, func() error { _, err := b.g.Process(commit); return err })
	}
	secondBob, _ := newApp(t, "bob").keyPackage()
	noSubject := newApp(t, "x")
	noSubject.c.Credential = []byte("nobody")
	nobody, _ := noSubject.keyPackage()
	try("second leaf of a subject", ErrDuplicate, Change{Add: [][]byte{secondBob}})
	try("leaf without subject", ErrInvalidLeaf, Change{Add: [][]byte{nobody}})
	try("committer changes subject", ErrInvalidLeaf, Change{Credential: []byte("mallory#1")})
	try("we are removed", ErrRemoved, Change{Remove: []uint32{1}})
	b.refuse = errors.New("not this one")
	good, _ := newApp(t, "carol").keyPackage()
	try("verify refuses the new leaf", b.refuse, Change{Add: [][]byte{good}})
	try("verify refuses the path", b.refuse, Change{Path: true})
	b.refuse = nil
	other, _ := two(t)
	commit, _, err := other.g.Commit(Change{Path: true}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b.unchanged("other group", ErrWrongGroup, func() error { _, err := b.g.Process(commit); return err })
	b.unchanged("private message", ErrUnsupported, func() error { _, err := b.g.Process(a.protect("x", "")); return err })
}

// TestEpochOneIsSecret computes the secrets of epoch 1 from public data alone.
// That works on the library's own group and must not work on ours.
func TestEpochOneIsSecret(t *testing.T) {
	attack := func(context0, context1 []byte) []byte {
		initSecret := ciphersuite.ZeroSecretCS(suite)
		var last *schedule.EpochSecrets
		for _, context := range [][]byte{context0, context1} {
			ks := schedule.NewKeySchedule(suite, initSecret)
			ks.SetCommitSecret(ciphersuite.ZeroSecretCS(suite)) // no path
			if _, err := ks.ComputeJoinerSecret(context); err != nil {
				t.Fatal(err)
			}
			if _, err := ks.ComputePskSecret(nil); err != nil {
				t.Fatal(err)
			}
			if _, err := ks.ComputeEpochSecret(context); err != nil {
				t.Fatal(err)
			}
			secrets, err := ks.DeriveEpochSecrets()
			if err != nil {
				t.Fatal(err)
			}
			last, initSecret = secrets, secrets.InitSecret.Clone()
		}
		return last.AuthenticationSecret.AsSlice()
	}
	guessed := func(a *app) bool {
		context0 := bytes.Clone(a.g.now.context)
		a.add(newApp(t, "bob"))
		return bytes.Equal(attack(context0, a.g.now.context), a.g.Authenticator())
	}
	if guessed(newApp(t, "alice").create()) {
		t.Error("epoch 1 can be computed from public data")
	}
	a := newApp(t, "alice")
	p, err := newPending(a.c, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := &keypackages.KeyPackagePrivateKeys{InitKey: p.init, EncryptionKey: p.enc}
	lib, err := group.NewGroup(group.NewGroupID([]byte("id")), suite, p.kp, keys)
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEpoch(lib)
	if err != nil {
		t.Fatal(err)
	}
	a.g = &Group{cfg: a.c, now: e}
	if !guessed(a) {
		t.Error("the attack does not work on an unprotected group: this test proves nothing")
	}
}

func TestErrorTextsOfCallbacks(t *testing.T) {
	err := error(&Error{Kind: ErrInvalidLeaf, Reason: "path", Cause: errors.New("expired")})
	if err.Error() != "mls: invalid leaf: path: expired" || !errors.Is(err, ErrInvalidLeaf) {
		t.Error(err)
	}
	if err := guard(ErrDecrypt, "here", func() error { panic("secret") }); !errors.Is(err, ErrDecrypt) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}
