package mls

import (
	"bytes"
	"crypto/rand"
	"slices"
	"testing"
)

// bentCommit is a commit of a member's that a test can bend at each stage. All
// that follows a bent stage is consistent with it: tree hash, parent hashes,
// encryption, signature and tags, so that only the check for the bent value can
// refuse the message. The committer does not change.
type bentCommit struct {
	from *Group
	// list is in the order of the wire. A proposal with a reference is sent as
	// that and applied as what it stands for.
	list        []*proposal
	front, back []byte // encoded ProposalOrRefs around list, which change nothing
	pathless    bool

	// Bends; nil is none.
	first       *secret // path secret of the lowest node, instead of a random one
	leafSeed    *secret // of the leaf's key pair, instead of a random one
	bendSteps   func([]pathStep) []pathStep
	bendKey     func(step int, public []byte) []byte
	bendLeaf    func(*leafDraft)
	bendContext func(*groupContext) // that path secrets are encrypted with
	bendSecret  func(step int, plain []byte) []byte
	bendUpdate  func(*updatePath)
	bendCommit  func(*secret)
	bendTag     func([]byte) []byte

	// What encode works out.
	tree          *tree
	added         []uint32
	steps         []pathStep
	secrets       []secret
	keys          privateKeys
	context       groupContext // of the next epoch
	joiner        secret
	authenticator secret
	epochSecrets  epochSecrets
	confirmation  []byte
}

// encode makes the PublicMessage.
func (d *bentCommit) encode(t testing.TB) []byte {
	t.Helper()
	g := d.from
	d.tree = g.now.tree.clone()
	d.apply()
	d.keys = g.now.copyKeys()
	body := commit{proposals: d.list}
	var commitSecret secret
	if !d.pathless {
		body.path, commitSecret = d.makePath(t)
	}
	if d.bendCommit != nil {
		d.bendCommit(&commitSecret)
	}
	d.keys.prune(d.tree)
	f := framed{format: formatPublic, kind: contentCommit}
	f.raw = d.appendBody(appendHead(nil, g.now.context.groupID, g.now.context.epoch, g.self, nil, contentCommit), &body)
	var err error
	if f.signature, err = g.config.Signer.Sign(f.signContent(nil, g.now.raw)); err != nil {
		t.Fatal(err)
	}
	d.context = g.now.nextContext(d.tree)
	confirmed := confirmedHash(g.now.interim[:], f.transcriptInput())
	d.context.confirmed = confirmed[:]
	s := g.now.advance(&commitSecret, &secret{}, &d.context)
	d.joiner, d.authenticator, d.epochSecrets = s.joiner, s.secrets.authenticator, s.secrets
	d.confirmation = bytes.Clone(s.tag[:])
	if d.bendTag != nil {
		d.confirmation = d.bendTag(d.confirmation)
	}
	f.confirmation = d.confirmation
	return f.appendPublic(nil, &g.now.secrets.membership, g.now.raw)
}

// appendBody is commit.append with room for proposals that the core does not
// know.
func (d *bentCommit) appendBody(dst []byte, c *commit) []byte {
	plain := c.append(nil)
	r := &reader{b: plain}
	list := slices.Concat(d.front, r.vec(maxMessage), d.back)
	return append(appendVec(dst, list), r.b...)
}

// apply does what the proposals say, however absurd.
func (d *bentCommit) apply() {
	d.added = nil
	for _, p := range d.list {
		if p.kind == proposalUpdate {
			d.tree.replace(d.from.self, p.update)
		}
	}
	for _, p := range d.list {
		if p.kind == proposalRemove && d.tree.leaf(p.remove) != nil {
			d.tree.remove(p.remove)
		}
	}
	d.tree.shrink()
	for _, p := range d.list {
		if p.kind != proposalAdd {
			continue
		}
		i := uint32(0)
		for d.tree.leaf(i) != nil {
			i++
		}
		if i >= d.tree.width() {
			d.tree.resize(2 * d.tree.width())
		}
		d.tree.setLeaf(i, p.add.leaf)
		for _, x := range directPath(2*i, d.tree.width()) {
			if n := d.tree.nodes[x].parent; n != nil {
				d.tree.nodes[x].parent = n.withUnmerged(i)
			}
		}
		d.added = append(d.added, i)
	}
}

// makePath makes the UpdatePath and the commit secret.
func (d *bentCommit) makePath(t testing.TB) (*updatePath, secret) {
	t.Helper()
	g, s := d.from, d.from.suite
	seed, at := orRandom(t, d.leafSeed), orRandom(t, d.first)
	private, public, err := s.deriveKeyPair(&seed)
	if err != nil {
		t.Fatal(err)
	}
	d.keys[2*g.self] = private
	if d.steps = d.tree.filteredPath(g.self); d.bendSteps != nil {
		d.steps = d.bendSteps(d.steps)
	}
	d.secrets = nil
	publics := make([][]byte, len(d.steps))
	for i, step := range d.steps {
		d.secrets = append(d.secrets, at)
		if d.keys[step.node], publics[i], err = s.nodeKeys(&at); err != nil {
			t.Fatal(err)
		}
		if d.bendKey != nil {
			publics[i] = d.bendKey(i, publics[i])
		}
		at = deriveSecret(&at, "path")
	}
	leaf := draftLeaf(g.now.tree.leaf(g.self), g.config.Signer, nil, 0)
	leaf.source, leaf.encryptionKey = sourceCommit, public
	leaf.place = appendPlace(nil, g.now.context.groupID, g.self)
	leaf.parentHash = d.tree.setPath(g.self, d.steps, func(i int) []byte { return publics[i] })
	if d.bendLeaf != nil {
		d.bendLeaf(&leaf)
	}
	u := &updatePath{leaf: leaf.leaf(t)}
	u.leaf.subject = g.now.tree.leaf(g.self).subject
	d.tree.setLeaf(g.self, u.leaf)
	d.seal(t, u, publics)
	if d.bendUpdate != nil {
		d.bendUpdate(u)
	}
	return u, at
}

// seal encrypts the path secrets.
func (d *bentCommit) seal(t testing.TB, u *updatePath, publics [][]byte) {
	t.Helper()
	context := d.from.now.nextContext(d.tree)
	if d.bendContext != nil {
		d.bendContext(&context)
	}
	for i, step := range d.steps {
		n := pathNode{encryptionKey: publics[i]}
		for _, x := range d.tree.recipients(step, d.added) {
			plain := bytes.Clone(d.secrets[i][:])
			if d.bendSecret != nil {
				plain = d.bendSecret(i, plain)
			}
			n.secrets = append(n.secrets, sealTo(t, d.from.suite, d.tree.nodes[x].encryptionKey(), "UpdatePathNode", context.encode(), plain))
		}
		u.nodes = append(u.nodes, n)
	}
}

func sealTo(t testing.TB, s *suite, key []byte, label string, context, plain []byte) sealed {
	t.Helper()
	public, err := s.parsePublic(key)
	if err != nil {
		t.Fatal(err)
	}
	enc, ciphertext, err := s.seal(public, label, context, plain)
	if err != nil {
		t.Fatal(err)
	}
	return sealed{enc, ciphertext}
}

func orRandom(t testing.TB, s *secret) secret {
	t.Helper()
	if s != nil {
		return *s
	}
	return randomOf(t)
}

func randomOf(t testing.TB) secret {
	t.Helper()
	s, err := randomSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// enter is the committer after the commit that encode made.
func (d *bentCommit) enter(t testing.TB) *Group {
	t.Helper()
	secrets := d.epochSecrets
	return twin(t, &Group{
		config: d.from.config, suite: d.from.suite, self: d.from.self,
		now: newEpoch(d.context, d.tree, d.keys, &secrets, d.confirmation),
	})
}

// adding is the proposal to add the maker of a key package.
func adding(t testing.TB, wire []byte) *proposal {
	t.Helper()
	k, err := parseKeyPackage(wire)
	if err != nil {
		t.Fatal(err)
	}
	return &proposal{kind: proposalAdd, add: k}
}

func removing(leaf uint32) *proposal { return &proposal{kind: proposalRemove, remove: leaf} }
