package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"
)

// testNow is when everything in these tests happens.
var testNow = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// person is a member of test groups whose credential is its name.
type person struct {
	Config
	name string
}

func newPerson(t testing.TB, s Suite, name string) person {
	t.Helper()
	key, err := NewSignatureKey(s, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewSigner(s, key)
	if err != nil {
		t.Fatal(err)
	}
	return person{name: name, Config: Config{
		Suite: s, Signer: signer, Credential: []byte(name),
		Verify:  func(Member, Reason) error { return nil },
		Subject: func(m Member) (string, error) { return string(m.Credential), nil },
	}}
}

// club is a group with all its members at hand; the first created it.
type club struct {
	people []person
	groups []*Group
}

// newClub makes a group of n members, added one by one.
func newClub(t testing.TB, s Suite, n int) *club {
	t.Helper()
	first := newPerson(t, s, "p0")
	g, err := Create(first.Config, nil, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &club{people: []person{first}, groups: []*Group{g}}
	for i := 1; i < n; i++ {
		c.add(t, 0, newPerson(t, s, fmt.Sprint("p", i)))
	}
	return c
}

// add lets the committer add somebody and everybody else follow.
func (c *club) add(t testing.TB, committer int, p person) {
	t.Helper()
	pack, pending := p.keyPackage(t)
	commit, welcome, err := c.groups[committer].Commit(Change{Add: [][]byte{pack}}, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.process(t, committer, commit)
	g, err := Join(p.Config, pending, welcome)
	if err != nil {
		t.Fatal(err)
	}
	c.people, c.groups = append(c.people, p), append(c.groups, g)
	c.agree(t)
}

func (p *person) keyPackage(t testing.TB) ([]byte, *Pending) {
	t.Helper()
	pack, pending, err := NewKeyPackage(p.Config, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pack, pending
}

// process applies a commit everywhere but at its committer.
func (c *club) process(t testing.TB, committer int, commit []byte) {
	t.Helper()
	for i, g := range c.groups {
		if i == committer {
			continue
		}
		if _, err := g.Process(commit); err != nil {
			t.Fatalf("member %d: %v", i, err)
		}
	}
}

// agree fails unless all members are at the same epoch of the same group and
// everyone reads what everyone says.
func (c *club) agree(t testing.TB) {
	t.Helper()
	for i, g := range c.groups {
		if !bytes.Equal(g.Authenticator(), c.groups[0].Authenticator()) {
			t.Fatalf("member %d has another authenticator", i)
		}
		if err := g.consistent(); err != nil {
			t.Fatalf("member %d: %v", i, err)
		}
	}
}

// consistent checks that the private keys belong to the public ones.
func (g *Group) consistent() error {
	for x, key := range g.now.keys {
		private, err := g.suite.parsePrivate(key)
		if err != nil {
			return err
		}
		if !bytes.Equal(private.PublicKey().Bytes(), g.now.tree.nodes[x].encryptionKey()) {
			return fmt.Errorf("key of node %d is another one's", x)
		}
		if !inSubtree(2*g.self, x) {
			return fmt.Errorf("key of node %d is not above us", x)
		}
	}
	return g.now.tree.validate(g.now.context.groupID)
}

// talk sends one message from everybody to everybody.
func (c *club) talk(t testing.TB) {
	t.Helper()
	for i, from := range c.groups {
		text, aad := fmt.Appendf(nil, "hello from %d", i), []byte{byte(i)}
		blob, err := from.Protect(nil, text, aad, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for k, to := range c.groups {
			if k == i {
				continue
			}
			m, err := to.Unprotect(blob)
			if err != nil {
				t.Fatalf("%d to %d: %v", i, k, err)
			}
			if !bytes.Equal(m.Plaintext, text) || !bytes.Equal(m.AAD, aad) || m.Sender.Leaf != from.Self() ||
				string(m.Sender.Credential) != c.people[i].name {
				t.Fatalf("%d to %d: got %+v", i, k, m)
			}
		}
	}
}

func forSuites(t *testing.T, f func(t *testing.T, s Suite)) {
	for _, s := range []Suite{X25519, P256} {
		t.Run(fmt.Sprint("suite ", s), func(t *testing.T) { f(t, s) })
	}
}

func TestGroupLife(t *testing.T) {
	forSuites(t, func(t *testing.T, s Suite) {
		c := newClub(t, s, 6)
		c.talk(t)
		// rotation by everybody
		for i := range c.groups {
			commit, welcome, err := c.groups[i].Commit(Change{Path: true}, testNow, rand.Reader)
			if err != nil || welcome != nil {
				t.Fatal(err, welcome)
			}
			c.process(t, i, commit)
			c.agree(t)
		}
		c.talk(t)
		// remove the third, who cannot follow
		commit, _, err := c.groups[0].Commit(Change{Remove: []uint32{2}}, testNow, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		gone := c.groups[2]
		if _, err := gone.Process(commit); !errors.Is(err, ErrRemoved) {
			t.Fatalf("removed member: got %v", err)
		}
		c.groups, c.people = append(c.groups[:2:2], c.groups[3:]...), append(c.people[:2:2], c.people[3:]...)
		c.process(t, 0, commit)
		c.agree(t)
		c.talk(t)
		c.add(t, 0, newPerson(t, s, "newcomer"))
		c.talk(t)
		for i, g := range c.groups {
			state, err := g.Save(nil)
			if err != nil {
				t.Fatal(err)
			}
			back, err := Load(state, c.people[i].Config)
			if err != nil {
				t.Fatal(err)
			}
			again, err := back.Save(nil)
			if err != nil || !bytes.Equal(state, again) {
				t.Fatal("state does not survive", err)
			}
			c.groups[i] = back
		}
		c.talk(t)
	})
}
