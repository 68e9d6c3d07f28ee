package mls

import (
	"bytes"
	"io"
	"slices"
)

// updatePath is an UpdatePath (RFC 9420 section 7.6).
type updatePath struct {
	leaf  *leafNode
	nodes []pathNode
}

type pathNode struct {
	encryptionKey []byte
	secrets       []sealed // of the path secret, one for each node of a resolution
}

// sealed is an HPKECiphertext.
type sealed struct{ enc, ciphertext []byte }

func (r *reader) sealed() sealed {
	return sealed{enc: r.vec(maxMessage), ciphertext: r.vec(maxMessage)}
}

func (s sealed) append(dst []byte) []byte { return appendVec(appendVec(dst, s.enc), s.ciphertext) }

func (r *reader) updatePath() *updatePath {
	u := &updatePath{leaf: r.leaf()}
	r.each(maxDepth, func(r *reader) {
		n := pathNode{encryptionKey: r.vec(maxMessage)}
		r.each(maxLeaves, func(r *reader) { n.secrets = append(n.secrets, r.sealed()) })
		u.nodes = append(u.nodes, n)
	})
	if r.bad {
		return nil
	}
	return u
}

func (u *updatePath) append(dst []byte) []byte {
	dst = append(dst, u.leaf.raw...)
	var nodes []byte
	for _, n := range u.nodes {
		nodes = appendVec(nodes, n.encryptionKey)
		var secrets []byte
		for _, s := range n.secrets {
			secrets = s.append(secrets)
		}
		nodes = appendVec(nodes, secrets)
	}
	return appendVec(dst, nodes)
}

// privateKeys are the HPKE private keys that we hold, by node.
type privateKeys map[uint32][]byte

// prune drops the keys of nodes that are blank now, or beyond the tree.
func (k privateKeys) prune(t *tree) {
	for x := range k {
		if int(x) >= len(t.nodes) || t.nodes[x].blank() {
			delete(k, x)
		}
	}
}

// wipeUnless overwrites the keys that next does not hold any more.
func (k privateKeys) wipeUnless(next privateKeys) {
	for x, key := range k {
		if kept := next[x]; kept == nil || &kept[0] != &key[0] {
			clear(key)
		}
	}
}

// nodeKeys derives the key pair of a path secret's node (RFC 9420 section 7.4).
func (s *suite) nodeKeys(pathSecret *secret) (private, public []byte, err error) {
	nodeSecret := deriveSecret(pathSecret, "node")
	defer clear(nodeSecret[:])
	return s.deriveKeyPair(&nodeSecret)
}

// freshPath is a path of our own whose secrets are not encrypted yet.
type freshPath struct {
	leaf    *leafNode
	steps   []pathStep
	secrets []secret // of the steps
	keys    privateKeys
	commit  secret
}

func (p *freshPath) wipe() {
	clear(p.secrets)
	clear(p.commit[:])
}

// secretFor is the path secret of the lowest node above both us and a leaf.
func (p *freshPath) secretFor(leaf uint32) *secret {
	for i, step := range p.steps {
		if inSubtree(2*leaf, step.node) {
			return &p.secrets[i]
		}
	}
	return nil
}

// freshPath replaces all keys from our leaf to the root (RFC 9420 section 7.5).
// n needs everything but the keys and the parent hash.
func (t *tree) freshPath(n newLeaf, signer Signer, rnd io.Reader) (_ *freshPath, err error) {
	p := &freshPath{steps: t.filteredPath(n.index), keys: privateKeys{}}
	p.secrets = make([]secret, 0, len(p.steps)) // growing would leave copies behind
	defer func() {
		if err != nil {
			p.wipe()
			p.keys.wipeUnless(nil)
		}
	}()
	private, public, err := t.suite.newKeyPair(rnd)
	if err != nil {
		return nil, err
	}
	p.keys[2*n.index] = private
	n.public = public
	pathSecret, err := randomSecret(rnd)
	if err != nil {
		return nil, err
	}
	publics := make([][]byte, len(p.steps))
	for i, step := range p.steps {
		p.secrets = append(p.secrets, pathSecret)
		if p.keys[step.node], publics[i], err = t.suite.nodeKeys(&pathSecret); err != nil {
			return nil, fail(ErrUnsupported, "key derivation")
		}
		pathSecret = deriveSecret(&pathSecret, "path")
	}
	p.commit = pathSecret
	clear(pathSecret[:])
	n.parentHash = t.setPath(n.index, p.steps, func(i int) []byte { return publics[i] })
	if p.leaf, err = n.sign(t.suite, signer); err != nil {
		return nil, err
	}
	t.setLeaf(n.index, p.leaf)
	return p, nil
}

// setPath puts new keys into a leaf's filtered path, blanks what is between
// them, and returns the parent hash for the leaf.
func (t *tree) setPath(leaf uint32, steps []pathStep, key func(i int) []byte) []byte {
	t.blankPath(leaf)
	var above []byte
	for i, step := range slices.Backward(steps) {
		p := &parentNode{encryptionKey: key(i), parentHash: above}
		t.set(step.node, node{parent: p})
		h := t.parentHash(p, step.copath)
		above = h[:]
	}
	return above
}

// recipients are the nodes that a path secret is encrypted to: those that stand
// for the subtree, without leaves that the same commit added.
func (t *tree) recipients(step pathStep, added []uint32) []uint32 {
	return slices.DeleteFunc(t.resolution(nil, step.copath), func(x uint32) bool {
		return x%2 == 0 && slices.Contains(added, x/2)
	})
}

// seal encrypts the path secrets for everybody else.
func (p *freshPath) seal(t *tree, context []byte, added []uint32) (*updatePath, error) {
	u := &updatePath{leaf: p.leaf}
	for i, step := range p.steps {
		n := pathNode{encryptionKey: t.nodes[step.node].parent.encryptionKey}
		for _, x := range t.recipients(step, added) {
			public, err := t.suite.parsePublic(t.nodes[x].encryptionKey())
			if err != nil {
				return nil, fail(ErrInvalidTree, "encryption key")
			}
			var s sealed
			s.enc, s.ciphertext, err = t.suite.seal(public, "UpdatePathNode", context, p.secrets[i][:])
			if err != nil {
				return nil, fail(ErrInvalidTree, "encryption key")
			}
			n.secrets = append(n.secrets, s)
		}
		u.nodes = append(u.nodes, n)
	}
	return u, nil
}

// applyPath puts the public side of a received path into the tree (RFC 9420
// section 12.4.2). The leaf's own validity is for the caller.
func (t *tree) applyPath(sender uint32, u *updatePath, added []uint32) ([]pathStep, error) {
	steps := t.filteredPath(sender)
	if len(u.nodes) != len(steps) {
		return nil, fail(ErrInvalidCommit, "path has the wrong length")
	}
	keys := newKeySet(len(t.nodes))
	for x, n := range t.nodes {
		if !n.blank() && !(n.leaf != nil && uint32(x) == 2*sender) {
			keys.addEncryption(n.encryptionKey())
		}
	}
	for i, n := range u.nodes {
		if _, err := t.suite.parsePublic(n.encryptionKey); err != nil {
			return nil, fail(ErrInvalidCommit, "encryption key of a path")
		}
		if !keys.addEncryption(n.encryptionKey) {
			return nil, fail(ErrDuplicate, "encryption key of a path")
		}
		if len(n.secrets) != len(t.recipients(steps[i], added)) {
			return nil, fail(ErrInvalidCommit, "path has the wrong number of ciphertexts")
		}
	}
	if !keys.addEncryption(u.leaf.encryptionKey) {
		return nil, fail(ErrDuplicate, "encryption key")
	}
	above := t.setPath(sender, steps, func(i int) []byte { return bytes.Clone(u.nodes[i].encryptionKey) })
	if !bytes.Equal(above, u.leaf.parentHash) {
		return nil, fail(ErrInvalidCommit, "parent hash of a path")
	}
	t.setLeaf(sender, u.leaf.clone())
	return steps, nil
}

// openPath decrypts the one path secret that is meant for us and derives those
// above it. It adds the keys of the path to ours.
func (t *tree) openPath(u *updatePath, steps []pathStep, self uint32, keys privateKeys, context []byte, added []uint32) (commit secret, err error) {
	at := slices.IndexFunc(steps, func(s pathStep) bool { return inSubtree(2*self, s.copath) })
	if at < 0 {
		return commit, fail(ErrInvalidCommit, "path does not reach us")
	}
	recipients := t.recipients(steps[at], added)
	i := slices.IndexFunc(recipients, func(x uint32) bool { return keys[x] != nil })
	if i < 0 {
		return commit, fail(ErrInvalidCommit, "path is not for us")
	}
	s := u.nodes[at].secrets[i]
	plain, err := t.suite.open(keys[recipients[i]], "UpdatePathNode", context, s.enc, s.ciphertext)
	if err != nil || len(plain) != hashSize {
		return commit, fail(ErrInvalidCommit, "path cannot be decrypted")
	}
	pathSecret := secret(plain)
	clear(plain)
	return t.climb(&pathSecret, steps[at:], keys)
}

// climb derives the keys of a path from the secret of its first node on, and
// compares them with the tree. It overwrites the secret.
func (t *tree) climb(pathSecret *secret, steps []pathStep, keys privateKeys) (commit secret, err error) {
	defer clear(pathSecret[:])
	for _, step := range steps {
		private, public, err := t.suite.nodeKeys(pathSecret)
		if err != nil {
			return commit, fail(ErrInvalidCommit, "key derivation")
		}
		if !bytes.Equal(public, t.nodes[step.node].encryptionKey()) {
			return commit, fail(ErrInvalidCommit, "path secret of another key")
		}
		keys[step.node] = private
		*pathSecret = deriveSecret(pathSecret, "path")
	}
	return *pathSecret, nil
}
