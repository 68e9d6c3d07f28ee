package mls

import (
	"bytes"
	"crypto/rand"
	"slices"
	"sync"
	"testing"
)

// hall is a group of seven whose tree has something of everything: paths of
// leaves 6, 4, 2 and 0, in this order, leaves of key packages at 1, 3 and 5, one
// blank parent (13) and a free place (leaf 7). The nodes of leaf 0 are 7, 3 and
// 1, of leaf 2 it is 5, of leaf 4 they are 11 and 9; leaf 6 has lost its own.
type hall struct {
	people              []person
	states              [][]byte
	good, authenticator []byte // a commit of leaf 0 and where it leads
}

var (
	hallOnce sync.Once
	theHall  *hall
)

// newHall returns the one hall that there is. Groups are copies of it.
func newHall(t testing.TB) *hall {
	t.Helper()
	hallOnce.Do(func() {
		c := newClub(t, P256, 7)
		for _, i := range []int{6, 4, 2, 0} {
			commit, _, err := c.groups[i].Commit(Change{Path: true}, testNow, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			c.process(t, i, commit)
		}
		h := &hall{people: c.people}
		for _, g := range c.groups {
			h.states = append(h.states, stateOf(t, g))
		}
		var err error
		if h.good, _, err = c.groups[0].Commit(Change{Path: true}, testNow, rand.Reader); err != nil {
			t.Fatal(err)
		}
		h.authenticator = c.groups[0].Authenticator()
		theHall = h
	})
	if theHall == nil {
		t.Fatal("the hall could not be built")
	}
	return theHall
}

// group is a member that lives on by itself.
func (h *hall) group(t testing.TB, i int) *Group {
	t.Helper()
	g, err := Load(h.states[i], h.people[i].Config)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// refuse lets members process a message that they must refuse, and then a good
// commit, which must get through.
func (h *hall) refuse(t *testing.T, kind error, reason string, message []byte, receivers ...int) {
	t.Helper()
	for _, i := range receivers {
		g := h.group(t, i)
		refuseCommit(t, g, kind, reason, message)
		if _, err := g.Process(h.good); err != nil || !bytes.Equal(g.Authenticator(), h.authenticator) {
			t.Errorf("the good commit after it: %v", err)
		}
	}
}

func refuseCommit(t *testing.T, g *Group, kind error, reason string, message []byte) {
	t.Helper()
	refuse(t, g, kind, reason, func() error { _, err := g.Process(message); return err })
}

// accept lets members process a draft that is valid.
func (h *hall) accept(t *testing.T, d *bentCommit, receivers ...int) {
	t.Helper()
	message := d.encode(t)
	for _, i := range receivers {
		g := h.group(t, i)
		if _, err := g.Process(message); err != nil || !bytes.Equal(g.Authenticator(), d.authenticator[:]) {
			t.Errorf("member %d: %v", i, err)
		}
	}
}

// invitation is a newcomer to the hall.
type invitation struct {
	person
	pending *Pending
	pack    *keyPackage
	commit  *bentCommit
	good    []byte // the unchanged Welcome
}

// invite lets leaf 0 of the hall add somebody, at leaf 7.
func (h *hall) invite(t testing.TB, path bool) *invitation {
	t.Helper()
	v := &invitation{person: newPerson(t, P256, "newcomer")}
	var wire []byte
	wire, v.pending = v.keyPackage(t)
	p := adding(t, wire)
	v.pack = p.add
	v.commit = &bentCommit{from: h.group(t, 0), list: []*proposal{p}, pathless: !path}
	v.commit.encode(t)
	v.good = v.draft().encode(t)
	return v
}

func (v *invitation) draft() *bentWelcome { return v.commit.welcome(v.pack) }

// refuse lets the newcomer try to join.
func (v *invitation) refuse(t *testing.T, kind error, reason string, message []byte) {
	t.Helper()
	before := v.pending.bytes()
	refuse(t, nil, kind, reason, func() error { _, err := Join(v.Config, v.pending, message); return err })
	if !bytes.Equal(before, v.pending.bytes()) {
		t.Error("the refused call has changed the Pending")
	}
}

// join lets the newcomer in at last.
func (v *invitation) join(t *testing.T) *Group {
	t.Helper()
	g, err := Join(v.Config, v.pending, v.good)
	if err != nil || !bytes.Equal(g.Authenticator(), v.commit.authenticator[:]) {
		t.Fatalf("the good Welcome: %v", err)
	}
	return g
}

// accept joins with a copy of the keys, which leaves the newcomer outside.
func (v *invitation) accept(t *testing.T, d *bentWelcome) *Group {
	t.Helper()
	p := &Pending{pack: v.pending.pack, init: bytes.Clone(v.pending.init), enc: bytes.Clone(v.pending.enc)}
	g, err := Join(v.Config, p, d.encode(t))
	if err != nil {
		t.Errorf("valid, but refused: %v", err)
	}
	return g
}

// bytes is all that a Pending holds; nothing once it is used up.
func (p *Pending) bytes() []byte {
	if p.pack == nil {
		return nil
	}
	return slices.Concat(p.init, p.enc, p.pack.raw)
}
