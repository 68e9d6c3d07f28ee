package mls

import (
	"bytes"
	"slices"
)

// validate is all that a joiner checks of a tree (RFC 9420 section 12.4.3.1)
// but its hash and the credentials.
func (t *tree) validate(groupID []byte) error {
	if err := t.validateLeaves(groupID); err != nil {
		return err
	}
	if err := t.validateUnmerged(); err != nil {
		return err
	}
	return t.validateParentHashes()
}

// validateLeaves checks each leaf by itself and that no key is in the tree
// twice.
func (t *tree) validateLeaves(groupID []byte) error {
	keys := newKeySet(len(t.nodes))
	for x, n := range t.nodes {
		switch {
		case n.leaf != nil:
			if err := n.leaf.check(t.suite); err != nil {
				return err
			}
			if !n.leaf.verify(groupID, uint32(x/2)) {
				return fail(ErrSignature, "leaf in the tree")
			}
			if err := keys.addLeaf(n.leaf); err != nil {
				return err
			}
		case n.parent != nil:
			if _, err := t.suite.parsePublic(n.parent.encryptionKey); err != nil {
				return fail(ErrInvalidTree, "encryption key of a parent")
			}
			if !keys.addEncryption(n.parent.encryptionKey) {
				return fail(ErrDuplicate, "encryption key")
			}
		}
	}
	return nil
}

// validateUnmerged: each list ascends, names leaves below the node, and is
// repeated in every node on the way down.
func (t *tree) validateUnmerged() error {
	for x, n := range t.nodes {
		if n.parent == nil {
			continue
		}
		first, last := subtreeRange(uint32(x))
		for i, leaf := range n.parent.unmerged {
			switch {
			case i > 0 && leaf <= n.parent.unmerged[i-1]:
				return fail(ErrInvalidTree, "unmerged leaves are not sorted")
			case leaf < first || leaf > last:
				return fail(ErrInvalidTree, "unmerged leaf outside the subtree")
			case t.leaf(leaf) == nil:
				return fail(ErrInvalidTree, "unmerged leaf is blank")
			}
			for y := parent(2*leaf, t.width()); y != uint32(x); y = parent(y, t.width()) {
				if p := t.nodes[y].parent; p != nil && !slices.Contains(p.unmerged, leaf) {
					return fail(ErrInvalidTree, "unmerged leaf is missing further down")
				}
			}
		}
	}
	return nil
}

// validateParentHashes: every parent was made together with exactly one node
// below it (RFC 9420 section 7.9.2), so that a leaf's signature stands behind
// each key.
func (t *tree) validateParentHashes() error {
	for x, n := range t.nodes {
		if n.parent == nil {
			continue
		}
		l, r := left(uint32(x)), right(uint32(x))
		if t.links(n.parent, l, r)+t.links(n.parent, r, l) != 1 {
			return fail(ErrInvalidTree, "parent hash")
		}
	}
	return nil
}

// links counts the nodes below child that were made together with p.
func (t *tree) links(p *parentNode, child, sibling uint32) int {
	want := t.parentHash(p, sibling)
	first, last := subtreeRange(child)
	var unmerged []uint32 // below child, as nodes
	for _, leaf := range p.unmerged {
		if leaf >= first && leaf <= last {
			unmerged = append(unmerged, 2*leaf)
		}
	}
	resolution := t.resolution(nil, child)
	if len(resolution) != len(unmerged)+1 {
		return 0
	}
	count := 0
	for _, x := range resolution {
		if slices.Contains(unmerged, x) || !bytes.Equal(t.nodes[x].parentHash(), want[:]) {
			continue
		}
		if t.onlyOther(resolution, unmerged, x) {
			count++
		}
	}
	return count
}

// onlyOther reports whether the resolution is unmerged and x.
func (t *tree) onlyOther(resolution, unmerged []uint32, x uint32) bool {
	for _, y := range resolution {
		if y != x && !slices.Contains(unmerged, y) {
			return false
		}
	}
	return true
}

// keySet finds keys that occur twice.
type keySet struct{ encryption, signature map[string]struct{} }

func newKeySet(size int) keySet {
	return keySet{encryption: make(map[string]struct{}, size), signature: make(map[string]struct{}, size/2+1)}
}

func (s keySet) addEncryption(key []byte) bool { return insert(s.encryption, key) }

func (s keySet) addLeaf(l *leafNode) error {
	if !s.addEncryption(l.encryptionKey) {
		return fail(ErrDuplicate, "encryption key")
	}
	if !insert(s.signature, l.signatureKey) {
		return fail(ErrDuplicate, "signature key")
	}
	return nil
}

func insert(set map[string]struct{}, key []byte) bool {
	if _, there := set[string(key)]; there {
		return false
	}
	set[string(key)] = struct{}{}
	return true
}
