package mls

import (
	"bytes"
	"crypto/hmac"
	"encoding/binary"
	"slices"
)

// groupInfo is a GroupInfo (RFC 9420 section 12.4.3).
type groupInfo struct {
	signed       []byte // GroupInfoTBS
	context      groupContext
	extensions   []extension
	confirmation []byte
	signer       uint32
	signature    []byte
}

func (r *reader) groupInfo() groupInfo {
	start := r.b
	i := groupInfo{context: readGroupContext(r), extensions: r.extensions(), confirmation: r.vec(maxMessage), signer: r.u32()}
	i.signed = start[:len(start)-len(r.b)]
	i.signature = r.vec(maxMessage)
	return i
}

// groupSecrets is a GroupSecrets.
type groupSecrets struct {
	joiner  []byte
	path    []byte // nil if absent
	hasPSKs bool
}

func (r *reader) groupSecrets() groupSecrets {
	s := groupSecrets{joiner: r.vec(hashSize)}
	if r.optional() {
		s.path = r.vec(hashSize)
	}
	s.hasPSKs = len(r.vec(maxMessage)) > 0
	return s
}

func (s *groupSecrets) append(dst []byte) []byte {
	dst = appendVec(dst, s.joiner)
	if s.path == nil {
		dst = append(dst, 0)
	} else {
		dst = appendVec(append(dst, 1), s.path)
	}
	return append(dst, 0) // no pre-shared keys
}

// welcome is a Welcome.
type welcome struct {
	suite   uint16
	entries []welcomeEntry
	info    []byte // encrypted GroupInfo
}

// welcomeEntry is an EncryptedGroupSecrets.
type welcomeEntry struct {
	ref     []byte
	secrets sealed
}

func readWelcome(message []byte) (*welcome, error) {
	r, err := open(message, formatWelcome)
	if err != nil {
		return nil, err
	}
	w := &welcome{suite: r.u16()}
	r.each(maxSecrets, func(r *reader) {
		w.entries = append(w.entries, welcomeEntry{ref: r.vec(maxMessage), secrets: r.sealed()})
	})
	w.info = r.vec(maxMessage)
	if !r.done() {
		return nil, fail(ErrMalformed, "welcome")
	}
	return w, nil
}

// infoRest is more than a GroupInfo has beside context and tree, and its AEAD
// tag: it is encrypted where it stands.
const infoRest = 256

// makeWelcome lets the added members in.
func (m *making) makeWelcome(context *groupContext, s *schedule) ([]byte, error) {
	tree := m.tree.append(nil)
	info := slices.Grow(context.encode(), len(tree)+infoRest)
	info = appendLength(info, 2+vecSize(len(tree))) // of the extensions
	info = binary.BigEndian.AppendUint16(info, extRatchetTree)
	info = appendVec(info, tree)
	info = appendVec(info, s.tag[:])
	info = binary.BigEndian.AppendUint32(info, m.self)
	signature, err := sign(m.config.Signer, "GroupInfoTBS", info)
	if err != nil {
		return nil, err
	}
	key, nonce := welcomeKey(&s.welcome)
	info = appendVec(info, signature)
	sealedInfo := aeadSeal(info[:0], &key, &nonce, info, nil)
	clear(key[:])
	var entries []byte
	for n, k := range m.change.packs {
		secrets := groupSecrets{joiner: s.joiner[:]}
		if m.path != nil {
			if p := m.path.secretFor(m.change.added[n]); p != nil {
				secrets.path = p[:]
			}
		}
		plain := secrets.append(make([]byte, 0, 2*hashSize+8))
		enc, ciphertext, err := m.suite.seal(k.initPublic, "Welcome", sealedInfo, plain)
		clear(plain)
		if err != nil {
			return nil, fail(ErrInvalidLeaf, "init key")
		}
		ref := k.ref()
		entries = sealed{enc, ciphertext}.append(appendVec(entries, ref[:]))
	}
	out := binary.BigEndian.AppendUint16(appendHeader(nil, formatWelcome), uint16(m.suite.id))
	return slices.Clip(appendVec(appendVec(out, entries), sealedInfo)), nil
}

// joining carries what only the working group's vectors need: the tree out of
// band, a pre-shared key, and leaves that came from Update proposals.
type joining struct {
	tree    []byte
	psk     secret
	hasPSKs bool
	updates bool
}

// Join enters the group of a Welcome that was made for p. It is also the way
// back for a member that was replaced by a new key package of its own: the old
// Group is then of no more use. p is used up, and its keys are overwritten, on
// success only.
//
// Every leaf of the group is shown to Config.Verify with [Joining].
func Join(c Config, p *Pending, message []byte) (*Group, error) {
	return join(c, p, message, joining{})
}

func join(c Config, p *Pending, message []byte, how joining) (*Group, error) {
	s, err := c.check()
	if err != nil {
		return nil, err
	}
	switch {
	case p == nil || p.pack == nil:
		return nil, fail(ErrInvalidTree, "key package is used up")
	case p.pack.suite != uint16(s.id) || !bytes.Equal(p.pack.leaf.signatureKey, c.Signer.Public()):
		return nil, fail(ErrUnsupported, "key package of another signer")
	}
	j := joiner{config: c, suite: s, pending: p, how: how}
	defer j.wipe()
	if err := j.openInfo(message); err != nil {
		return nil, err
	}
	if err := j.checkTree(); err != nil {
		return nil, err
	}
	g, err := j.finish()
	if err == nil {
		p.Wipe()
	}
	return g, err
}

// joiner is a join under way.
type joiner struct {
	config  Config
	suite   *suite
	pending *Pending
	how     joining

	schedule schedule
	path     []byte
	info     groupInfo
	tree     *tree
	self     uint32
}

func (j *joiner) wipe() {
	j.schedule.wipe()
	clear(j.path)
}

// openInfo decrypts the Welcome (RFC 9420 section 12.4.3.1, first half).
func (j *joiner) openInfo(message []byte) error {
	w, err := readWelcome(message)
	if err != nil {
		return err
	}
	if w.suite != uint16(j.suite.id) {
		return fail(ErrUnsupported, "cipher suite of a welcome")
	}
	ref := j.pending.pack.ref()
	at := slices.IndexFunc(w.entries, func(e welcomeEntry) bool { return bytes.Equal(e.ref, ref[:]) })
	if at < 0 {
		return fail(ErrInvalidTree, "welcome is not for our key package")
	}
	if err := j.openSecrets(w.entries[at].secrets, w.info); err != nil {
		return err
	}
	// The context is not known yet, but the key of the GroupInfo needs only
	// the joiner secret.
	member := memberSecret(&j.schedule.joiner, &j.how.psk)
	top := welcomeSecret(&member)
	key, nonce := welcomeKey(&top)
	clear(member[:])
	clear(top[:])
	plain, ok := aeadOpen(nil, &key, &nonce, w.info, nil)
	clear(key[:])
	if !ok {
		return fail(ErrDecrypt, "group info")
	}
	r := &reader{b: plain}
	j.info = r.groupInfo()
	if !r.done() {
		return fail(ErrMalformed, "group info")
	}
	return nil
}

func (j *joiner) openSecrets(s sealed, info []byte) error {
	plain, err := j.suite.open(j.pending.init, "Welcome", info, s.enc, s.ciphertext)
	if err != nil {
		return fail(ErrDecrypt, "group secrets")
	}
	defer clear(plain)
	r := &reader{b: plain}
	secrets := r.groupSecrets()
	switch {
	case !r.done() || len(secrets.joiner) != hashSize || (secrets.path != nil && len(secrets.path) != hashSize):
		return fail(ErrMalformed, "group secrets")
	case secrets.hasPSKs != j.how.hasPSKs:
		return fail(ErrUnsupported, "pre-shared key")
	}
	copy(j.schedule.joiner[:], secrets.joiner)
	j.path = bytes.Clone(secrets.path)
	return nil
}

// checkTree checks the GroupInfo, who signed it, and the whole tree: the cheap
// and telling things first.
func (j *joiner) checkTree() (err error) {
	switch {
	case j.info.context.suite != j.suite.id:
		return fail(ErrUnsupported, "cipher suite of a group")
	case len(j.info.context.extensions) > 0:
		return fail(ErrUnsupported, "extension of a group")
	case j.info.context.epoch == 0:
		return fail(ErrInvalidTree, "welcome to the first epoch")
	case len(j.info.context.groupID) == 0 || len(j.info.context.confirmed) != hashSize:
		return fail(ErrMalformed, "group context")
	}
	if j.tree, err = j.readTree(); err != nil {
		return err
	}
	signer := j.tree.leaf(j.info.signer)
	if signer == nil {
		return fail(ErrInvalidTree, "signer of the group info is nobody")
	}
	if err := signer.check(j.suite); err != nil {
		return err
	}
	if !signer.verifier.verifyLabel("GroupInfoTBS", j.info.signed, j.info.signature) {
		return fail(ErrSignature, "group info")
	}
	if j.tree.rootHash() != j.info.context.treeHash {
		return fail(ErrInvalidTree, "tree hash")
	}
	if err := j.tree.validate(j.info.context.groupID); err != nil {
		return err
	}
	return j.checkMembers()
}

func (j *joiner) readTree() (*tree, error) {
	list := j.how.tree
	at := slices.IndexFunc(j.info.extensions, func(e extension) bool { return e.kind == extRatchetTree })
	if at >= 0 {
		list = j.info.extensions[at].data
	}
	if list == nil {
		return nil, fail(ErrUnsupported, "welcome without a tree")
	}
	r := &reader{b: list}
	t, err := r.tree(j.suite)
	if err == nil && !r.done() {
		return nil, fail(ErrMalformed, "ratchet tree")
	}
	return t, err
}

// checkMembers finds our leaf and shows all leaves to the caller.
func (j *joiner) checkMembers() (err error) {
	own, found := j.pending.pack.leaf, 0
	subjects := map[string]struct{}{}
	j.tree.members(func(i uint32, l *leafNode) {
		if err != nil {
			return
		}
		if bytes.Equal(l.raw, own.raw) {
			j.self, found = i, found+1
		}
		if l.source == sourceUpdate && !j.how.updates {
			err = fail(ErrInvalidLeaf, "leaf of an update")
			return
		}
		if l.subject, err = subjectOf(j.config, l.member(i)); err != nil {
			return
		}
		if !insert(subjects, []byte(l.subject)) {
			err = fail(ErrDuplicate, "subject")
			return
		}
		err = verifyMember(j.config, l.member(i), Joining)
	})
	switch {
	case err != nil:
		return err
	case found != 1:
		return fail(ErrInvalidTree, "our leaf is not in the tree")
	case j.self == j.info.signer:
		return fail(ErrInvalidTree, "group info is signed by ourselves")
	}
	return nil
}

// finish derives the epoch.
func (j *joiner) finish() (g *Group, err error) {
	keys := privateKeys{2 * j.self: bytes.Clone(j.pending.enc)}
	defer func() {
		if err != nil {
			keys.wipeUnless(nil)
		}
	}()
	if j.path != nil {
		if err := j.climb(keys); err != nil {
			return nil, err
		}
	}
	j.schedule.derive(&j.how.psk, &j.info.context)
	if !hmac.Equal(j.schedule.tag[:], j.info.confirmation) {
		return nil, fail(ErrSignature, "confirmation tag")
	}
	now := newEpoch(j.info.context, j.tree, keys, &j.schedule.secrets, j.info.confirmation)
	return &Group{config: j.config, suite: j.suite, self: j.self, now: now}, nil
}

// climb takes the keys above us and the signer from the path secret.
func (j *joiner) climb(keys privateKeys) error {
	steps := j.tree.filteredPath(j.info.signer)
	at := slices.IndexFunc(steps, func(s pathStep) bool { return inSubtree(2*j.self, s.copath) })
	if at < 0 {
		return fail(ErrInvalidTree, "path secret of no common ancestor")
	}
	for _, step := range steps[at:] {
		if j.tree.nodes[step.node].blank() {
			return fail(ErrInvalidTree, "path secret of a blank node")
		}
	}
	pathSecret := secret(j.path)
	commit, err := j.tree.climb(&pathSecret, steps[at:], keys)
	clear(commit[:])
	if err != nil {
		return fail(ErrInvalidTree, "path secret of another key")
	}
	return nil
}
