package mls

import (
	"bytes"
	"io"
	"time"
)

// Group is our membership in one group. It is not safe for concurrent use.
//
// Every change works on a copy that replaces the current epoch at the end, so
// a refused call changes nothing. The replaced epoch stays, by itself, to
// decrypt what is still on its way.
type Group struct {
	config  Config
	suite   *suite
	self    uint32
	now     *epoch       // nil once wiped
	past    []*pastEpoch // ascending, at most PastEpochs
	scratch []byte       // for what is signed; empty between calls
}

// errLastEpoch: only a Welcome that somebody made up leads so far. The next
// number would be 0, in which nothing can be sent.
var errLastEpoch = fail(ErrInvalidCommit, "no epoch is left")

var errWiped = fail(ErrUnsupported, "group was wiped")

// Create makes a group of which we are the only member, in epoch 0. A nil
// groupID means 32 random bytes.
func Create(c Config, groupID []byte, now time.Time, rnd io.Reader) (*Group, error) {
	s, err := c.check()
	if err != nil {
		return nil, err
	}
	if groupID == nil {
		id, err := randomSecret(rnd)
		if err != nil {
			return nil, err
		}
		groupID = id[:]
	}
	if len(groupID) == 0 || len(groupID) > maxGroupID {
		return nil, fail(ErrMalformed, "group id is empty or too long")
	}
	_, p, err := NewKeyPackage(c, now, rnd)
	if err != nil {
		return nil, err
	}
	defer p.Wipe()
	leaf := p.pack.leaf
	if err := leaf.check(s); err != nil {
		return nil, err
	}
	if leaf.subject, err = subjectOf(c, leaf.member(0)); err != nil {
		return nil, err
	}
	top, err := randomSecret(rnd)
	if err != nil {
		return nil, err
	}
	// RFC 9420 section 11: all of epoch 0 derives from a random secret.
	t := newTree(s, leaf)
	context := groupContext{suite: s.id, groupID: bytes.Clone(groupID), treeHash: t.rootHash()}
	secrets := deriveEpoch(&top)
	clear(top[:])
	tag := confirmationTag(&secrets.confirmation, nil)
	keys := privateKeys{0: bytes.Clone(p.enc)}
	return &Group{config: c, suite: s, now: newEpoch(context, t, keys, &secrets, tag[:])}, nil
}

// enter makes next the current epoch.
func (g *Group) enter(next *epoch) {
	g.past = append(g.past, g.now.retire(next))
	g.now = next
	if n := len(g.past) - PastEpochs; n > 0 {
		g.forget(n)
	}
}

// forget drops the n oldest epochs.
func (g *Group) forget(n int) {
	for _, p := range g.past[:n] {
		p.wipe()
	}
	g.past = append(g.past[:0:0], g.past[n:]...)
}

// ForgetBefore drops the keys of all epochs before the given one; their
// messages are then [ErrWrongEpoch]. The current epoch stays.
func (g *Group) ForgetBefore(number uint64) {
	n := 0
	for n < len(g.past) && g.past[n].number < number {
		n++
	}
	if n > 0 {
		g.forget(n)
	}
}

// ID is the group's id.
func (g *Group) ID() []byte {
	if g.now == nil {
		return nil
	}
	return bytes.Clone(g.now.context.groupID)
}

// Epoch is the number of the current epoch.
func (g *Group) Epoch() uint64 {
	if g.now == nil {
		return 0
	}
	return g.now.context.epoch
}

// Self is our leaf.
func (g *Group) Self() uint32 { return g.self }

// Authenticator is equal at two members exactly if they agree on everything
// that happened (RFC 9420 section 8.7).
func (g *Group) Authenticator() []byte {
	if g.now == nil {
		return nil
	}
	return bytes.Clone(g.now.secrets.authenticator[:])
}

// Members lists the group, ascending by leaf.
func (g *Group) Members() []Member {
	if g.now == nil {
		return nil
	}
	list := make([]Member, 0, g.now.tree.size())
	g.now.tree.members(func(i uint32, l *leafNode) { list = append(list, l.member(i)) })
	return list
}

// Member returns the member at a leaf.
func (g *Group) Member(leaf uint32) (Member, bool) {
	if g.now == nil {
		return Member{}, false
	}
	l := g.now.tree.leaf(leaf)
	if l == nil {
		return Member{}, false
	}
	return l.member(leaf), true
}

// Wipe forgets all keys. Every later call fails or returns a zero value. Copies
// that the runtime made are beyond reach.
func (g *Group) Wipe() {
	if g.now == nil {
		return
	}
	g.forget(len(g.past))
	g.now.wipe()
	g.now = nil
}
