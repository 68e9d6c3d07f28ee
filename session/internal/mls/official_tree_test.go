package mls

import (
	"bytes"
	"crypto/rand"
	"slices"
	"testing"
)

// parseTree reads a ratchet_tree and checks that it is written back the same.
func parseTree(t testing.TB, s *suite, b []byte) *tree {
	t.Helper()
	r := &reader{b: b}
	out, err := r.tree(s)
	if err != nil {
		t.Fatal(err)
	}
	if !r.done() {
		t.Fatal("bytes after the tree")
	}
	if !bytes.Equal(out.append(nil), b) {
		t.Fatal("tree is written in another way")
	}
	return out
}

func TestOfficialTreeOperations(t *testing.T) {
	var vectors []struct {
		CipherSuite Suite    `json:"cipher_suite"`
		Proposal    hexBytes `json:"proposal"`
		Sender      uint32   `json:"proposal_sender"`
		TreeBefore  hexBytes `json:"tree_before"`
		TreeAfter   hexBytes `json:"tree_after"`
		HashBefore  hexBytes `json:"tree_hash_before"`
		HashAfter   hexBytes `json:"tree_hash_after"`
	}
	official(t, "tree-operations", &vectors)
	kinds := map[uint16]int{}
	for i, v := range vectors {
		before := parseTree(t, suiteOf(v.CipherSuite), v.TreeBefore)
		if h := before.rootHash(); !bytes.Equal(h[:], v.HashBefore) {
			t.Errorf("entry %d: other tree hash before", i)
		}
		before.members(func(i uint32, l *leafNode) { l.subject = string(l.credential) })
		r := &reader{b: v.Proposal}
		p := r.proposal()
		if !r.done() {
			t.Fatalf("entry %d: proposal is not understood", i)
		}
		kinds[p.kind]++
		after := before.clone()
		if p.kind == proposalUpdate {
			// apply would check the leaf's signature, but the vectors leave open
			// which group it is made for.
			if err := p.update.check(after.suite); err != nil || p.update.source != sourceUpdate {
				t.Errorf("entry %d: leaf: %v", i, err)
			}
			after.replace(v.Sender, p.update)
		} else {
			if p.add != nil {
				p.add.leaf.subject = string(p.add.leaf.credential)
			}
			if _, err := after.apply([]sent{{proposal: p, by: v.Sender}}, nil); err != nil {
				t.Errorf("entry %d: %v", i, err)
				continue
			}
		}
		if !bytes.Equal(after.append(nil), v.TreeAfter) {
			t.Errorf("entry %d: other tree after", i)
		}
		if h := after.rootHash(); !bytes.Equal(h[:], v.HashAfter) {
			t.Errorf("entry %d: other tree hash after", i)
		}
		if !bytes.Equal(before.append(nil), v.TreeBefore) {
			t.Errorf("entry %d: the tree that was copied has changed", i)
		}
	}
	t.Logf("%d operations: %d adds, %d updates, %d removes", len(vectors), kinds[proposalAdd], kinds[proposalUpdate], kinds[proposalRemove])
	if len(vectors) != 5 || kinds[proposalAdd] != 2 || kinds[proposalUpdate] != 1 || kinds[proposalRemove] != 2 {
		t.Error("other counts than expected")
	}
}

func TestOfficialTreeValidation(t *testing.T) {
	var vectors []struct {
		CipherSuite Suite      `json:"cipher_suite"`
		Tree        hexBytes   `json:"tree"`
		GroupID     hexBytes   `json:"group_id"`
		Hashes      []hexBytes `json:"tree_hashes"`
		Resolutions [][]uint32 `json:"resolutions"`
	}
	official(t, "tree-validation", &vectors)
	nodes := 0
	for i, v := range vectors {
		tree := parseTree(t, suiteOf(v.CipherSuite), v.Tree)
		if len(v.Hashes) != len(tree.nodes) || len(v.Resolutions) != len(tree.nodes) {
			t.Fatalf("entry %d: tree has another size", i)
		}
		for x := range tree.nodes {
			if h := tree.hash(uint32(x)); !bytes.Equal(h[:], v.Hashes[x]) {
				t.Errorf("entry %d node %d: other hash", i, x)
			}
			if got := tree.resolution(nil, uint32(x)); !slices.Equal(got, v.Resolutions[x]) {
				t.Errorf("entry %d node %d: resolution %v, want %v", i, x, got, v.Resolutions[x])
			}
			nodes++
		}
		if err := tree.validate(v.GroupID); err != nil {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	t.Logf("%d trees, %d nodes", len(vectors), nodes)
	if len(vectors) != 28 {
		t.Error("other count than expected")
	}
}

// treeKEM is an entry of treekem.json: a group with everybody's private keys,
// and one path made by each member.
type treeKEM struct {
	CipherSuite Suite    `json:"cipher_suite"`
	Confirmed   hexBytes `json:"confirmed_transcript_hash"`
	Epoch       uint64   `json:"epoch"`
	GroupID     hexBytes `json:"group_id"`
	Leaves      []struct {
		EncryptionPriv hexBytes `json:"encryption_priv"`
		Index          uint32   `json:"index"`
		SignaturePriv  hexBytes `json:"signature_priv"`
		PathSecrets    []struct {
			Node   uint32   `json:"node"`
			Secret hexBytes `json:"path_secret"`
		} `json:"path_secrets"`
	} `json:"leaves_private"`
	Tree  hexBytes `json:"ratchet_tree"`
	Paths []struct {
		CommitSecret hexBytes    `json:"commit_secret"`
		PathSecrets  []*hexBytes `json:"path_secrets"`
		Sender       uint32      `json:"sender"`
		HashAfter    hexBytes    `json:"tree_hash_after"`
		Path         hexBytes    `json:"update_path"`
	} `json:"update_paths"`
}

func (v *treeKEM) context(t *tree) []byte {
	c := groupContext{suite: v.CipherSuite, groupID: v.GroupID, epoch: v.Epoch, treeHash: t.rootHash(), confirmed: v.Confirmed}
	return c.encode()
}

// privateKeys are those of the n-th entry of Leaves.
func (v *treeKEM) privateKeys(t testing.TB, tree *tree, n int) privateKeys {
	t.Helper()
	l := v.Leaves[n]
	keys := privateKeys{2 * l.Index: l.EncryptionPriv}
	for _, p := range l.PathSecrets {
		pathSecret := secret(p.Secret)
		private, public, err := tree.suite.nodeKeys(&pathSecret)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(public, tree.nodes[p.Node].encryptionKey()) {
			t.Fatalf("leaf %d: path secret of node %d gives another key", l.Index, p.Node)
		}
		keys[p.Node] = private
	}
	return keys
}

// read lets everybody but the sender read a path. It returns the tree after it
// and what the readers found: commit secrets by leaf.
func (v *treeKEM) read(t testing.TB, sender uint32, u *updatePath) (*tree, map[uint32]secret) {
	t.Helper()
	before := parseTree(t, suiteOf(v.CipherSuite), v.Tree)
	if err := u.leaf.check(before.suite); err != nil {
		t.Fatal(err)
	}
	if !u.leaf.verify(v.GroupID, sender) {
		t.Fatal("leaf of the path has a wrong signature")
	}
	after := before.clone()
	steps, err := after.applyPath(sender, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	found := map[uint32]secret{}
	for n, l := range v.Leaves {
		if l.Index == sender {
			continue
		}
		keys := v.privateKeys(t, before, n)
		commit, err := after.openPath(u, steps, l.Index, keys, v.context(after), nil)
		if err != nil {
			t.Fatalf("path of %d at %d: %v", sender, l.Index, err)
		}
		keys.prune(after)
		for x, key := range keys {
			private, err := after.suite.parsePrivate(key)
			if err != nil || !bytes.Equal(private.PublicKey().Bytes(), after.nodes[x].encryptionKey()) {
				t.Errorf("path of %d at %d: wrong key of node %d", sender, l.Index, x)
			}
		}
		found[l.Index] = commit
	}
	return after, found
}

func TestOfficialTreeKEM(t *testing.T) {
	var vectors []treeKEM
	official(t, "treekem", &vectors)
	paths, readings := 0, 0
	for i := range vectors {
		v := &vectors[i]
		for _, p := range v.Paths {
			r := &reader{b: p.Path}
			u := r.updatePath()
			if !r.done() || !bytes.Equal(u.append(nil), p.Path) {
				t.Fatalf("entry %d: path is not understood", i)
			}
			after, found := v.read(t, p.Sender, u)
			if h := after.rootHash(); !bytes.Equal(h[:], p.HashAfter) {
				t.Errorf("entry %d path of %d: other tree hash", i, p.Sender)
			}
			paths++
			for leaf, commit := range found {
				readings++
				if !bytes.Equal(commit[:], p.CommitSecret) {
					t.Errorf("entry %d path of %d: other commit secret at %d", i, p.Sender, leaf)
				}
				// The path secret of the lowest common node leads there too.
				pathSecret := secret(*p.PathSecrets[leaf])
				steps := after.filteredPath(p.Sender)
				at := slices.IndexFunc(steps, func(s pathStep) bool { return inSubtree(2*leaf, s.node) })
				if commit, err := after.climb(&pathSecret, steps[at:], privateKeys{}); err != nil || !bytes.Equal(commit[:], p.CommitSecret) {
					t.Errorf("entry %d path of %d: path secret for %d is another", i, p.Sender, leaf)
				}
			}
		}
	}
	t.Logf("%d groups, %d paths, read %d times", len(vectors), paths, readings)
	if len(vectors) != 22 || paths != 124 || readings != 656 {
		t.Error("other counts than expected")
	}
}

// TestOfficialTreeKEMOwnPaths makes a path of our own at every leaf of the
// groups of the vectors.
func TestOfficialTreeKEMOwnPaths(t *testing.T) {
	var vectors []treeKEM
	official(t, "treekem", &vectors)
	paths := 0
	for i := range vectors {
		v := &vectors[i]
		for _, l := range v.Leaves {
			own := parseTree(t, suiteOf(v.CipherSuite), v.Tree)
			signer, err := NewSigner(v.CipherSuite, l.SignaturePriv)
			if err != nil {
				t.Fatal(err)
			}
			p, err := own.freshPath(newLeaf{
				credential: own.leaf(l.Index).credential, source: sourceCommit, groupID: v.GroupID, index: l.Index,
			}, signer, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			u, err := p.seal(own, v.context(own), nil)
			if err != nil {
				t.Fatal(err)
			}
			r := &reader{b: u.append(nil)}
			after, found := v.read(t, l.Index, r.updatePath())
			if !r.done() || after.rootHash() != own.rootHash() {
				t.Errorf("entry %d path of %d: readers have another tree", i, l.Index)
			}
			if err := after.validate(v.GroupID); err != nil {
				t.Errorf("entry %d path of %d: %v", i, l.Index, err)
			}
			for leaf, commit := range found {
				if commit != p.commit {
					t.Errorf("entry %d path of %d: other commit secret at %d", i, l.Index, leaf)
				}
			}
			paths++
		}
	}
	t.Logf("%d groups, %d paths", len(vectors), paths)
	if paths != 124 {
		t.Error("other count than expected")
	}
}
