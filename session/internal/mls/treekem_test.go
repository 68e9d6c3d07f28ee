package mls

import "testing"

// TestPathBlanksWhatItSkips: a node that a path leaves out, since nobody is
// below its other child, must not keep its key. Honest groups have none there,
// but a joiner takes the tree from somebody else.
func TestPathBlanksWhatItSkips(t *testing.T) {
	s := suiteX25519
	tr := newTree(s, &leafNode{encryptionKey: []byte("leaf 0")})
	tr.resize(4)
	tr.setLeaf(2, &leafNode{encryptionKey: []byte("leaf 2")})
	stale := &parentNode{encryptionKey: []byte("stale")}
	tr.set(1, node{parent: stale}) // above leaf 0 and the blank leaf 1
	tr.set(3, node{parent: stale})
	before := tr.rootHash()

	steps := tr.filteredPath(0)
	if len(steps) != 1 || steps[0].node != 3 {
		t.Fatalf("filtered path %v", steps)
	}
	tr.setPath(0, steps, func(int) []byte { return []byte("fresh") })
	if !tr.nodes[1].blank() {
		t.Error("the node that the path skips keeps its key")
	}
	if p := tr.nodes[3].parent; p == nil || string(p.encryptionKey) != "fresh" {
		t.Error("the root has no fresh key")
	}
	if tr.rootHash() == before {
		t.Error("the tree hash is the old one")
	}
}
