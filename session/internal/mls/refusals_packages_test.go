package mls

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"testing"
)

// refuseAddedPackages: whatever makes a key package invalid makes the commit
// invalid that adds it.
func refuseAddedPackages(t *testing.T) {
	h := newHall(t)
	other := newPerson(t, P256, "other")
	badPoint := flip(bytes.Clone(h.group(t, 1).now.tree.leaf(1).encryptionKey), -1)
	for name, c := range map[string]struct {
		kind   error
		reason string
		bend   func(d *packDraft)
	}{
		"version":         {ErrUnsupported, "protocol version of a key package", func(d *packDraft) { d.packVersion = 2 }},
		"suite":           {ErrUnsupported, "cipher suite of a key package", func(d *packDraft) { d.suite = uint16(X25519) }},
		"signature":       {ErrSignature, "key package", func(d *packDraft) { d.signer = other.Signer }},
		"label":           {ErrSignature, "key package", func(d *packDraft) { d.label = "LeafNodeTBS" }},
		"leaf signature":  {ErrSignature, "leaf of a key package", func(d *packDraft) { d.leaf.signer = other.Signer }},
		"init key":        {ErrInvalidLeaf, "init key is the leaf key", func(d *packDraft) { d.initKey = d.leaf.encryptionKey }},
		"init key, curve": {ErrInvalidLeaf, "init key", func(d *packDraft) { d.initKey = badPoint }},
		"init key, size":  {ErrInvalidLeaf, "init key", func(d *packDraft) { d.initKey = d.initKey[:64] }},
		"leaf key":        {ErrInvalidLeaf, "encryption key", func(d *packDraft) { d.leaf.encryptionKey = badPoint }},
		"extension":       {ErrInvalidLeaf, "extension is not in the capabilities", func(d *packDraft) { d.extensions = []extension{{kind: 0xf000}} }},
		"leaf extension":  {ErrInvalidLeaf, "extension is not in the capabilities", func(d *packDraft) { d.leaf.extensions = []extension{{kind: 0xf000}} }},
		"source": {ErrInvalidLeaf, "not a leaf of a key package", func(d *packDraft) {
			d.leaf.source, d.leaf.place = sourceCommit, appendPlace(nil, h.group(t, 0).ID(), 7)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			newcomer := newPerson(t, P256, "newcomer")
			d := newcomer.draftPack(t)
			h.accept(t, &bentCommit{from: h.group(t, 0), list: []*proposal{adding(t, d.encode(t))}, pathless: true}, 1)
			c.bend(d)
			bent := bentCommit{from: h.group(t, 0), list: []*proposal{adding(t, d.encode(t))}, pathless: true}
			h.refuse(t, c.kind, c.reason, bent.encode(t), 1, 6)
			bent.list = []*proposal{adding(t, other.packOf(t, nil, nil)), bent.list[0]}
			h.refuse(t, c.kind, c.reason, bent.encode(t), 1, 6)
			h.refuseChange(t, c.kind, c.reason, Change{Add: [][]byte{d.encode(t)}})
		})
	}
}

// fullHall is a group of 1024 of which only the first two members are real.
func fullHall(t testing.TB) (people []person, from, to *Group) {
	t.Helper()
	c := newClub(t, X25519, 2)
	from, to = c.groups[0], c.groups[1]
	old := from.now.tree.leaf(1)
	for i := from.now.tree.width(); i < maxLeaves; i++ {
		draft := draftLeaf(old, signerFunc{Signer: c.people[1].Signer, sign: func([]byte) ([]byte, error) { return []byte{1}, nil }}, nil, 0)
		draft.encryptionKey = append(binary.BigEndian.AppendUint32(nil, i), make([]byte, 28)...)
		draft.encryptionKey[0] = 9 // no point of small order
		draft.signatureKey = draft.encryptionKey
		draft.credential = draft.encryptionKey
		leaf := draft.leaf(t)
		leaf.subject = string(leaf.credential)
		for _, g := range c.groups {
			if _, err := g.now.tree.add(leaf); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c.people, from, to
}

func refuseFullGroup(t *testing.T) {
	_, from, to := fullHall(t)
	newcomer := newPerson(t, X25519, "newcomer")
	wire := newcomer.packOf(t, nil, nil)
	const reason = "group is full"
	d := &bentCommit{from: from, list: []*proposal{adding(t, wire)}, pathless: true}
	refuseCommit(t, to, ErrInvalidCommit, reason, d.encode(t))
	refuse(t, from, ErrInvalidCommit, reason, func() error {
		_, _, err := from.Commit(Change{Add: [][]byte{wire}}, testNow, rand.Reader)
		return err
	})
	d.list = append(d.list, removing(1000), adding(t, newPerson(t, X25519, "other").packOf(t, nil, nil)))
	d.pathless, d.bendSteps = false, func([]pathStep) []pathStep { return nil } // or the path is too long to be read
	refuseCommit(t, to, ErrInvalidCommit, reason, d.encode(t))
	// Where one goes, another one finds room.
	d.list, d.bendSteps = d.list[:2], nil
	if _, err := to.Process(d.encode(t)); err != nil || !bytes.Equal(to.Authenticator(), d.authenticator[:]) {
		t.Errorf("one of 1024 replaced: %v", err)
	}
}
