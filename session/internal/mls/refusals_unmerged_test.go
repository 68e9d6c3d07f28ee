package mls

import (
	"bytes"
	"crypto/rand"
	"testing"
)

// refuseUnmerged bends lists of unmerged leaves, always on the side of a node
// that its maker is not on, so that the parent hashes do not tell.
func refuseUnmerged(t *testing.T) {
	h := newHall(t)
	v := h.invite(t, false)
	for name, c := range map[string]struct {
		reason string
		lists  map[uint32][]uint32
		blank  bool // leaf 5
	}{
		"valid":                         {"", map[uint32][]uint32{7: {5, 7}, 11: {5, 7}, 9: {5}}, false},
		"unsorted":                      {"unmerged leaves are not sorted", map[uint32][]uint32{7: {7, 5}, 11: {5, 7}, 9: {5}}, false},
		"twice":                         {"unmerged leaves are not sorted", map[uint32][]uint32{7: {7, 7}}, false},
		"blank":                         {"unmerged leaf is blank", map[uint32][]uint32{7: {5, 7}, 11: {5, 7}, 9: {5}}, true},
		"outside, to the left":          {"unmerged leaf outside the subtree", map[uint32][]uint32{11: {1, 7}}, false},
		"outside, to the right":         {"unmerged leaf outside the subtree", map[uint32][]uint32{3: {7}}, false},
		"beyond the tree":               {"unmerged leaf outside the subtree", map[uint32][]uint32{7: {7, 8}}, false},
		"number that overflows":         {"unmerged leaf outside the subtree", map[uint32][]uint32{7: {7, 1<<31 + 1}}, false},
		"missing below":                 {"unmerged leaf is missing further down", map[uint32][]uint32{7: {5, 7}}, false},
		"missing two below":             {"unmerged leaf is missing further down", map[uint32][]uint32{7: {3, 7}}, false},
		"missing at the newcomer's own": {"unmerged leaf is missing further down", map[uint32][]uint32{11: nil}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := v.bentTree(h)
			for x, list := range c.lists {
				b.bend(x, func(p *parentNode) { p.unmerged = list })
			}
			if c.blank {
				b.set(10, node{})
			}
			b.relink(t, 4, 11, 9)
			b.relink(t, 0, 7, 3, 1)
			if c.reason == "" {
				v.acceptTree(t, b)
				return
			}
			v.refuseTree(t, ErrInvalidTree, c.reason, b)
		})
	}
	v.join(t)
}

func refuseKeyTwice(t *testing.T) {
	h := newHall(t)
	v := h.invite(t, false)
	for name, key := range map[string]func(b *bentTree) []byte{
		"parent":         func(b *bentTree) []byte { return b.nodes[11].parent.encryptionKey },
		"parent above":   func(b *bentTree) []byte { return b.nodes[3].parent.encryptionKey },
		"leaf":           func(b *bentTree) []byte { return b.leaf(6).encryptionKey },
		"leaf below":     func(b *bentTree) []byte { return b.leaf(3).encryptionKey },
		"newcomer":       func(b *bentTree) []byte { return b.leaf(7).encryptionKey },
		"the link's own": func(b *bentTree) []byte { return b.leaf(2).encryptionKey },
	} {
		t.Run(name, func(t *testing.T) {
			b := v.bentTree(h)
			b.bend(5, func(p *parentNode) { p.encryptionKey = key(b) })
			b.relink(t, 2, 5)
			b.relink(t, 0, 7, 3, 1)
			v.refuseTree(t, ErrDuplicate, "encryption key", b)
		})
	}
	for name, key := range map[string][]byte{"curve": flip(v.pack.initKey, -1), "size": v.pack.initKey[:64], "empty": nil} {
		t.Run(name, func(t *testing.T) {
			b := v.bentTree(h)
			b.bend(5, func(p *parentNode) { p.encryptionKey = key })
			b.relink(t, 2, 5)
			b.relink(t, 0, 7, 3, 1)
			v.refuseTree(t, ErrInvalidTree, "encryption key of a parent", b)
		})
	}
	v.join(t)
}

// acceptBlanks: a group of eight, one member replaced, then a ninth without a
// path, so that the root is blank over a node with unmerged leaves. mls-rs 0.54
// refuses it.
func acceptBlanks(t *testing.T) {
	h := newHall(t)
	eighth := h.invite(t, false)
	from, last := eighth.commit.enter(t), eighth.join(t)
	for _, replaced := range []uint32{2, 3} {
		again := h.people[replaced]
		wire, _ := again.keyPackage(t)
		d := bentCommit{from: from, list: []*proposal{adding(t, wire), removing(replaced)}}
		message := d.encode(t)
		next := d.enter(t)
		other := twin(t, last)
		if _, err := other.Process(message); err != nil {
			t.Fatal(err)
		}
		ninth := newPerson(t, P256, "ninth")
		wire, pending := ninth.keyPackage(t)
		p := adding(t, wire)
		add := bentCommit{from: next, list: []*proposal{p}, pathless: true}
		message = add.encode(t)
		if n := add.tree.nodes[root(add.tree.width())]; !n.blank() || add.tree.width() != 16 {
			t.Fatal("the root is not blank")
		}
		joined, err := Join(ninth.Config, pending, add.welcome(p.add).encode(t))
		if err != nil {
			t.Fatal("the ninth:", err)
		}
		if _, err := other.Process(message); err != nil {
			t.Fatal(err)
		}
		// The ninth is heard, and renews the root.
		commit, _, err := joined.Commit(Change{Path: true}, testNow, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Process(commit); err != nil || !bytes.Equal(other.Authenticator(), joined.Authenticator()) {
			t.Errorf("commit of the ninth: %v", err)
		}
	}
}
