package mls

import "testing"

// bentTree is the tree of a Welcome together with everybody who can sign for a
// leaf of it, so that it can be made consistent again after it was bent.
type bentTree struct {
	*tree
	groupID []byte
	signers map[uint32]Signer
}

// bentTree is the tree that the newcomer gets.
func (v *invitation) bentTree(h *hall) *bentTree {
	b := &bentTree{tree: v.commit.tree.clone(), groupID: v.commit.context.groupID, signers: map[uint32]Signer{7: v.Signer}}
	for i, p := range h.people {
		b.signers[uint32(i)] = p.Signer
	}
	return b
}

// bend changes a parent node.
func (b *bentTree) bend(x uint32, f func(p *parentNode)) {
	p := *b.nodes[x].parent
	f(&p)
	b.set(x, node{parent: &p})
}

// relink gives the nodes of a chain, from the top down, and the leaf at its end
// the parent hashes that follow from the tree as it is now, and lets the owner
// sign the leaf. The first node keeps its parent hash.
func (b *bentTree) relink(t testing.TB, leaf uint32, chain ...uint32) {
	t.Helper()
	var above []byte
	for i, x := range chain {
		if i > 0 {
			b.bend(x, func(p *parentNode) { p.parentHash = above })
		}
		sibling := left(x)
		if inSubtree(2*leaf, sibling) {
			sibling = right(x)
		}
		h := b.parentHash(b.nodes[x].parent, sibling)
		above = h[:]
	}
	b.bendLeaf(t, leaf, func(d *leafDraft) {
		if len(chain) > 0 {
			d.parentHash = above
		}
	})
}

// bendLeaf changes a leaf and signs it.
func (b *bentTree) bendLeaf(t testing.TB, leaf uint32, f func(d *leafDraft)) {
	t.Helper()
	d := draftLeaf(b.leaf(leaf), b.signers[leaf], b.groupID, leaf)
	f(&d)
	b.setLeaf(leaf, d.leaf(t))
}

// refuseTree lets the newcomer join the bent tree.
func (v *invitation) refuseTree(t *testing.T, kind error, reason string, b *bentTree) {
	t.Helper()
	d := v.draft()
	d.setTree(b.tree)
	v.refuse(t, kind, reason, d.encode(t))
}

// acceptTree joins it.
func (v *invitation) acceptTree(t *testing.T, b *bentTree) {
	t.Helper()
	d := v.draft()
	d.setTree(b.tree)
	v.accept(t, d)
}
