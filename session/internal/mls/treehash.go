package mls

import (
	"encoding/binary"
	"slices"
)

// hash is the tree hash of the subtree at x (RFC 9420 section 7.8). It keeps
// what it computes.
func (t *tree) hash(x uint32) [hashSize]byte {
	if h := t.hashes[x]; h != nil {
		return *h
	}
	h := t.hashNode(x, t.nodes[x], t.hash)
	t.hashes[x] = &h
	return h
}

func (t *tree) rootHash() [hashSize]byte { return t.hash(root(t.width())) }

// hashNode hashes a node with the given hashes of its children.
func (t *tree) hashNode(x uint32, n node, child func(uint32) [hashSize]byte) [hashSize]byte {
	if level(x) == 0 {
		head := binary.BigEndian.AppendUint32([]byte{nodeLeaf}, x/2)
		if n.leaf == nil {
			return hashOf(head, []byte{0})
		}
		return hashOf(head, []byte{1}, n.leaf.raw)
	}
	in := []byte{nodeParent, 0}
	if n.parent != nil {
		in[1] = 1
		in = n.parent.append(in)
	}
	l, r := child(left(x)), child(right(x))
	return hashOf(in, []byte{hashSize}, l[:], []byte{hashSize}, r[:])
}

// hashWithout is the tree hash as if the given leaves, all unmerged, were not
// there.
func (t *tree) hashWithout(x uint32, leaves []uint32) [hashSize]byte {
	first, last := subtreeRange(x)
	if !slices.ContainsFunc(leaves, func(i uint32) bool { return i >= first && i <= last }) {
		return t.hash(x)
	}
	n := t.nodes[x]
	if level(x) == 0 {
		n = node{}
	} else if n.parent != nil {
		n.parent = n.parent.without(leaves)
	}
	return t.hashNode(x, n, func(c uint32) [hashSize]byte { return t.hashWithout(c, leaves) })
}

// parentHash is what a node below p, on the other side of sibling, must hold
// as its parent hash (RFC 9420 section 7.9).
func (t *tree) parentHash(p *parentNode, sibling uint32) [hashSize]byte {
	h := t.hashWithout(sibling, p.unmerged)
	in := appendVec(nil, p.encryptionKey)
	in = appendVec(in, p.parentHash)
	return hashOf(in, []byte{hashSize}, h[:])
}

func (n node) parentHash() []byte {
	if n.leaf != nil {
		return n.leaf.parentHash
	}
	return n.parent.parentHash
}
