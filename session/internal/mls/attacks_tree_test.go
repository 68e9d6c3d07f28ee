package mls

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// Attacks of a member on the tree: its size, and what is in it.

// bloatLeaf: no extension of a leaf means anything, but all of them would be in
// every Welcome and in every saved state.
func bloatLeaf(t *testing.T) {
	h := newHall(t)
	bloat := func(d *leafDraft, n int) {
		d.caps.extensions = []uint16{0xf000, 0xf001}
		d.extensions = []extension{{kind: 0xf000, data: make([]byte, n/2)}, {kind: 0xf001, data: make([]byte, n/2)}}
	}
	const fits = maxExtensionData - 12 // types and lengths
	from := h.group(t, 2)
	for _, n := range []int{fits + 2, 1 << 20, 12 << 20} {
		d := draftCommit(t, from, Change{Path: true}, nil)
		leaf := draftLeaf(d.fresh.leaf, from.config.Signer, from.ID(), from.self)
		bloat(&leaf, n)
		path := d.update.append(nil)[len(d.update.leaf.raw):]
		d.content = slices.Concat([]byte{0, 1}, leaf.encode(t), path)
		h.refuse(t, ErrMalformed, "public message", d.encode(t), 1)
	}
	h.accept(t, &bentCommit{from: from, bendLeaf: func(d *leafDraft) { bloat(d, fits) }}, 1)
	newcomer := newPerson(t, P256, "newcomer")
	pack := newcomer.draftPack(t)
	pack.leaf.caps.extensions = []uint16{0xf000}
	pack.extensions = []extension{{kind: 0xf000, data: make([]byte, maxExtensionData)}}
	h.refuseChange(t, ErrMalformed, "key package", Change{Add: [][]byte{pack.encode(t)}})
	pack.extensions[0].data = pack.extensions[0].data[10:]
	if _, _, err := ParseKeyPackage(pack.encode(t)); err != nil {
		t.Error("largest key package:", err)
	}
}

// bloatTree: members with the largest credentials make a tree that fits into no
// message. Those who are in it go on, and come back from a saved state.
func bloatTree(t *testing.T) {
	c := newClub(t, X25519, 2)
	from := c.groups[0]
	draft := draftLeaf(from.now.tree.leaf(1), signerFunc{c.people[1].Signer, func([]byte) ([]byte, error) { return []byte{1}, nil }}, nil, 0)
	for i := range uint32(530) {
		draft.encryptionKey = binary.BigEndian.AppendUint32([]byte{9}, i)
		draft.encryptionKey = append(draft.encryptionKey, make([]byte, 27)...)
		draft.signatureKey = draft.encryptionKey
		draft.credential = append(make([]byte, maxCredential-32), draft.encryptionKey...)
		leaf := draft.leaf(t)
		leaf.subject = fmt.Sprint("crowd ", i)
		if _, err := from.now.tree.add(leaf); err != nil {
			t.Fatal(err)
		}
	}
	encryption := randomOf(t)
	from.now.messages = newSecretTree(&encryption, from.now.tree.width())
	newcomer := newPerson(t, X25519, "newcomer")
	pack, _ := newcomer.keyPackage(t)
	before := stateOf(t, from)
	if len(before) < maxMessage {
		t.Fatal("the tree is too small")
	}
	_, _, err := from.Commit(Change{Add: [][]byte{pack}}, testNow, rand.Reader)
	if e := (*Error)(nil); !errors.As(err, &e) || e.Reason != "commit or welcome is too long" {
		t.Errorf("a Welcome that nobody can read: %v", err)
	}
	if back, err := Load(before, from.config); err != nil || !bytes.Equal(stateOf(t, back), before) {
		t.Fatalf("the state cannot be loaded: %v", err)
	}
	if !bytes.Equal(stateOf(t, from), before) {
		t.Error("the refused call has changed the state")
	}
}

// addManyTimes: the same again and again is refused, after a bounded time.
func addManyTimes(t *testing.T) {
	c := newClub(t, X25519, 2)
	newcomer := newPerson(t, X25519, "newcomer")
	p := adding(t, newcomer.packOf(t, nil, nil))
	d := bentCommit{from: c.groups[0], pathless: true, list: slices.Repeat([]*proposal{p}, maxProposals)}
	refuseCommit(t, c.groups[1], ErrDuplicate, "encryption key", d.encode(t))
	d.list = append(d.list, p)
	refuseCommit(t, c.groups[1], ErrMalformed, "public message", d.encode(t))
	d.list = d.list[:1]
	if _, err := c.groups[1].Process(d.encode(t)); err != nil {
		t.Error(err)
	}
}

// tangledTree has 1024 leaves and each of them unmerged wherever it can be. To
// look through it must not take long.
func tangledTree(t *testing.T) {
	_, from, _ := fullHall(t)
	tree := from.now.tree
	for x := 1; x < len(tree.nodes); x += 2 {
		p := &parentNode{encryptionKey: binary.BigEndian.AppendUint32(make([]byte, 28), uint32(x)|1<<31)}
		for leaf, last := subtreeRange(uint32(x)); leaf <= last; leaf++ {
			p.unmerged = append(p.unmerged, leaf)
		}
		tree.set(uint32(x), node{parent: p})
	}
	encoded := tree.append(nil)
	start := time.Now()
	r := &reader{b: encoded}
	again, err := r.tree(tree.suite)
	if err != nil || !r.done() || again.rootHash() != tree.rootHash() {
		t.Fatal("the tree cannot be read:", err)
	}
	if err := again.validateUnmerged(); err != nil {
		t.Error(err)
	}
	// The first parent already is not linked, so all are asked one by one.
	for x, n := range again.nodes {
		if n.parent != nil {
			l, r := left(uint32(x)), right(uint32(x))
			if again.links(n.parent, l, r)+again.links(n.parent, r, l) == 1 {
				t.Fatal("linked to nothing")
			}
		}
	}
	if used := time.Since(start); used > 10*time.Second { // 20 ms on a quiet machine
		t.Error("this took", used)
	} else {
		t.Log("read and checked in", used)
	}
}

// graft: a parent that no leaf's signature stands behind, whose private key the
// one who made it up would know.
func graft(t *testing.T) {
	h := newHall(t)
	v := h.invite(t, false)
	_, public, err := suiteP256.newKeyPair(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const hidden = "unmerged leaf is missing further down" // the joiner
	for name, c := range map[string]struct {
		reason string
		node   parentNode
	}{
		"alone":                    {hidden, parentNode{encryptionKey: public}},
		"over an unmerged member":  {hidden, parentNode{encryptionKey: public, unmerged: []uint32{6}}},
		"over an unmerged joiner":  {"parent hash", parentNode{encryptionKey: public, unmerged: []uint32{7}}},
		"over nobody but unmerged": {"parent hash", parentNode{encryptionKey: public, unmerged: []uint32{6, 7}}},
		"with a parent hash":       {"parent hash", parentNode{encryptionKey: public, parentHash: make([]byte, hashSize), unmerged: []uint32{7}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := v.bentTree(h)
			b.set(13, node{parent: &c.node})
			b.relink(t, 4, 11, 9)
			b.relink(t, 0, 7, 3, 1)
			v.refuseTree(t, ErrInvalidTree, c.reason, b)
		})
	}
	v.join(t)
}
