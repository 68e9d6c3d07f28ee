package mls

import (
	"bytes"
	"slices"
	"time"

	"github.com/thomas-vilte/mls-go/framing"
	"github.com/thomas-vilte/mls-go/treesync"
)

// Process applies a commit of another member and enters the new epoch.
//
// ErrRemoved means that a genuine commit removes us: the group is dead for us,
// but nothing has changed and its epoch still decrypts. ErrLifetime with a
// RetryAt in the near future means that a peer's clock is ahead: process the
// same commit again then. A commit of an earlier epoch, so also a repeated one, is
// ErrWrongEpoch.
func (g *Group) Process(commit []byte) (Delta, error) {
	if err := g.alive(); err != nil {
		return Delta{}, err
	}
	c, pm, err := g.parseCommit(commit)
	if err != nil {
		return Delta{}, err
	}
	err = guard(ErrSignature, "commit", func() error { return g.now.lib.VerifyPublicMessage(pm) })
	if err != nil {
		return Delta{}, err
	}
	removed, delta, err := g.checkRemoves(c)
	if err != nil {
		return Delta{}, err
	}
	for i := range c.adds {
		if err := c.adds[i].check(); err != nil {
			return Delta{}, err
		}
		if err := g.checkAdd(c.adds, i, removed, false); err != nil {
			return Delta{}, err
		}
	}
	if err := g.checkPath(c); err != nil {
		return Delta{}, err
	}
	next, err := g.applied(c, pm)
	if err != nil {
		return Delta{}, err
	}
	if _, err := next.roster(g.cfg.Subject); err != nil {
		return Delta{}, err
	}
	if err := next.own(g.cfg); err != nil {
		return Delta{}, err
	}
	delta.Committer, _ = next.member(c.sender)
	for _, k := range c.adds {
		delta.Added = append(delta.Added, next.find(k.leaf.member.SignatureKey))
	}
	g.advance(next)
	return delta, nil
}

// applied applies a commit to a copy of the current epoch.
func (g *Group) applied(c wireCommit, pm *framing.PublicMessage) (*epoch, error) {
	lib, err := g.now.copy()
	if err != nil {
		return nil, err
	}
	maskReplaced(lib, c.removes, c.adds)
	err = guard(ErrInvalidCommit, "refused", func() error {
		ac := &framing.AuthenticatedContent{
			WireFormat: framing.WireFormatPublicMessage, Content: pm.Content, Auth: pm.Auth, GroupContext: g.now.context,
		}
		return lib.ProcessReceivedCommit(ac, treesync.LeafIndex(c.sender), lib.MyLeafEncryptionKey())
	})
	if err != nil {
		return nil, notYet(c.adds, err)
	}
	return newEpoch(lib)
}

// notYet explains a refusal by the clock. RFC 9420 has receivers not look at
// lifetimes, but the library does, with the machine's clock and no tolerance.
func notYet(adds []wireKeyPackage, refusal error) error {
	for _, k := range adds {
		l := k.leaf.lifetime
		if treesync.ValidateLeafNodeLifetime(&treesync.LeafNodeLifetime{NotBefore: l.NotBefore, NotAfter: l.NotAfter}) == nil {
			continue
		}
		return &Error{Kind: ErrLifetime, Reason: "by our clock", RetryAt: time.Unix(int64(min(l.NotBefore, 1<<40)), 0)}
	}
	return refusal
}

func (g *Group) parseCommit(msg []byte) (c wireCommit, pm *framing.PublicMessage, err error) {
	r, err := open(msg, formatPublic)
	if err != nil {
		return c, nil, err
	}
	c, err = r.commitMessage()
	switch {
	case err != nil:
		return c, nil, err
	case !bytes.Equal(c.groupID, g.now.id):
		return c, nil, fail(ErrWrongGroup, "")
	case c.epoch != g.now.number:
		return c, nil, fail(ErrWrongEpoch, "")
	case c.sender == g.now.self || g.now.leaf(c.sender) == nil:
		return c, nil, fail(ErrInvalidCommit, "committer")
	case c.path == nil && (len(c.removes) > 0 || len(c.adds) == 0):
		return c, nil, fail(ErrInvalidCommit, "path is missing")
	}
	err = guard(ErrMalformed, "commit", func() error {
		m, err := framing.UnmarshalMLSMessage(msg)
		if err != nil {
			return err
		}
		// The library must have understood exactly what we did.
		if !bytes.Equal(m.Marshal(), msg) {
			return ErrMalformed
		}
		var ok bool
		if pm, ok = m.AsPublic(); !ok {
			return ErrMalformed
		}
		return nil
	})
	return c, pm, err
}

func (g *Group) checkRemoves(c wireCommit) (removed map[uint32]bool, d Delta, err error) {
	removed = map[uint32]bool{}
	for _, leaf := range c.removes {
		m, ok := g.now.member(leaf)
		if !ok || leaf == c.sender || removed[leaf] {
			return nil, d, fail(ErrInvalidCommit, "removal of the committer, of nobody or twice")
		}
		removed[leaf] = true
		d.Removed = append(d.Removed, m)
	}
	if slices.Contains(c.removes, g.now.self) {
		return nil, Delta{}, fail(ErrRemoved, "")
	}
	return removed, d, nil
}

// checkPath checks the committer's new leaf.
func (g *Group) checkPath(c wireCommit) error {
	if c.path == nil {
		return nil
	}
	if c.path.source != sourceCommit {
		return fail(ErrInvalidLeaf, "not a leaf of a commit")
	}
	if err := c.path.check(); err != nil {
		return err
	}
	old, _ := g.now.member(c.sender)
	renewed := cloneMember(c.path.member)
	renewed.Leaf = c.sender
	return g.checkSuccessor(old, renewed)
}

// find returns the member with a signature key, of which there is one.
func (e *epoch) find(key []byte) Member {
	for i := range e.leaves {
		if l := e.leaf(i); l != nil && bytes.Equal(l.SigKeyBytes(), key) {
			m, _ := e.member(i)
			return m
		}
	}
	return Member{}
}
