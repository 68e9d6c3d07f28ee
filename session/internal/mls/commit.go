package mls

import (
	"bytes"
	"io"
	"math"
	"slices"
	"time"
)

// Commit changes the group and enters the new epoch. It returns the commit for
// the other members and, if somebody was added, the Welcome for all of those.
// The removed leaves' owners need not, and cannot, process the commit.
//
// Replacing a member is a Remove and an Add in one Change; the new leaf may
// then have the old one's subject and signature key.
//
// A path is made if the Change asks for one, if RFC 9420 section 12.4 requires
// one, and whenever the root of the tree would be blank: mls-rs refuses some
// valid trees without it. If a key package begins in the future, by a clock
// ahead of ours, the error has RetryAt set.
func (g *Group) Commit(ch Change, now time.Time, rnd io.Reader) (message, welcome []byte, err error) {
	switch {
	case g.now == nil:
		return nil, nil, errWiped
	case g.now.context.epoch == math.MaxUint64:
		return nil, nil, errLastEpoch
	}
	list, err := g.propose(ch, now)
	if err != nil {
		return nil, nil, err
	}
	t := g.now.tree.clone()
	c, err := t.apply(list, g.now.context.groupID)
	if err != nil {
		return nil, nil, err
	}
	m := making{Group: g, list: list, tree: t, change: c, rnd: rnd}
	defer m.wipe()
	if ch.Path || ch.Credential != nil || needsPath(list) || t.nodes[root(t.width())].blank() {
		if err := m.makePath(ch.Credential); err != nil {
			return nil, nil, err
		}
	}
	if err := m.finish(); err != nil {
		return nil, nil, err
	}
	g.enter(m.next)
	return m.message, m.welcome, nil
}

// propose turns a Change into proposals, Adds first as mls-rs does, and checks
// all that receivers will check, and the lifetimes.
func (g *Group) propose(ch Change, now time.Time) ([]sent, error) {
	switch {
	case len(ch.Add)+len(ch.Remove) == 0 && !ch.Path && ch.Credential == nil:
		return nil, fail(ErrUnsupported, "empty change")
	case len(ch.Add)+len(ch.Remove) > maxProposals:
		return nil, fail(ErrInvalidCommit, "too many proposals")
	}
	removed := map[string]*leafNode{}
	var removes []sent
	for _, i := range ch.Remove {
		l := g.now.tree.leaf(i)
		switch {
		case i == g.self:
			return nil, fail(ErrInvalidCommit, "committer removes itself")
		case l == nil, removed[l.subject] != nil:
			return nil, fail(ErrInvalidCommit, "remove of nobody")
		}
		removed[l.subject] = l
		removes = append(removes, sent{proposal: &proposal{kind: proposalRemove, remove: i}, by: g.self})
	}
	var list []sent
	for _, wire := range ch.Add {
		k, err := g.newcomer(wire, now, removed)
		if err != nil {
			return nil, err
		}
		list = append(list, sent{proposal: &proposal{kind: proposalAdd, add: k}, by: g.self})
	}
	return append(list, removes...), nil
}

// newcomer checks a key package that we are about to add. removed are the
// leaves that go in the same commit, by subject.
func (g *Group) newcomer(wire []byte, now time.Time, removed map[string]*leafNode) (*keyPackage, error) {
	k, err := parseKeyPackage(bytes.Clone(wire))
	if err != nil {
		return nil, err
	}
	if err := k.check(g.suite); err != nil {
		return nil, err
	}
	if err := k.leaf.caps.checkForAdding(g.suite); err != nil {
		return nil, err
	}
	if err := k.leaf.lifetime.check(now); err != nil {
		return nil, err
	}
	if err := g.admit(k.leaf, 0); err != nil {
		return nil, err
	}
	why := Adding
	if old := removed[k.leaf.subject]; old != nil && bytes.Equal(old.signatureKey, k.leaf.signatureKey) {
		why = Rejoining
	}
	return k, verifyMember(g.config, k.leaf.member(0), why)
}

// making is a commit under construction.
type making struct {
	*Group
	list   []sent
	tree   *tree
	change change
	rnd    io.Reader

	path   *freshPath
	update *updatePath

	next             *epoch
	message, welcome []byte
}

// makePath renews our keys, with a new credential unless that is nil.
func (m *making) makePath(credential []byte) (err error) {
	own := m.tree.leaf(m.self)
	n := newLeaf{
		credential: own.credential, source: sourceCommit,
		groupID: m.now.context.groupID, index: m.self,
	}
	subject := own.subject
	if credential != nil {
		if err := checkCredential(credential); err != nil {
			return err
		}
		n.credential = bytes.Clone(credential)
		member := Member{Leaf: m.self, Credential: n.credential, SignatureKey: m.config.Signer.Public()}
		if subject, err = subjectOf(m.config, member); err != nil {
			return err
		}
		if subject != own.subject {
			return fail(ErrInvalidLeaf, "subject is not the old one")
		}
		if err := verifyMember(m.config, member, Path); err != nil {
			return err
		}
	}
	if m.path, err = m.tree.freshPath(n, m.config.Signer, m.rnd); err != nil {
		return err
	}
	m.path.leaf.subject = subject
	context := m.now.nextContext(m.tree)
	m.update, err = m.path.seal(m.tree, context.encode(), m.change.added)
	return err
}

// finish signs the commit and derives the next epoch.
func (m *making) finish() error {
	context := m.now.nextContext(m.tree)
	body := commit{path: m.update}
	for _, p := range m.list {
		body.proposals = append(body.proposals, p.proposal)
	}
	f := framed{format: formatPublic, kind: contentCommit}
	f.raw = body.append(appendHead(nil, context.groupID, m.now.context.epoch, m.self, nil, contentCommit))
	var err error
	if f.signature, err = m.config.Signer.Sign(f.signContent(nil, m.now.raw)); err != nil {
		return &Error{Kind: ErrUnsupported, Reason: "signer failed", Cause: err}
	}
	confirmed := confirmedHash(m.now.interim[:], f.transcriptInput())
	context.confirmed = confirmed[:]
	keys := m.now.copyKeys()
	var commitSecret secret
	if m.path != nil {
		commitSecret = m.path.commit
		for x, key := range m.path.keys {
			keys[x] = key
		}
	}
	keys.prune(m.tree)
	s := m.now.advance(&commitSecret, &secret{}, &context)
	defer s.wipe()
	clear(commitSecret[:])
	f.confirmation = s.tag[:]
	m.message = slices.Clip(f.appendPublic(nil, &m.now.secrets.membership, m.now.raw))
	if len(m.change.added) > 0 {
		if m.welcome, err = m.makeWelcome(&context, &s); err != nil {
			return err
		}
	}
	if max(len(m.message), len(m.welcome)) > maxMessage {
		return fail(ErrInvalidCommit, "commit or welcome is too long")
	}
	m.next = newEpoch(context, m.tree, keys, &s.secrets, f.confirmation)
	return nil
}

func (m *making) wipe() {
	if m.path == nil {
		return
	}
	m.path.wipe()
	if m.next == nil {
		m.path.keys.wipeUnless(nil)
	}
}
