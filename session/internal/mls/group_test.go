package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// app is one member of a test group. Its subject is the credential up to "#".
type app struct {
	t testing.TB
	c Config
	g *Group
	// refuse makes Verify fail; seen records what it was asked.
	refuse error
	seen   []Reason
}

func newApp(t testing.TB, subject string) *app {
	t.Helper()
	priv, err := NewSignatureKey(P256, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(P256, priv)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{t: t}
	a.c = Config{
		Suite: P256, Signer: s, Credential: []byte(subject + "#1"),
		Verify: func(_ Member, why Reason) error {
			a.seen = append(a.seen, why)
			return a.refuse
		},
		Subject: subjectOf,
	}
	return a
}

func subjectOf(m Member) (string, error) {
	s, _, ok := strings.Cut(string(m.Credential), "#")
	if !ok {
		return "", errors.New("no subject")
	}
	return s, nil
}

func (a *app) create() *app {
	a.t.Helper()
	g, err := Create(a.c, nil, time.Now(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.g = g
	return a
}

func (a *app) keyPackage() ([]byte, *Pending) {
	a.t.Helper()
	kp, p, err := NewKeyPackage(a.c, time.Now(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return kp, p
}

// commit commits and hands the commit to the others.
func (a *app) commit(ch Change, others ...*app) (welcome []byte) {
	a.t.Helper()
	commit, welcome, err := a.g.Commit(ch, time.Now(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, o := range others {
		if _, err := o.g.Process(commit); err != nil {
			a.t.Fatalf("process: %v", err)
		}
	}
	return welcome
}

// add adds b with the others watching.
func (a *app) add(b *app, others ...*app) {
	a.t.Helper()
	kp, p := b.keyPackage()
	b.join(p, a.commit(Change{Add: [][]byte{kp}}, others...))
}

func (a *app) join(p *Pending, welcome []byte) {
	a.t.Helper()
	g, err := Join(a.c, p, welcome)
	if err != nil {
		a.t.Fatalf("join: %v", err)
	}
	a.g = g
}

func (a *app) protect(text, aad string) []byte {
	a.t.Helper()
	b, err := a.g.Protect(nil, []byte(text), []byte(aad), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

func (a *app) reads(blob []byte, text, aad string, sender uint32) {
	a.t.Helper()
	m, err := a.g.Unprotect(blob)
	if err != nil {
		a.t.Fatalf("unprotect: %v", err)
	}
	if string(m.Plaintext) != text || string(m.AAD) != aad || m.Sender.Leaf != sender {
		a.t.Errorf("got %q, AAD %q of leaf %d", m.Plaintext, m.AAD, m.Sender.Leaf)
	}
}

// agree checks that all are in one state and hear each other.
func agree(all ...*app) {
	first := all[0]
	first.t.Helper()
	for _, a := range all {
		if !bytes.Equal(a.g.Authenticator(), first.g.Authenticator()) || a.g.Epoch() != first.g.Epoch() {
			first.t.Fatalf("%s and %s disagree", first.c.Credential, a.c.Credential)
		}
		blob := a.protect("hello", "aad")
		for _, b := range all {
			if b != a {
				b.reads(blob, "hello", "aad", a.g.Self())
			}
		}
	}
}

func (a *app) save() []byte {
	a.t.Helper()
	b, err := a.g.Save(nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

func (a *app) reload() {
	a.t.Helper()
	g, err := Load(a.save(), a.c)
	if err != nil {
		a.t.Fatal(err)
	}
	a.g = g
}

func two(t testing.TB) (a, b *app) {
	t.Helper()
	a, b = newApp(t, "alice").create(), newApp(t, "bob")
	a.add(b)
	return a, b
}

func three(t testing.TB) (a, b, c *app) {
	t.Helper()
	a, b = two(t)
	c = newApp(t, "carol")
	a.add(c, b)
	return a, b, c
}

func TestTwoMembers(t *testing.T) {
	a, b := two(t)
	if a.g.Epoch() != 1 || b.g.Epoch() != 1 || b.g.Self() != 1 || len(a.g.ID()) != 32 {
		t.Errorf("epoch %d and %d, leaf %d, group id of %d bytes", a.g.Epoch(), b.g.Epoch(), b.g.Self(), len(a.g.ID()))
	}
	members := b.g.Members()
	if len(members) != 2 || string(members[0].Credential) != "alice#1" || !bytes.Equal(members[1].SignatureKey, b.c.Signer.Public()) {
		t.Errorf("members %v", members)
	}
	for range 3 {
		agree(a, b)
	}
	if m, ok := a.g.Member(7); ok {
		t.Errorf("leaf 7 is %v", m)
	}
}

func TestThreeMembersAddRemoveReadd(t *testing.T) {
	a, b, c := three(t)
	agree(a, b, c)

	commit, welcome, err := a.g.Commit(Change{Remove: []uint32{1}}, time.Now(), rand.Reader)
	if err != nil || welcome != nil {
		t.Fatalf("remove: %v, welcome of %d bytes", err, len(welcome))
	}
	d, err := c.g.Process(commit)
	if err != nil {
		t.Fatal(err)
	}
	if d.Committer.Leaf != 0 || len(d.Removed) != 1 || string(d.Removed[0].Credential) != "bob#1" || len(d.Added) != 0 {
		t.Errorf("delta %+v", d)
	}
	agree(a, c)

	kp, p := b.keyPackage()
	commit, welcome, err = a.g.Commit(Change{Add: [][]byte{kp}}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if d, err = c.g.Process(commit); err != nil || len(d.Added) != 1 || d.Added[0].Leaf != 1 {
		t.Fatalf("delta %+v, %v", d, err)
	}
	b.join(p, welcome)
	agree(a, b, c)
}

func TestBackToAloneAndOnAgain(t *testing.T) {
	a, b := two(t)
	a.commit(Change{Remove: []uint32{1}})
	if n := len(a.g.Members()); n != 1 {
		t.Fatalf("%d members", n)
	}
	if _, _, err := a.g.Commit(Change{Path: true}, time.Now(), rand.Reader); !errors.Is(err, ErrUnsupported) {
		t.Errorf("renewal alone: %v", err)
	}
	a.add(b)
	agree(a, b)
}

func TestGrowReplaceGrow(t *testing.T) {
	all := []*app{newApp(t, "m0").create()}
	names := 0
	grow := func() {
		names++
		n := newApp(t, fmt.Sprint("m", names))
		all[0].add(n, all[1:]...)
		all = append(all, n)
	}
	for len(all) < 8 {
		grow()
	}
	old := all[3]
	rest := append(append([]*app{}, all[1:3]...), all[4:]...)
	all[0].commit(Change{Remove: []uint32{old.g.Self()}}, rest...)
	all = append([]*app{all[0]}, rest...)
	for len(all) < 10 { // the ninth doubles the tree
		grow()
	}
	agree(all...)
}

func TestTwoAddsInOneCommit(t *testing.T) {
	a, b := two(t)
	c, d := newApp(t, "carol"), newApp(t, "dave")
	kpC, pC := c.keyPackage()
	kpD, pD := d.keyPackage()
	welcome := a.commit(Change{Add: [][]byte{kpC, kpD}, Remove: nil}, b)
	c.join(pC, welcome)
	d.join(pD, welcome)
	agree(a, b, c, d)
}

// TestRotation renews keys and credential while messages of the old epoch are
// on their way in both directions.
func TestRotation(t *testing.T) {
	a, b := two(t)
	fromA, fromB := a.protect("a old", ""), b.protect("b old", "")
	commit, _, err := a.g.Commit(Change{Path: true, Credential: []byte("alice#2")}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	newA := a.protect("a new", "")
	if _, err := b.g.Unprotect(newA); !errors.Is(err, ErrWrongEpoch) {
		t.Errorf("message of the future: %v", err)
	}
	lateB := b.protect("b late", "") // b has not seen the commit yet
	a.reads(fromB, "b old", "", 1)
	d, err := b.g.Process(commit)
	if err != nil {
		t.Fatal(err)
	}
	if string(d.Committer.Credential) != "alice#2" {
		t.Errorf("committer %q", d.Committer.Credential)
	}
	b.reads(fromA, "a old", "", 0)
	b.reads(newA, "a new", "", 0)
	a.reads(lateB, "b late", "", 1)
	agree(a, b)
	if m, _ := b.g.Member(0); string(m.Credential) != "alice#2" {
		t.Errorf("b sees %q", m.Credential)
	}
	for range PastEpochs + 2 {
		a.commit(Change{Path: true}, b)
	}
	agree(a, b)
}

func TestCommitByParticipant(t *testing.T) {
	a, b, c := three(t)
	b.commit(Change{Path: true, Credential: []byte("bob#2")}, a, c)
	agree(a, b, c)
	a.commit(Change{Path: true}, b, c)
	agree(a, b, c)
}

// TestRejoin replaces a member by itself: one commit with Remove and Add of one
// signature key, made and received.
func TestRejoin(t *testing.T) {
	a, b, c := three(t)
	kp, p := b.keyPackage()
	a.seen = nil
	commit, welcome, err := a.g.Commit(Change{Remove: []uint32{1}, Add: [][]byte{kp}}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.seen) != 1 || a.seen[0] != Rejoining {
		t.Errorf("moderator was asked %v", a.seen)
	}
	d, err := c.g.Process(commit)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Added) != 1 || len(d.Removed) != 1 || d.Added[0].Leaf != 1 {
		t.Errorf("delta %+v", d)
	}
	if _, err := b.g.Process(commit); !errors.Is(err, ErrRemoved) {
		t.Errorf("own replacement: %v", err)
	}
	b.join(p, welcome)
	agree(a, b, c)
	a.commit(Change{Path: true}, b, c)
	agree(a, b, c)
	c.commit(Change{Remove: []uint32{1}}, a)
	agree(a, c)
}

func TestVerifyReasons(t *testing.T) {
	a, b, c := three(t)
	a.commit(Change{Path: true}, b, c)
	check := func(who string, got, want []Reason) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", who, got, want)
		}
	}
	check("alice", a.seen, []Reason{Adding, Adding})
	check("bob", b.seen, []Reason{Joining, Joining, Added, Path, Path})
	check("carol", c.seen, []Reason{Joining, Joining, Joining, Path})
}

func TestRemovedMember(t *testing.T) {
	a, b, c := three(t)
	old := b.protect("before", "")
	commit, _, err := a.g.Commit(Change{Remove: []uint32{1}}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	before := b.save()
	if _, err := b.g.Process(commit); !errors.Is(err, ErrRemoved) {
		t.Errorf("removed member: %v", err)
	}
	if !bytes.Equal(before, b.save()) {
		t.Error("ErrRemoved changed the state")
	}
	if _, err := c.g.Process(commit); err != nil {
		t.Fatal(err)
	}
	for _, blob := range [][]byte{old, b.protect("after", "")} { // in the epoch it still knows
		if _, err := c.g.Unprotect(blob); !errors.Is(err, ErrDecrypt) {
			t.Errorf("removed sender: %v", err)
		}
	}
	if _, err := b.g.Unprotect(a.protect("secret", "")); !errors.Is(err, ErrWrongEpoch) {
		t.Errorf("removed receiver: %v", err)
	}
}
