package mls

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// proposal is a ProposalOrRef of a commit (RFC 9420 sections 12.1 and 12.4).
type proposal struct {
	kind   uint16
	add    *keyPackage
	update *leafNode
	remove uint32
	ref    []byte // by reference: nothing else is set
}

// proposal reads a Proposal. A type outside of the profile makes the whole
// message unsupported, since its length is unknown.
func (r *reader) proposal() *proposal {
	p := &proposal{kind: r.u16()}
	switch p.kind {
	case proposalAdd:
		p.add = r.keyPackage()
	case proposalUpdate:
		p.update = r.leaf()
	case proposalRemove:
		p.remove = r.u32()
	default:
		r.unsupported = !r.bad
		r.fail()
	}
	return p
}

func (r *reader) proposalOrRef() *proposal {
	switch r.u8() {
	case 1:
		return r.proposal()
	case 2:
		return &proposal{ref: r.vec(hashSize)}
	}
	r.fail()
	return nil
}

func (p *proposal) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, p.kind)
	switch p.kind {
	case proposalAdd:
		return append(dst, p.add.raw...)
	case proposalUpdate:
		return append(dst, p.update.raw...)
	default:
		return binary.BigEndian.AppendUint32(dst, p.remove)
	}
}

// commit is a Commit (RFC 9420 section 12.4).
type commit struct {
	proposals []*proposal
	path      *updatePath
}

func (r *reader) commit() *commit {
	c := &commit{}
	r.each(maxProposals, func(r *reader) { c.proposals = append(c.proposals, r.proposalOrRef()) })
	if r.optional() {
		c.path = r.updatePath()
	}
	return c
}

func (c *commit) append(dst []byte) []byte {
	var list []byte
	for _, p := range c.proposals {
		if p.ref != nil {
			list = appendVec(append(list, 2), p.ref)
		} else {
			list = p.append(append(list, 1))
		}
	}
	dst = appendVec(dst, list)
	if c.path == nil {
		return append(dst, 0)
	}
	return c.path.append(append(dst, 1))
}

// sent is a proposal and the leaf it came from.
type sent struct {
	*proposal
	by uint32
}

// lookup finds proposals that were sent before the commit. SLIM has none, so it
// is nil but for the working group's vectors.
type lookup func(ref []byte) (sent, bool)

// resolve replaces references and applies the rules about lists of proposals
// that need no tree (RFC 9420 section 12.2).
func resolve(list []*proposal, committer uint32, find lookup) ([]sent, error) {
	out := make([]sent, 0, len(list))
	for _, p := range list {
		s := sent{proposal: p, by: committer}
		if p.ref != nil {
			var ok bool
			if find == nil {
				return nil, fail(ErrUnsupported, "proposal by reference")
			}
			if s, ok = find(p.ref); !ok {
				return nil, fail(ErrInvalidCommit, "unknown proposal")
			}
		}
		switch {
		case s.kind == proposalUpdate && s.by == committer:
			return nil, fail(ErrInvalidCommit, "update by the committer")
		case s.kind == proposalRemove && s.remove == committer:
			return nil, fail(ErrInvalidCommit, "committer removes itself")
		}
		out = append(out, s)
	}
	return out, nil
}

// change is what a list of proposals did to a tree.
type change struct {
	added   []uint32
	removed []Member
	packs   []*keyPackage // of added
	updated []uint32
}

// apply applies proposals: updates, removes, adds (RFC 9420 section 12.3). The
// key packages must have been checked; subject names those of the new leaves.
func (t *tree) apply(list []sent, groupID []byte) (c change, err error) {
	if err := t.applyUpdates(list, groupID, &c); err != nil {
		return c, err
	}
	for _, p := range list {
		if p.kind != proposalRemove {
			continue
		}
		l := t.leaf(p.remove)
		if l == nil || slices.Contains(c.updated, p.remove) {
			return c, fail(ErrInvalidCommit, "remove of nobody")
		}
		c.removed = append(c.removed, l.member(p.remove))
		t.remove(p.remove)
	}
	t.shrink()
	return c, t.applyAdds(list, &c)
}

func (t *tree) applyUpdates(list []sent, groupID []byte, c *change) error {
	for _, p := range list {
		if p.kind != proposalUpdate {
			continue
		}
		old := t.leaf(p.by)
		if old == nil || slices.Contains(c.updated, p.by) || p.update.source != sourceUpdate {
			return fail(ErrInvalidCommit, "update")
		}
		if bytes.Equal(old.encryptionKey, p.update.encryptionKey) {
			return fail(ErrInvalidLeaf, "encryption key is the old one")
		}
		if err := p.update.check(t.suite); err != nil {
			return err
		}
		if !p.update.verify(groupID, p.by) {
			return fail(ErrSignature, "leaf of an update")
		}
		t.replace(p.by, p.update.clone())
		c.updated = append(c.updated, p.by)
	}
	return nil
}

func (t *tree) applyAdds(list []sent, c *change) error {
	if !slices.ContainsFunc(list, func(p sent) bool { return p.kind == proposalAdd }) {
		return nil
	}
	keys := newKeySet(len(t.nodes))
	subjects := make(map[string]struct{}, len(t.nodes)/2)
	for _, n := range t.nodes {
		switch {
		case n.leaf != nil:
			if err := keys.addLeaf(n.leaf); err != nil {
				return err
			}
			subjects[n.leaf.subject] = struct{}{}
		case n.parent != nil:
			keys.addEncryption(n.parent.encryptionKey)
		}
	}
	for _, p := range list {
		if p.kind != proposalAdd {
			continue
		}
		if err := keys.addLeaf(p.add.leaf); err != nil {
			return err
		}
		if !insert(subjects, []byte(p.add.leaf.subject)) {
			return fail(ErrDuplicate, "subject")
		}
		i, err := t.add(p.add.leaf.clone())
		if err != nil {
			return err
		}
		c.added, c.packs = append(c.added, i), append(c.packs, p.add)
	}
	return nil
}

// needsPath is RFC 9420 section 12.4: everything but adding alone renews keys.
func needsPath(list []sent) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(p sent) bool { return p.kind != proposalAdd })
}
