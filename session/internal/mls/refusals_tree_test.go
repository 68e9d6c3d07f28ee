package mls

import (
	"bytes"
	"slices"
	"testing"
)

// Trees on joining (RFC 9420 sections 4.1, 7.7 to 7.9 and 12.4.3.3). Most are
// that of the hall with a newcomer at leaf 7, who is unmerged at nodes 7 and 11.
// Wherever a tree is bent, the leaves below are signed again.
var refusalsTree = []refusal{
	{67, "tree that ends wrongly", refuseTreeEnds},
	{68, "leaf and parent at each other's places", refuseParity},
	{69, "tree hash", func(t *testing.T) {
		v := newHall(t).invite(t, false)
		d := v.draft()
		d.context.treeHash[0] ^= 1
		v.refuse(t, ErrInvalidTree, "tree hash", d.encode(t))
		// The tree before the commit, but for the hash.
		d = v.draft()
		old := v.commit.from.now.tree.clone()
		if _, err := old.add(v.pack.leaf); err != nil {
			t.Fatal(err)
		}
		old.set(13, node{parent: &parentNode{encryptionKey: newPerson(t, P256, "nobody").Signer.Public()}})
		d.tree = treeBytes(old.nodes)
		v.refuse(t, ErrInvalidTree, "tree hash", d.encode(t))
		v.join(t)
	}},
	{70, "parent hash altered", func(t *testing.T) {
		refuseBentHashes(t, func(b []byte) []byte { return flip(b, 0) })
		refuseBentHashes(t, func(b []byte) []byte { return append(bytes.Clone(b), 0) })
	}},
	{71, "parent hash empty", func(t *testing.T) {
		refuseBentHashes(t, func([]byte) []byte { return nil })
		refuseOrphans(t)
	}},
	{72, "two children of one parent", refuseTwoChildren},
	{73, "unmerged leaves", refuseUnmerged},
	{74, "one key at two nodes", refuseKeyTwice},
	{75, "accepts blanks and unmerged leaves", acceptBlanks},
}

// small is a group of three with leaf 2 free, in which leaf 3 invites the one at
// leaf 1. No node above them has a key.
func small(t testing.TB) (*invitation, *bentTree) {
	t.Helper()
	people := []person{newPerson(t, P256, "zero"), newPerson(t, P256, "newcomer"), newPerson(t, P256, "three")}
	v := &invitation{person: people[1]}
	tree := &tree{suite: suiteP256}
	tree.resize(4)
	b := &bentTree{tree: tree, groupID: []byte("small"), signers: map[uint32]Signer{}}
	for n, leaf := range []uint32{0, 1, 3} {
		wire, pending := people[n].keyPackage(t)
		k := adding(t, wire).add
		if leaf == 1 {
			v.pack, v.pending = k, pending
		}
		tree.setLeaf(leaf, k.leaf)
		b.signers[leaf] = people[n].Signer
	}
	confirmed := hashOf([]byte("transcript"))
	v.commit = &bentCommit{
		from:   &Group{suite: suiteP256, self: 0, config: people[0].Config},
		tree:   tree,
		joiner: randomOf(t),
		context: groupContext{
			suite: P256, groupID: b.groupID, epoch: 1, treeHash: tree.rootHash(), confirmed: confirmed[:],
		},
	}
	s := schedule{joiner: v.commit.joiner}
	s.derive(&secret{}, &v.commit.context)
	v.commit.authenticator = s.secrets.authenticator
	v.good = v.draft().encode(t)
	return v, b
}

// rawTree is a ratchet_tree of nodes, blanks at the end and all.
func rawTree(nodes []node) []byte {
	full := treeBytes(append(slices.Clone(nodes), node{leaf: &leafNode{raw: []byte{0xff}}}))
	r := &reader{b: full}
	list := r.vec(maxMessage)
	return appendVec(nil, list[:len(list)-3]) // without the leaf that holds the blanks
}

func refuseTreeEnds(t *testing.T) {
	v, b := small(t)
	// Leaf 2, the last one, has parent 5 above it.
	short := &bentTree{tree: b.clone(), groupID: b.groupID, signers: b.signers}
	short.setLeaf(2, b.leaf(3))
	short.setLeaf(3, nil)
	short.signers[2] = b.signers[3]
	short.set(5, node{parent: &parentNode{encryptionKey: newPerson(t, P256, "nobody").Signer.Public()}})
	short.bendLeaf(t, 2, func(d *leafDraft) { d.source, d.place = sourceCommit, appendPlace(nil, b.groupID, 2) })
	short.relink(t, 2, 5)
	refuse := func(name, reason string, b *tree, nodes []node) {
		t.Run(name, func(t *testing.T) {
			d := v.draft()
			d.setTree(b)
			d.tree = rawTree(nodes)
			v.refuse(t, ErrInvalidTree, reason, d.encode(t))
		})
	}
	const blank = "ends with a blank node"
	refuse("even number, parent", "ends with a parent", short.tree, short.nodes[:6])
	refuse("one blank", blank, b.tree, append(slices.Clone(b.nodes), node{}))
	refuse("two blanks", blank, b.tree, append(slices.Clone(b.nodes), node{}, node{}))
	wide := b.clone()
	wide.resize(8)
	refuse("blank half", blank, wide, wide.nodes)
	refuse("empty", blank, wide, nil)
	refuse("all blank", blank, wide, make([]node, 3))
	short.set(5, node{})
	short.bendLeaf(t, 2, func(d *leafDraft) { d.parentHash = nil })
	v.acceptTree(t, short)
	refuse("blank where the last leaf was", blank, short.tree, short.nodes)
	for name, list := range map[string][]byte{"no vector": {}, "unknown node": {2, 1, 3}, "half a node": {2, 1, 1}} {
		t.Run(name, func(t *testing.T) {
			d := v.draft()
			d.tree = list
			v.refuse(t, ErrMalformed, "ratchet tree", d.encode(t))
		})
	}
	v.join(t)
}

func refuseParity(t *testing.T) {
	v, b := small(t)
	const reason = "leaf at the place of a parent, or the reverse"
	stranger := newPerson(t, P256, "stranger")
	leaf := adding(t, stranger.packOf(t, nil, nil)).add.leaf
	parent := &parentNode{encryptionKey: newPerson(t, P256, "nobody").Signer.Public()}
	for name, c := range map[string]struct {
		at uint32
		n  node
	}{
		"leaf at a parent":             {1, node{leaf: leaf}},
		"leaf at the root":             {3, node{leaf: leaf}},
		"parent at a leaf":             {4, node{parent: parent}},
		"parent at a leaf with a hash": {4, node{parent: &parentNode{encryptionKey: parent.encryptionKey, parentHash: make([]byte, 32)}}},
	} {
		t.Run(name, func(t *testing.T) {
			d := v.draft() // its hash knows nothing of nodes of the wrong kind
			nodes := slices.Clone(b.nodes)
			nodes[c.at] = c.n
			d.tree = treeBytes(nodes)
			v.refuse(t, ErrInvalidTree, reason, d.encode(t))
		})
	}
	v.join(t)
}

// refuseBentHashes changes parent hashes at leaves and at parents.
func refuseBentHashes(t *testing.T, f func([]byte) []byte) {
	h := newHall(t)
	v := h.invite(t, false)
	for _, leaf := range []uint32{0, 2, 4} {
		b := v.bentTree(h)
		b.bendLeaf(t, leaf, func(d *leafDraft) { d.parentHash = f(d.parentHash) })
		if leaf != 0 { // only the link below is to be wrong
			b.relink(t, 0, 7, 3, 1)
		}
		v.refuseTree(t, ErrInvalidTree, "parent hash", b)
	}
	bend := func(p *parentNode) { p.parentHash = f(p.parentHash) }
	b := v.bentTree(h)
	b.bend(3, bend)
	b.relink(t, 0, 3, 1)
	v.refuseTree(t, ErrInvalidTree, "parent hash", b)
	b = v.bentTree(h)
	b.bend(1, bend)
	b.relink(t, 0, 1)
	v.refuseTree(t, ErrInvalidTree, "parent hash", b)
	b = v.bentTree(h)
	b.bend(9, bend)
	b.relink(t, 4, 9)
	b.relink(t, 0, 7, 3, 1)
	v.refuseTree(t, ErrInvalidTree, "parent hash", b)
	// Nobody has to have made what is above the tops of 2 and 4, so that their
	// hashes may be anything.
	b = v.bentTree(h)
	b.bend(5, bend)
	b.relink(t, 2, 5)
	b.bend(11, bend)
	b.relink(t, 4, 11, 9)
	b.relink(t, 0, 7, 3, 1)
	v.acceptTree(t, b)
	v.join(t)
}

// refuseOrphans: parents below which no leaf is of a commit.
func refuseOrphans(t *testing.T) {
	h := newHall(t)
	v := h.invite(t, false)
	for leaf, above := range map[uint32][]uint32{0: nil, 2: {7, 3, 1}, 4: {7, 3, 1}} {
		b := v.bentTree(h)
		b.bendLeaf(t, leaf, func(d *leafDraft) { d.source, d.place = sourcePackage, nil })
		if above != nil {
			b.relink(t, 0, above...)
		}
		v.refuseTree(t, ErrInvalidTree, "parent hash", b)
	}
	// A parent that stands by itself where none was.
	b := v.bentTree(h)
	b.set(13, node{parent: &parentNode{encryptionKey: newPerson(t, P256, "nobody").Signer.Public(), unmerged: []uint32{7}}})
	b.relink(t, 4, 11, 9)
	b.relink(t, 0, 7, 3, 1)
	v.refuseTree(t, ErrInvalidTree, "parent hash", b)
	v.join(t)
}

// refuseTwoChildren: each child would have to hold a hash of the other one, so
// that no such tree can be built; the hashes are planted.
func refuseTwoChildren(t *testing.T) {
	_, b := small(t)
	p := &parentNode{encryptionKey: newPerson(t, P256, "nobody").Signer.Public()}
	b.set(1, node{parent: p})
	b.set(0, node{leaf: &leafNode{raw: []byte("left")}})
	b.set(2, node{leaf: &leafNode{raw: []byte("right")}})
	b.hashes[0], b.hashes[2] = &[hashSize]byte{1}, &[hashSize]byte{2}
	ofLeft, ofRight := b.parentHash(p, 2), b.parentHash(p, 0)
	try := func(left, right []byte) error {
		b.nodes[0].leaf.parentHash, b.nodes[2].leaf.parentHash = left, right
		return b.validateParentHashes()
	}
	refuse(t, nil, ErrInvalidTree, "parent hash", func() error { return try(ofLeft[:], ofRight[:]) })
	refuse(t, nil, ErrInvalidTree, "parent hash", func() error { return try(nil, nil) })
	refuse(t, nil, ErrInvalidTree, "parent hash", func() error { return try(ofRight[:], ofLeft[:]) })
	if try(ofLeft[:], nil) != nil || try(nil, ofRight[:]) != nil {
		t.Error("one child alone was refused")
	}
}
