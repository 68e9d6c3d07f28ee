package mls

import "maps"

// epoch is everything that a commit replaces. A commit is worked out on a new
// one, which takes the place of the current one at the end.
type epoch struct {
	context groupContext
	raw     []byte // context, encoded
	tree    *tree
	keys    privateKeys
	interim [hashSize]byte // transcript hash with the confirmation tag
	// secrets without those that are used up: encryption and confirmation.
	secrets  epochSecrets
	messages *secretTree
}

// newEpoch starts an epoch of the given secrets; what must not be kept of them
// is overwritten.
func newEpoch(context groupContext, t *tree, keys privateKeys, s *epochSecrets, tag []byte) *epoch {
	e := &epoch{
		context: context, raw: context.encode(), tree: t, keys: keys,
		interim:  interimHash(context.confirmed, tag),
		messages: newSecretTree(&s.encryption, t.width()),
	}
	clear(s.encryption[:])
	clear(s.confirmation[:])
	e.secrets = *s
	s.wipe()
	return e
}

// retire overwrites what is of no use once next has begun, and returns what
// decrypts the messages still on their way.
func (e *epoch) retire(next *epoch) *pastEpoch {
	p := &pastEpoch{
		number: e.context.epoch, raw: e.raw, senderData: e.secrets.senderData,
		messages: e.messages, members: make(map[uint32]pastMember, e.tree.size()),
	}
	e.tree.members(func(i uint32, l *leafNode) {
		p.members[i] = pastMember{credential: l.credential, signatureKey: l.signatureKey, verifier: l.verifier}
	})
	e.secrets.wipe()
	e.keys.wipeUnless(next.keys)
	return p
}

func (e *epoch) wipe() {
	e.secrets.wipe()
	e.keys.wipeUnless(nil)
	e.messages.wipe()
	e.tree, e.keys = nil, nil
}

// pastEpoch decrypts messages of an epoch that has ended.
type pastEpoch struct {
	number     uint64
	raw        []byte // GroupContext
	senderData secret
	messages   *secretTree
	members    map[uint32]pastMember
}

// pastMember is who was at a leaf.
type pastMember struct {
	credential, signatureKey []byte
	verifier                 *verifyKey
}

func (p *pastEpoch) wipe() {
	clear(p.senderData[:])
	p.messages.wipe()
}

// schedule derives the secrets of the next epoch (RFC 9420 section 8) and the
// confirmation tag. It overwrites joiner only if it is not returned.
type schedule struct {
	joiner  secret
	secrets epochSecrets
	welcome secret
	tag     [hashSize]byte
}

// derive fills the schedule from the joiner secret. psk is zeros in SLIM.
func (s *schedule) derive(psk *secret, context *groupContext) {
	member := memberSecret(&s.joiner, psk)
	s.welcome = welcomeSecret(&member)
	top := epochSecret(&member, context.encode())
	s.secrets = deriveEpoch(&top)
	s.tag = confirmationTag(&s.secrets.confirmation, context.confirmed)
	clear(member[:])
	clear(top[:])
}

func (s *schedule) wipe() { *s = schedule{} }

// nextContext is the GroupContext that path secrets are encrypted with: of the
// next epoch, but without the commit in its transcript.
func (e *epoch) nextContext(t *tree) groupContext {
	c := e.context
	c.epoch++
	c.treeHash = t.rootHash()
	return c
}

// advance derives the secrets that follow e.
func (e *epoch) advance(commit, psk *secret, context *groupContext) (s schedule) {
	s.joiner = joinerSecret(&e.secrets.init, commit, context.encode())
	s.derive(psk, context)
	return s
}

// copyKeys is where a commit starts its private keys from.
func (e *epoch) copyKeys() privateKeys { return maps.Clone(e.keys) }
