package mls

import (
	"bytes"
	"slices"
	"testing"
)

func refusePathLengths(t *testing.T) {
	h := newHall(t)
	const reason = "path has the wrong length"
	for name, bend := range map[string]func([]pathStep) []pathStep{
		"empty":            func(s []pathStep) []pathStep { return nil },
		"without root":     func(s []pathStep) []pathStep { return s[:len(s)-1] },
		"without lowest":   func(s []pathStep) []pathStep { return s[1:] },
		"without a middle": func(s []pathStep) []pathStep { return []pathStep{s[0], s[2]} },
	} {
		t.Run(name, func(t *testing.T) {
			d := bentCommit{from: h.group(t, 0), bendSteps: bend}
			h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 1, 3, 6)
		})
	}
	more := func(u *updatePath) {
		u.nodes = append(slices.Clone(u.nodes), pathNode{encryptionKey: newPerson(t, P256, "nobody").Signer.Public()})
	}
	d := bentCommit{from: h.group(t, 0), bendUpdate: more}
	h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 1, 3, 6)
	// Leaf 6 is alone below node 13, which has no place in its path.
	d = bentCommit{from: h.group(t, 6), bendSteps: func(s []pathStep) []pathStep {
		return append([]pathStep{{node: 13, copath: 14}}, s...)
	}}
	h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 1, 3, 5)
	h.accept(t, &bentCommit{from: h.group(t, 6)}, 1, 3, 5)
}

func refuseCiphertextCounts(t *testing.T) {
	h := newHall(t)
	const reason = "path has the wrong number of ciphertexts"
	newcomer := newPerson(t, P256, "newcomer")
	add := adding(t, newcomer.packOf(t, nil, nil))
	// With leaf 3 gone the nodes above 0 are encrypted to 1, 2 (alone) and 11;
	// with 5 gone, the last one to leaves 4 and 6.
	for name, c := range map[string]struct {
		list []*proposal
		bend func(u *updatePath)
	}{
		"none, lowest":     {nil, func(u *updatePath) { u.nodes[0].secrets = nil }},
		"none, root":       {nil, func(u *updatePath) { u.nodes[2].secrets = nil }},
		"one more, lowest": {nil, func(u *updatePath) { u.nodes[0].secrets = append(u.nodes[0].secrets, u.nodes[0].secrets[0]) }},
		"one more, middle": {nil, func(u *updatePath) { u.nodes[1].secrets = append(u.nodes[1].secrets, u.nodes[0].secrets[0]) }},
		"one more, root":   {nil, func(u *updatePath) { u.nodes[2].secrets = append(u.nodes[2].secrets, u.nodes[0].secrets[0]) }},
		"one less of two":  {[]*proposal{removing(5)}, func(u *updatePath) { u.nodes[2].secrets = u.nodes[2].secrets[:1] }},
		"three for two":    {[]*proposal{removing(5)}, func(u *updatePath) { u.nodes[2].secrets = append(u.nodes[2].secrets, u.nodes[2].secrets[0]) }},
		"for an added leaf": {[]*proposal{add}, func(u *updatePath) {
			s := sealTo(t, suiteP256, add.add.leaf.encryptionKey, "UpdatePathNode", nil, make([]byte, hashSize))
			u.nodes[2].secrets = append(u.nodes[2].secrets, s)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d := bentCommit{from: h.group(t, 0), list: c.list, bendUpdate: func(u *updatePath) {
				for i := range u.nodes {
					u.nodes[i].secrets = slices.Clone(u.nodes[i].secrets)
				}
				c.bend(u)
			}}
			h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 1, 2, 6)
			d.bendUpdate = nil
			h.accept(t, &d, 1, 2, 6)
		})
	}
	refuseForAdded(t)
}

// refuseForAdded: the first Add of a group has a path whose only node is for
// nobody but the added leaf, so that it has no ciphertext.
func refuseForAdded(t *testing.T) {
	c := newClub(t, P256, 2)
	newcomer := newPerson(t, P256, "newcomer")
	add := adding(t, newcomer.packOf(t, nil, nil)) // leaf 2, alone below node 5
	d := bentCommit{from: c.groups[0], list: []*proposal{add}, bendUpdate: func(u *updatePath) {
		if len(u.nodes) != 2 || len(u.nodes[1].secrets) != 0 {
			t.Error("not the path that was meant")
		}
		u.nodes[1].secrets = []sealed{u.nodes[0].secrets[0]}
	}}
	refuseCommit(t, c.groups[1], ErrInvalidCommit, "path has the wrong number of ciphertexts", d.encode(t))
	d.bendUpdate = nil
	if _, err := c.groups[1].Process(d.encode(t)); err != nil {
		t.Error(err)
	}
}

func refuseCiphertexts(t *testing.T) {
	h := newHall(t)
	const reason = "path cannot be decrypted"
	each := func(f func(s *sealed)) func(u *updatePath) {
		return func(u *updatePath) {
			for i := range u.nodes {
				for k := range u.nodes[i].secrets {
					f(&u.nodes[i].secrets[k])
				}
			}
		}
	}
	plain := func(f func([]byte) []byte) bentCommit {
		return bentCommit{bendSecret: func(_ int, plain []byte) []byte { return f(plain) }}
	}
	context := func(f func(c *groupContext)) bentCommit { return bentCommit{bendContext: f} }
	update := func(f func(s *sealed)) bentCommit { return bentCommit{bendUpdate: each(f)} }
	now := h.group(t, 0).now
	// The transcript of the next epoch has the ciphertexts in it, so this is the
	// one of a commit that is otherwise the same.
	same := bentCommit{from: h.group(t, 0), first: &secret{1}, leafSeed: &secret{2}}
	same.encode(t)
	for name, d := range map[string]bentCommit{
		"first byte":              update(func(s *sealed) { s.ciphertext = flip(s.ciphertext, 0) }),
		"tag":                     update(func(s *sealed) { s.ciphertext = flip(s.ciphertext, -1) }),
		"shorter":                 update(func(s *sealed) { s.ciphertext = s.ciphertext[:len(s.ciphertext)-1] }),
		"empty":                   update(func(s *sealed) { s.ciphertext = nil }),
		"encapsulated key":        update(func(s *sealed) { s.enc = newPerson(t, P256, "nobody").Signer.Public() }),
		"encapsulated key, curve": update(func(s *sealed) { s.enc = flip(s.enc, -1) }),
		"encapsulated key, size":  update(func(s *sealed) { s.enc = s.enc[:64] }),
		"old tree hash":           context(func(c *groupContext) { c.treeHash = now.context.treeHash }),
		"old epoch":               context(func(c *groupContext) { c.epoch-- }),
		"old context":             context(func(c *groupContext) { *c = now.context }),
		"other group":             context(func(c *groupContext) { c.groupID = flip(c.groupID, 0) }),
		"interim transcript hash": context(func(c *groupContext) { c.confirmed = now.interim[:] }),
		"new transcript hash":     context(func(c *groupContext) { c.confirmed = same.context.confirmed }),
		"secret of 31 bytes":      plain(func(b []byte) []byte { return b[:31] }),
		"secret of 33 bytes":      plain(func(b []byte) []byte { return append(b, 0) }),
		"empty secret":            plain(func([]byte) []byte { return nil }),
	} {
		t.Run(name, func(t *testing.T) {
			d.from = h.group(t, 0)
			if name == "new transcript hash" {
				d.first, d.leafSeed = same.first, same.leafSeed
			}
			h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 1, 3, 6)
		})
	}
	// Those of two leaves the other way round: with 5 gone, 4 and 6 have their own.
	d := bentCommit{from: h.group(t, 0), list: []*proposal{removing(5)}, bendUpdate: func(u *updatePath) {
		slices.Reverse(u.nodes[2].secrets)
	}}
	h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 4, 6)
	// Those of two nodes.
	d = bentCommit{from: h.group(t, 0), bendUpdate: func(u *updatePath) {
		u.nodes[0].secrets, u.nodes[1].secrets = u.nodes[1].secrets, u.nodes[0].secrets
	}}
	h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 1, 3)
}

func refuseOtherKeys(t *testing.T) {
	h := newHall(t)
	for step, receivers := range [][]int{{1}, {1, 2, 3}, {1, 2, 3, 4, 6}} {
		other := newPerson(t, P256, "nobody").Signer.Public()
		d := bentCommit{from: h.group(t, 0), bendKey: func(i int, public []byte) []byte {
			if i == step {
				return other
			}
			return public
		}}
		h.refuse(t, ErrInvalidCommit, "path secret of another key", d.encode(t), receivers...)
	}
	// The next secret instead of the one.
	d := bentCommit{from: h.group(t, 0), bendSecret: func(i int, plain []byte) []byte {
		s := secret(plain)
		s = deriveSecret(&s, "path")
		return s[:]
	}}
	h.refuse(t, ErrInvalidCommit, "path secret of another key", d.encode(t), 1, 3, 6)
	for name, key := range map[string][]byte{
		"curve": flip(newPerson(t, P256, "nobody").Signer.Public(), -1), "size": make([]byte, 32), "empty": {},
	} {
		d := bentCommit{from: h.group(t, 0), bendKey: func(i int, public []byte) []byte {
			if i == 1 {
				return key
			}
			return public
		}}
		t.Run(name, func(t *testing.T) {
			h.refuse(t, ErrInvalidCommit, "encryption key of a path", d.encode(t), 1, 6)
		})
	}
}

// refuseUsedKeys: keys that the committer has the private keys of, because it
// uses one path secret twice.
func refuseUsedKeys(t *testing.T) {
	h := newHall(t)
	first, leafSeed := randomOf(t), randomOf(t)
	second := deriveSecret(&first, "path")
	secondSeed := deriveSecret(&second, "node")
	const inPath = "encryption key of a path"
	// Leaf 4 has made a path of these secrets before.
	before := bentCommit{from: h.group(t, 4), first: &first, leafSeed: &leafSeed}
	path := before.encode(t)
	again := before.enter(t)
	newcomer := newPerson(t, P256, "newcomer")
	for name, c := range map[string]struct {
		reason string
		d      bentCommit
	}{
		"own parents":                    {inPath, bentCommit{from: again, first: &first}},
		"own upper parent":               {inPath, bentCommit{from: again, first: &second}},
		"parents of another":             {inPath, bentCommit{first: &first}},
		"leaf like its own parent":       {"encryption key", bentCommit{leafSeed: ptr(deriveSecret(&secret{3}, "node")), first: &secret{3}}},
		"leaf of another":                {"encryption key", bentCommit{leafSeed: &leafSeed}},
		"parent of another for the leaf": {"encryption key", bentCommit{leafSeed: &secondSeed}},
		"added leaf": {inPath, bentCommit{first: &secret{4}, list: []*proposal{
			adding(t, newcomer.packOf(t, ptr(deriveSecret(&secret{4}, "node")), nil)),
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			to := h.group(t, 1)
			if _, err := to.Process(path); err != nil {
				t.Fatal(err)
			}
			from := h.group(t, 0)
			if _, err := from.Process(path); err != nil {
				t.Fatal(err)
			}
			if c.d.from == nil {
				c.d.from = from
			}
			refuseCommit(t, to, ErrDuplicate, c.reason, c.d.encode(t))
			good := bentCommit{from: c.d.from}
			if _, err := to.Process(good.encode(t)); err != nil || !bytes.Equal(to.Authenticator(), good.authenticator[:]) {
				t.Errorf("the good commit after it: %v", err)
			}
		})
	}
}

func ptr(s secret) *secret { return &s }

func refuseParentHashes(t *testing.T) {
	h := newHall(t)
	const reason = "parent hash of a path"
	for name, bend := range map[string]func(d *leafDraft){
		"altered": func(d *leafDraft) { d.parentHash = flip(d.parentHash, 0) },
		"empty":   func(d *leafDraft) { d.parentHash = nil },
		"shorter": func(d *leafDraft) { d.parentHash = d.parentHash[:31] },
		"longer":  func(d *leafDraft) { d.parentHash = append(bytes.Clone(d.parentHash), 0) },
		"old":     func(d *leafDraft) { d.parentHash = h.group(t, 0).now.tree.leaf(0).parentHash },
	} {
		t.Run(name, func(t *testing.T) {
			d := bentCommit{from: h.group(t, 0), bendLeaf: bend}
			h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 1, 3, 6)
		})
	}
}
