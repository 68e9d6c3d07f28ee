package mls

import (
	"bytes"
	"crypto/hmac"
	"math"
	"slices"
)

// received carries what only the working group's vectors need: proposals by
// reference and a pre-shared key.
type received struct {
	find lookup
	psk  secret
}

// Process applies a commit of another member and enters the new epoch.
//
// [ErrRemoved] means that a member has signed a commit that removes us. Nothing
// has changed and the epoch still decrypts; whether the others take that commit
// cannot be seen from here, since its secrets are not for us. A commit of an
// earlier epoch, so also a repeated one and our own, is [ErrWrongEpoch].
// Lifetimes of added key packages are not looked at.
func (g *Group) Process(message []byte) (Delta, error) { return g.process(message, received{}) }

func (g *Group) process(message []byte, how received) (Delta, error) {
	f, err := g.authenticate(message)
	if err != nil {
		return Delta{}, err
	}
	list, err := resolve(f.commit.proposals, f.sender, how.find)
	if err != nil {
		return Delta{}, err
	}
	if needsPath(list) && f.commit.path == nil {
		return Delta{}, fail(ErrInvalidCommit, "path is missing")
	}
	if err := g.checkAdds(list); err != nil {
		return Delta{}, err
	}
	t := g.now.tree.clone()
	c, err := t.apply(list, g.now.context.groupID)
	if err != nil {
		return Delta{}, err
	}
	if err := g.verifyAdded(c); err != nil {
		return Delta{}, err
	}
	if slices.ContainsFunc(c.removed, func(m Member) bool { return m.Leaf == g.self }) {
		return Delta{}, fail(ErrRemoved, "")
	}
	next, err := g.follow(f, t, c, how)
	if err != nil {
		return Delta{}, err
	}
	delta := Delta{Committer: t.leaf(f.sender).member(f.sender), Removed: c.removed}
	for _, i := range c.added {
		delta.Added = append(delta.Added, t.leaf(i).member(i))
	}
	g.enter(next)
	return delta, nil
}

// Committer is the member that a commit for the current epoch says it is from.
// Only Process proves it; this is for callers that let one member commit.
func (g *Group) Committer(message []byte) (Member, error) {
	f, err := g.readCommit(message)
	if err != nil {
		return Member{}, err
	}
	return g.now.tree.leaf(f.sender).member(f.sender), nil
}

// authenticate reads a commit for the current epoch and checks who sent it.
func (g *Group) authenticate(message []byte) (*framed, error) {
	f, err := g.readCommit(message)
	if err != nil {
		return nil, err
	}
	return f, f.verify(&g.now.secrets.membership, g.now.raw, g.now.tree.leaf(f.sender).verifier)
}

// readCommit reads a commit for the current epoch that names a member as its
// sender.
func (g *Group) readCommit(message []byte) (*framed, error) {
	if g.now == nil {
		return nil, errWiped
	}
	f, err := readPublic(message)
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(f.groupID, g.now.context.groupID):
		return nil, fail(ErrWrongGroup, "")
	case f.epoch != g.now.context.epoch:
		return nil, fail(ErrWrongEpoch, "commit")
	case f.epoch == math.MaxUint64:
		return nil, errLastEpoch
	case f.kind != contentCommit:
		return nil, fail(ErrUnsupported, "proposal outside a commit")
	case f.sender == g.self:
		return nil, fail(ErrInvalidCommit, "commit of our own")
	case len(f.confirmation) == 0:
		return nil, fail(ErrMalformed, "commit without confirmation tag")
	}
	if g.now.tree.leaf(f.sender) == nil {
		return nil, fail(ErrInvalidCommit, "sender is nobody")
	}
	return f, nil
}

// checkAdds checks added key packages and learns whose they are.
func (g *Group) checkAdds(list []sent) error {
	for _, p := range list {
		if p.kind != proposalAdd {
			continue
		}
		if err := p.add.check(g.suite); err != nil {
			return err
		}
		if err := g.admit(p.add.leaf, 0); err != nil {
			return err
		}
	}
	return nil
}

// admit learns the subject of a leaf.
func (g *Group) admit(l *leafNode, index uint32) (err error) {
	l.subject, err = subjectOf(g.config, l.member(index))
	return err
}

func subjectOf(c Config, m Member) (string, error) {
	subject, err := c.Subject(m)
	if err != nil {
		return "", &Error{Kind: ErrInvalidLeaf, Reason: "subject", Cause: err}
	}
	return subject, nil
}

func verifyMember(c Config, m Member, why Reason) error {
	if err := c.Verify(m, why); err != nil {
		return &Error{Kind: ErrInvalidLeaf, Reason: why.String(), Cause: err}
	}
	return nil
}

func (g *Group) verifyAdded(c change) error {
	for n, i := range c.added {
		if err := verifyMember(g.config, c.packs[n].leaf.member(i), Added); err != nil {
			return err
		}
	}
	return nil
}

// follow works out the epoch that a commit leads to. t has the proposals
// applied.
func (g *Group) follow(f *framed, t *tree, c change, how received) (next *epoch, err error) {
	keys := g.now.copyKeys()
	var commitSecret secret
	defer func() {
		clear(commitSecret[:])
		if err != nil {
			keys.wipeUnless(g.now.keys)
		}
	}()
	var context groupContext
	if path := f.commit.path; path != nil {
		if err := g.checkPathLeaf(path.leaf, f.sender, t); err != nil {
			return nil, err
		}
		steps, err := t.applyPath(f.sender, path, c.added)
		if err != nil {
			return nil, err
		}
		context = g.now.nextContext(t)
		if commitSecret, err = t.openPath(path, steps, g.self, keys, context.encode(), c.added); err != nil {
			return nil, err
		}
	} else {
		context = g.now.nextContext(t)
	}
	keys.prune(t)
	confirmed := confirmedHash(g.now.interim[:], f.transcriptInput())
	context.confirmed = confirmed[:]
	s := g.now.advance(&commitSecret, &how.psk, &context)
	defer s.wipe()
	if !hmac.Equal(s.tag[:], f.confirmation) {
		return nil, fail(ErrSignature, "confirmation tag")
	}
	return newEpoch(context, t, keys, &s.secrets, f.confirmation), nil
}

// checkPathLeaf checks a committer's new leaf (RFC 9420 sections 7.3 and
// 12.4.2): its owner stays, its encryption key changes.
func (g *Group) checkPathLeaf(l *leafNode, sender uint32, t *tree) error {
	old := t.leaf(sender)
	if l.source != sourceCommit {
		return fail(ErrInvalidLeaf, "not a leaf of a commit")
	}
	if bytes.Equal(l.encryptionKey, old.encryptionKey) {
		return fail(ErrInvalidLeaf, "encryption key is the old one")
	}
	if err := l.check(g.suite); err != nil {
		return err
	}
	if !l.verify(g.now.context.groupID, sender) {
		return fail(ErrSignature, "leaf of a commit")
	}
	if err := g.admit(l, sender); err != nil {
		return err
	}
	if l.subject != old.subject {
		return fail(ErrInvalidLeaf, "subject is not the old one")
	}
	if err := t.uniqueSignatureKey(l, sender); err != nil {
		return err
	}
	return verifyMember(g.config, l.member(sender), Path)
}

// uniqueSignatureKey: nobody else has the key of the new leaf.
func (t *tree) uniqueSignatureKey(l *leafNode, index uint32) (err error) {
	t.members(func(i uint32, other *leafNode) {
		if i != index && bytes.Equal(other.signatureKey, l.signatureKey) {
			err = fail(ErrDuplicate, "signature key")
		}
	})
	return err
}
