package mls

import "encoding/binary"

// groupContext is GroupContext (RFC 9420 section 8.1).
type groupContext struct {
	suite      Suite
	groupID    []byte
	epoch      uint64
	treeHash   [hashSize]byte
	confirmed  []byte // confirmed transcript hash; empty in epoch 0
	extensions []byte // content of the vector; empty in every group of ours
}

func (c *groupContext) encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, version10)
	b = binary.BigEndian.AppendUint16(b, uint16(c.suite))
	b = appendVec(b, c.groupID)
	b = binary.BigEndian.AppendUint64(b, c.epoch)
	b = appendVec(b, c.treeHash[:])
	b = appendVec(b, c.confirmed)
	return appendVec(b, c.extensions)
}

// readGroupContext reads a context of version 1. Its slices alias the input.
// The suite and the extensions are not looked at.
func readGroupContext(r *reader) groupContext {
	if r.u16() != version10 {
		r.fail()
	}
	c := groupContext{suite: Suite(r.u16()), groupID: r.vec(maxGroupID), epoch: r.u64()}
	treeHash := r.vec(hashSize)
	c.confirmed = r.vec(hashSize)
	c.extensions = r.vec(maxMessage)
	if len(c.groupID) == 0 || copy(c.treeHash[:], treeHash) != hashSize ||
		len(c.confirmed) != 0 && len(c.confirmed) != hashSize {
		r.fail()
	}
	return c
}

// The key schedule (RFC 9420 section 8), from one epoch's init secret and the
// commit secret to the next epoch's secrets:
//
//	joinerSecret -> memberSecret -> epochSecret -> deriveEpoch
//	                     `-> welcomeSecret -> welcomeKey

// joinerSecret takes the encoded GroupContext of the new epoch.
func joinerSecret(initSecret, commit *secret, context []byte) (out secret) {
	s := extract(initSecret, commit)
	expandWithLabel(&s, "joiner", context, out[:])
	return out
}

// memberSecret is the intermediate value that RFC 9420 leaves without a name.
// psk is all zero without pre-shared keys.
func memberSecret(joiner, psk *secret) secret { return extract(joiner, psk) }

func welcomeSecret(member *secret) secret { return deriveSecret(member, "welcome") }

// welcomeKey protects the GroupInfo of a Welcome (RFC 9420 section 12.4.3.1).
func welcomeKey(welcome *secret) (key [aeadKeySize]byte, nonce [aeadNonceSize]byte) {
	expandWithLabel(welcome, "key", nil, key[:])
	expandWithLabel(welcome, "nonce", nil, nonce[:])
	return key, nonce
}

// epochSecret takes the encoded GroupContext of the new epoch.
func epochSecret(member *secret, context []byte) (out secret) {
	expandWithLabel(member, "epoch", context, out[:])
	return out
}

// epochSecrets are the secrets of one epoch that SLIM has a use for.
type epochSecrets struct {
	senderData, encryption, confirmation, membership, init, authenticator secret
}

func deriveEpoch(epoch *secret) epochSecrets {
	return epochSecrets{
		senderData:    deriveSecret(epoch, "sender data"),
		encryption:    deriveSecret(epoch, "encryption"),
		confirmation:  deriveSecret(epoch, "confirm"),
		membership:    deriveSecret(epoch, "membership"),
		init:          deriveSecret(epoch, "init"),
		authenticator: deriveSecret(epoch, "authentication"),
	}
}

func (e *epochSecrets) wipe() { *e = epochSecrets{} }

// confirmedHash is the confirmed transcript hash after a commit (RFC 9420
// section 8.2). input is its ConfirmedTranscriptHashInput.
func confirmedHash(interim []byte, input []byte) [hashSize]byte { return hashOf(interim, input) }

// interimHash is the interim transcript hash (RFC 9420 section 8.2).
func interimHash(confirmed, tag []byte) [hashSize]byte {
	var stack [1 + hashSize]byte
	return hashOf(confirmed, appendVec(stack[:0], tag))
}

// confirmationTag is the MAC of a commit (RFC 9420 section 8.1).
func confirmationTag(key *secret, confirmed []byte) [hashSize]byte { return mac(key[:], confirmed) }
