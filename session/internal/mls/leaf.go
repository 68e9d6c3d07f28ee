package mls

import (
	"bytes"
	"crypto/hpke"
	"encoding/binary"
	"slices"
)

// leafNode is a LeafNode (RFC 9420 section 7.2). It is never changed once it
// is made, so that trees can share it.
type leafNode struct {
	raw    []byte // the whole encoding
	signed int    // bytes of raw before the signature

	encryptionKey, signatureKey []byte

	credType   uint16
	credential []byte
	caps       capabilities
	source     uint8
	lifetime   Lifetime // of key packages
	parentHash []byte   // of commits
	extensions []uint16 // types only: none has a meaning here
	signature  []byte

	// Parsed forms of the keys, set by check.
	public   hpke.PublicKey
	verifier *verifyKey
	// subject is set when the leaf is admitted.
	subject string
}

// lastDefaultExtension and lastDefaultProposal end the ranges of types that
// everybody supports (RFC 9420 section 7.2).
const (
	lastDefaultExtension = extExternalSenders
	lastDefaultProposal  = 7
)

// capabilities are what a client says it can do.
type capabilities struct {
	versions, suites, extensions, proposals, credentials []uint16
}

// leaf reads a LeafNode. What it returns aliases the input.
func (r *reader) leaf() *leafNode {
	start := r.b
	l := &leafNode{
		encryptionKey: r.vec(maxMessage),
		signatureKey:  r.vec(maxMessage),
		credType:      r.u16(),
	}
	switch l.credType {
	case credBasic:
		l.credential = r.vec(maxCredential)
	case credX509:
		r.vec(maxMessage) // refused by check, with the right kind of error
	default:
		r.fail()
	}
	l.caps = capabilities{r.types(), r.types(), r.types(), r.types(), r.types()}
	switch l.source = r.u8(); l.source {
	case sourcePackage:
		l.lifetime = Lifetime{NotBefore: r.u64(), NotAfter: r.u64()}
	case sourceUpdate:
	case sourceCommit:
		l.parentHash = r.vec(maxMessage)
	default:
		r.fail()
	}
	l.extensions = r.extensionTypes()
	l.signed = len(start) - len(r.b)
	l.signature = r.vec(maxMessage)
	if r.bad {
		return nil
	}
	n := len(start) - len(r.b)
	l.raw = start[:n:n]
	return l
}

// types reads a list of 16-bit values of the capabilities.
func (r *reader) types() []uint16 {
	in := r.sub(2 * maxCapability)
	list := make([]uint16, 0, len(in.b)/2)
	for len(in.b) > 0 {
		list = append(list, in.u16())
	}
	if in.bad {
		r.fail()
	}
	return list
}

// extension is one entry of an extension list.
type extension struct {
	kind uint16
	data []byte
}

// extensions reads a list without repetitions (RFC 9420 section 13.4).
func (r *reader) extensions() []extension {
	var list []extension
	r.each(maxExtensions, func(r *reader) {
		e := extension{kind: r.u16(), data: r.vec(maxMessage)}
		if slices.ContainsFunc(list, func(x extension) bool { return x.kind == e.kind }) {
			r.fail()
		}
		list = append(list, e)
	})
	return list
}

// extensionTypes reads the extensions of a leaf or key package. They mean
// nothing to us, but those of a leaf stay in the tree, and must not make it too
// large for a Welcome.
func (r *reader) extensionTypes() []uint16 {
	before := len(r.b)
	list := r.extensions()
	if before-len(r.b) > maxExtensionData {
		r.fail()
	}
	kinds := make([]uint16, len(list))
	for i, e := range list {
		kinds[i] = e.kind
	}
	return kinds
}

// clone copies the leaf out of the message it was read from.
func (l *leafNode) clone() *leafNode {
	c := (&reader{b: bytes.Clone(l.raw)}).leaf()
	c.public, c.verifier, c.subject = l.public, l.verifier, l.subject
	return c
}

func (l *leafNode) member(index uint32) Member {
	return Member{Leaf: index, Credential: l.credential, SignatureKey: l.signatureKey, Suites: l.caps.suites}
}

// check is RFC 9420 section 7.3 as far as it needs neither the group nor the
// time: what every receiver must refuse. It parses the keys.
func (l *leafNode) check(s *suite) error {
	if l.credType != credBasic {
		return fail(ErrUnsupported, "credential type")
	}
	if !slices.Contains(l.caps.credentials, credBasic) {
		return fail(ErrInvalidLeaf, "credential type is not in the capabilities")
	}
	if err := l.caps.check(l.extensions); err != nil {
		return err
	}
	var err error
	if l.public, err = s.parsePublic(l.encryptionKey); err != nil {
		return fail(ErrInvalidLeaf, "encryption key")
	}
	if l.verifier, err = s.parseVerifyKey(l.signatureKey); err != nil {
		return fail(ErrInvalidLeaf, "signature key")
	}
	return checkCredential(l.credential)
}

// check refuses default types in the lists, which must not be there (RFC 9420
// section 7.2): mls-rs refuses such a leaf, so that accepting it would split
// the group. The extensions in use must be there.
func (c *capabilities) check(used []uint16) error {
	for _, kind := range used {
		if !slices.Contains(c.extensions, kind) {
			return fail(ErrInvalidLeaf, "extension is not in the capabilities")
		}
	}
	for _, kind := range c.extensions {
		if kind <= lastDefaultExtension {
			return fail(ErrInvalidLeaf, "default extension in the capabilities")
		}
	}
	for _, kind := range c.proposals {
		if kind >= proposalAdd && kind <= lastDefaultProposal {
			return fail(ErrInvalidLeaf, "default proposal in the capabilities")
		}
	}
	return nil
}

// checkForAdding is what only the one who adds a leaf looks at: mls-rs does not
// when it receives, and a receiver that refuses forks itself off.
func (c *capabilities) checkForAdding(s *suite) error {
	if !slices.Contains(c.versions, version10) || !slices.Contains(c.suites, uint16(s.id)) {
		return fail(ErrInvalidLeaf, "version or suite is not in the capabilities")
	}
	return nil
}

// verify checks the leaf's own signature. Leaves of key packages are signed
// without their place.
func (l *leafNode) verify(groupID []byte, index uint32) bool {
	tbs := l.raw[:l.signed:l.signed]
	if l.source != sourcePackage {
		tbs = appendPlace(tbs, groupID, index)
	}
	return l.verifier.verifyLabel("LeafNodeTBS", tbs, l.signature)
}

func appendPlace(tbs, groupID []byte, index uint32) []byte {
	return binary.BigEndian.AppendUint32(appendVec(tbs, groupID), index)
}

// newLeaf is what goes into a leaf of our own.
type newLeaf struct {
	public     []byte
	credential []byte
	source     uint8
	lifetime   Lifetime
	parentHash []byte
	groupID    []byte // with index, for sources other than a key package
	index      uint32
}

// sign makes the leaf.
func (n *newLeaf) sign(s *suite, signer Signer) (*leafNode, error) {
	raw := appendVec(nil, n.public)
	raw = appendVec(raw, signer.Public())
	raw = binary.BigEndian.AppendUint16(raw, credBasic)
	raw = appendVec(raw, n.credential)
	raw = append(raw, 2, 0, version10, 2, byte(s.id>>8), byte(s.id), 0, 0, 2, 0, credBasic)
	raw = append(raw, n.source)
	switch n.source {
	case sourcePackage:
		raw = binary.BigEndian.AppendUint64(raw, n.lifetime.NotBefore)
		raw = binary.BigEndian.AppendUint64(raw, n.lifetime.NotAfter)
	case sourceCommit:
		raw = appendVec(raw, n.parentHash)
	}
	raw = append(raw, 0) // no extensions
	tbs := raw
	if n.source != sourcePackage {
		tbs = appendPlace(bytes.Clone(raw), n.groupID, n.index)
	}
	signature, err := sign(signer, "LeafNodeTBS", tbs)
	if err != nil {
		return nil, err
	}
	l := (&reader{b: appendVec(raw, signature)}).leaf()
	if l == nil {
		return nil, fail(ErrMalformed, "own leaf")
	}
	return l, l.check(s)
}
