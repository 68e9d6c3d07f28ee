package mls

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	"slices"
	"testing"
)

// Proposals (RFC 9420 sections 12.1 and 12.2). Leaf 0 of the hall commits.
var refusalsProposals = []refusal{
	{76, "update by the committer", refuseUpdates},
	{77, "proposal types outside of the profile", refuseProposalTypes},
	{78, "proposal by reference", refuseReferences},
	{79, "committer removes itself", refuseSelfRemoval},
	{80, "remove of nobody", func(t *testing.T) {
		h := newHall(t)
		for name, leaf := range map[string]uint32{
			"blank": 7, "beyond the tree": 8, "beyond every tree": maxLeaves, "largest number": 1<<32 - 1,
			"number that overflows": 1 << 31,
		} {
			t.Run(name, func(t *testing.T) {
				d := bentCommit{from: h.group(t, 0), list: []*proposal{removing(leaf)}}
				h.refuse(t, ErrInvalidCommit, "remove of nobody", d.encode(t), 1, 6)
				d.list = []*proposal{removing(3), removing(leaf)}
				h.refuse(t, ErrInvalidCommit, "remove of nobody", d.encode(t), 1, 6)
				h.refuseChange(t, ErrInvalidCommit, "remove of nobody", Change{Remove: []uint32{3, leaf}})
			})
		}
	}},
	{81, "leaf removed twice", func(t *testing.T) {
		h := newHall(t)
		d := bentCommit{from: h.group(t, 0), list: []*proposal{removing(3), removing(3)}}
		h.refuse(t, ErrInvalidCommit, "remove of nobody", d.encode(t), 1, 6)
		d.list = []*proposal{removing(6), removing(3), removing(6)} // the tree keeps its width
		h.refuse(t, ErrInvalidCommit, "remove of nobody", d.encode(t), 1, 5)
		h.refuseChange(t, ErrInvalidCommit, "remove of nobody", Change{Remove: []uint32{3, 3}})
	}},
	{82, "two added leaves with something in common", refuseTwinsAdded},
	{83, "added leaf with something of a member", refuseMembersAdded},
	{84, "accepts the key and subject of a removed leaf", acceptReplacement},
	{85, "added key package is invalid", refuseAddedPackages},
	{86, "group of more than 1024", refuseFullGroup},
}

// refuseChange lets leaf 0 make a commit that it must refuse to make.
func (h *hall) refuseChange(t *testing.T, kind error, reason string, ch Change) {
	t.Helper()
	g := h.group(t, 0)
	refuse(t, g, kind, reason, func() error { _, _, err := g.Commit(ch, testNow, rand.Reader); return err })
	if _, _, err := g.Commit(Change{Path: true}, testNow, rand.Reader); err != nil {
		t.Errorf("a good commit after it: %v", err)
	}
}

func refuseUpdates(t *testing.T) {
	h := newHall(t)
	g := h.group(t, 0)
	key := randomOf(t)
	_, public, err := g.suite.deriveKeyPair(&key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := draftLeaf(g.now.tree.leaf(0), g.config.Signer, g.now.context.groupID, 0)
	leaf.source, leaf.encryptionKey = sourceUpdate, public
	update := &proposal{kind: proposalUpdate, update: leaf.leaf(t)}
	update.update.subject = "p0"
	for name, list := range map[string][]*proposal{
		"alone": {update}, "before a remove": {update, removing(3)}, "behind one": {removing(3), update},
	} {
		t.Run(name, func(t *testing.T) {
			d := bentCommit{from: g, list: list}
			h.refuse(t, ErrInvalidCommit, "update by the committer", d.encode(t), 1, 6)
		})
	}
}

func refuseProposalTypes(t *testing.T) {
	h := newHall(t)
	inline := func(kind uint16, content ...[]byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{1}, kind), slices.Concat(content...)...)
	}
	vec := func(n int) []byte { return appendVec(nil, bytes.Repeat([]byte{7}, n)) }
	for name, wire := range map[string][]byte{
		"external PSK":             inline(4, []byte{1}, vec(3), vec(32)),
		"resumption PSK":           inline(4, []byte{2, 1}, vec(32), make([]byte, 8), vec(32)),
		"reinit":                   inline(5, vec(32), []byte{0, 1, 0, 2, 0}),
		"external init":            inline(6, vec(65)),
		"group context extensions": inline(7, []byte{0}),
		"unknown":                  inline(0x0a77, vec(3)),
		"reserved":                 inline(0),
		"private":                  inline(0xf001, vec(3)),
		"GREASE":                   inline(0x0a0a, vec(3)),
		"GREASE, last":             inline(0xeaea, vec(3)),
	} {
		t.Run(name, func(t *testing.T) {
			d := bentCommit{from: h.group(t, 0), list: []*proposal{removing(3)}, back: wire}
			h.refuse(t, ErrUnsupported, "proposal type", d.encode(t), 1, 6)
			d.front, d.back = wire, nil
			h.refuse(t, ErrUnsupported, "proposal type", d.encode(t), 1, 6)
			d.list = nil
			h.refuse(t, ErrUnsupported, "proposal type", d.encode(t), 1, 6)
		})
	}
}

func refuseReferences(t *testing.T) {
	h := newHall(t)
	p := removing(3)
	p.ref = bytes.Repeat([]byte{9}, hashSize)
	d := &bentCommit{from: h.group(t, 0), list: []*proposal{p}}
	message := d.encode(t)
	h.refuse(t, ErrUnsupported, "proposal by reference", message, 1, 6)
	// With a memory for proposals, as only the working group's vectors need it.
	g := h.group(t, 1)
	unknown := received{find: func([]byte) (sent, bool) { return sent{}, false }}
	refuse(t, g, ErrInvalidCommit, "unknown proposal", func() error { _, err := g.process(message, unknown); return err })
	known := received{find: func(ref []byte) (sent, bool) {
		return sent{proposal: removing(3), by: 2}, bytes.Equal(ref, p.ref)
	}}
	if _, err := g.process(message, known); err != nil || !bytes.Equal(g.Authenticator(), d.authenticator[:]) {
		t.Errorf("with the proposal at hand: %v", err)
	}
	newcomer := newPerson(t, P256, "newcomer")
	wire, _ := newcomer.keyPackage(t)
	for name, ref := range map[string][]byte{"short": {9}, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			p := adding(t, wire)
			p.ref = ref
			d := bentCommit{from: h.group(t, 0), list: []*proposal{p}}
			h.refuse(t, ErrUnsupported, "proposal by reference", d.encode(t), 1, 6)
		})
	}
}

func refuseSelfRemoval(t *testing.T) {
	h := newHall(t)
	const reason = "committer removes itself"
	d := bentCommit{from: h.group(t, 0), list: []*proposal{removing(0)}}
	h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 1, 6)
	d.list = []*proposal{removing(3), removing(0)}
	h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 1, 6)
	h.refuseChange(t, ErrInvalidCommit, reason, Change{Remove: []uint32{0}})
	// Not even to come back in the same commit.
	wire, _ := h.people[0].keyPackage(t)
	d.list = []*proposal{adding(t, wire), removing(0)}
	h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 1, 6)
	h.refuseChange(t, ErrInvalidCommit, reason, Change{Remove: []uint32{0}, Add: [][]byte{wire}})
}

// packOf is a key package with the given leaf key and, unless nil, another
// person's signature key.
func (p person) packOf(t testing.TB, leafSeed *secret, signer Signer) []byte {
	t.Helper()
	if signer != nil {
		p.Signer = signer
	}
	initSeed, leafKey := randomOf(t), orRandom(t, leafSeed)
	wire, _, err := NewKeyPackage(p.Config, testNow, io.MultiReader(bytes.NewReader(initSeed[:]), bytes.NewReader(leafKey[:])))
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

func refuseTwinsAdded(t *testing.T) {
	h := newHall(t)
	one, other := newPerson(t, P256, "one"), newPerson(t, P256, "other")
	seed := randomOf(t)
	namesake := newPerson(t, P256, "one")
	for name, packs := range map[string][2][]byte{
		"signature key":  {one.packOf(t, nil, nil), other.packOf(t, nil, one.Signer)},
		"subject":        {one.packOf(t, nil, nil), namesake.packOf(t, nil, nil)},
		"encryption key": {one.packOf(t, &seed, nil), other.packOf(t, &seed, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			for _, pathless := range []bool{true, false} {
				d := bentCommit{from: h.group(t, 0), list: []*proposal{adding(t, packs[0]), adding(t, packs[1])}, pathless: pathless}
				h.refuse(t, ErrDuplicate, name, d.encode(t), 1, 6)
			}
			h.refuseChange(t, ErrDuplicate, name, Change{Add: packs[:]})
		})
	}
	h.accept(t, &bentCommit{from: h.group(t, 0), list: []*proposal{
		adding(t, one.packOf(t, nil, nil)), adding(t, other.packOf(t, nil, nil)),
	}}, 1, 6)
}

// refuseMembersAdded adds leaves that share something with somebody who stays.
// The leaf that shares an encryption key was made by leaf 4, who knows the
// private keys of its own leaf and parents.
func refuseMembersAdded(t *testing.T) {
	h := newHall(t)
	one := newPerson(t, P256, "one")
	leafSeed, first := randomOf(t), randomOf(t)
	nodeSeed := deriveSecret(&first, "node")
	before := bentCommit{from: h.group(t, 4), leafSeed: &leafSeed, first: &first}
	path := before.encode(t)
	namesake := func(i int) []byte { p := newPerson(t, P256, h.people[i].name); return p.packOf(t, nil, nil) }
	for name, c := range map[string]struct {
		reason string
		pack   []byte
	}{
		"signature key of a key package": {"signature key", one.packOf(t, nil, h.people[3].Signer)},
		"signature key of a path":        {"signature key", one.packOf(t, nil, h.people[4].Signer)},
		"signature key of the committer": {"signature key", one.packOf(t, nil, h.people[0].Signer)},
		"subject":                        {"subject", namesake(3)},
		"subject of the committer":       {"subject", namesake(0)},
		"everything":                     {"signature key", h.people[3].packOf(t, nil, nil)},
		"encryption key of a leaf":       {"encryption key", one.packOf(t, &leafSeed, nil)},
		"encryption key of a parent":     {"encryption key", one.packOf(t, &nodeSeed, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := h.group(t, 0), h.group(t, 1)
			for _, g := range []*Group{from, to} {
				if _, err := g.Process(path); err != nil {
					t.Fatal(err)
				}
			}
			for _, pathless := range []bool{true, false} {
				d := bentCommit{from: from, list: []*proposal{adding(t, c.pack)}, pathless: pathless}
				refuseCommit(t, to, ErrDuplicate, c.reason, d.encode(t))
			}
			refuse(t, from, ErrDuplicate, c.reason, func() error {
				_, _, err := from.Commit(Change{Add: [][]byte{c.pack}}, testNow, rand.Reader)
				return err
			})
			good, _, err := from.Commit(Change{Path: true}, testNow, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := to.Process(good); err != nil {
				t.Errorf("the good commit after it: %v", err)
			}
		})
	}
}

// acceptReplacement: an added leaf may be like one that goes in the same commit.
func acceptReplacement(t *testing.T) {
	h := newHall(t)
	for name, pack := range map[string][]byte{
		"same key and subject": h.people[3].packOf(t, nil, nil),
		"same key":             newPerson(t, P256, "one").packOf(t, nil, h.people[3].Signer),
		"same subject":         newPerson(t, P256, h.people[3].name).packOf(t, nil, nil),
	} {
		t.Run(name, func(t *testing.T) {
			h.accept(t, &bentCommit{from: h.group(t, 0), list: []*proposal{adding(t, pack), removing(3)}}, 1, 2, 6)
			h.accept(t, &bentCommit{from: h.group(t, 0), list: []*proposal{removing(3), adding(t, pack)}}, 1, 2, 6)
			g := h.group(t, 0)
			commit, welcome, err := g.Commit(Change{Add: [][]byte{pack}, Remove: []uint32{3}}, testNow, rand.Reader)
			if err != nil || welcome == nil {
				t.Fatal(err)
			}
			to := h.group(t, 6)
			delta, err := to.Process(commit)
			if err != nil || len(delta.Added) != 1 || delta.Added[0].Leaf != 3 || len(delta.Removed) != 1 {
				t.Errorf("got %v, %v", delta, err)
			}
			// Only the removed leaf's place is free to be taken.
			d := bentCommit{from: h.group(t, 0), list: []*proposal{adding(t, pack), removing(5)}}
			_, err = h.group(t, 1).Process(d.encode(t))
			if err == nil {
				t.Error("the leaf of somebody who stays was doubled")
			}
		})
	}
}
