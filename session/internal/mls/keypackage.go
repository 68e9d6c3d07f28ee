package mls

import (
	"crypto/hpke"
	"encoding/binary"
	"io"
	"slices"
	"time"
)

// keyPackage is a KeyPackage (RFC 9420 section 10).
type keyPackage struct {
	raw        []byte // without the header of MLSMessage
	signed     int    // bytes of raw before the signature
	version    uint16
	suite      uint16
	initKey    []byte
	leaf       *leafNode
	extensions []uint16
	signature  []byte

	initPublic hpke.PublicKey // set by check
}

// keyPackage reads a KeyPackage. What it returns aliases the input.
func (r *reader) keyPackage() *keyPackage {
	start := r.b
	k := &keyPackage{version: r.u16(), suite: r.u16(), initKey: r.vec(maxMessage), leaf: r.leaf()}
	k.extensions = r.extensionTypes()
	k.signed = len(start) - len(r.b)
	k.signature = r.vec(maxMessage)
	if r.bad {
		return nil
	}
	n := len(start) - len(r.b)
	k.raw = start[:n:n]
	return k
}

// ref is the KeyPackageRef (RFC 9420 section 5.2).
func (k *keyPackage) ref() [hashSize]byte {
	return refHash("MLS 1.0 KeyPackage Reference", k.raw)
}

// check is RFC 9420 section 10.1 without the lifetime and without what only the
// adder looks at.
func (k *keyPackage) check(s *suite) error {
	switch {
	case k.version != version10:
		return fail(ErrUnsupported, "protocol version of a key package")
	case k.suite != uint16(s.id):
		return fail(ErrUnsupported, "cipher suite of a key package")
	case k.leaf.source != sourcePackage:
		return fail(ErrInvalidLeaf, "not a leaf of a key package")
	case string(k.initKey) == string(k.leaf.encryptionKey):
		return fail(ErrInvalidLeaf, "init key is the leaf key")
	}
	var err error
	if k.initPublic, err = s.parsePublic(k.initKey); err != nil {
		return fail(ErrInvalidLeaf, "init key")
	}
	for _, kind := range k.extensions {
		if !slices.Contains(k.leaf.caps.extensions, kind) {
			return fail(ErrInvalidLeaf, "extension is not in the capabilities")
		}
	}
	if err := k.leaf.check(s); err != nil {
		return err
	}
	if !k.leaf.verify(nil, 0) {
		return fail(ErrSignature, "leaf of a key package")
	}
	if !k.leaf.verifier.verifyLabel("KeyPackageTBS", k.raw[:k.signed], k.signature) {
		return fail(ErrSignature, "key package")
	}
	return nil
}

// check refuses a lifetime that does not contain now, give or take [ClockSkew].
func (l Lifetime) check(now time.Time) error {
	at, skew := uint64(max(now.Unix(), 0)), uint64(ClockSkew/time.Second)
	switch {
	case at > skew && at-skew > l.NotAfter:
		return fail(ErrLifetime, "over")
	case at+skew >= l.NotBefore:
		return nil
	case l.NotBefore > 1<<40:
		return fail(ErrLifetime, "not begun")
	}
	return &Error{Kind: ErrLifetime, Reason: "not begun: clocks differ", RetryAt: time.Unix(int64(l.NotBefore-skew), 0)}
}

// ParseKeyPackage checks everything about a key package but its time and its
// credential: form, keys, capabilities and both signatures. The member's Leaf
// is not set. The suite is the package's own.
func ParseKeyPackage(wire []byte) (Member, Lifetime, error) {
	k, err := parseKeyPackage(wire)
	if err != nil {
		return Member{}, Lifetime{}, err
	}
	s := suiteOf(Suite(k.suite))
	if s == nil {
		return Member{}, Lifetime{}, fail(ErrUnsupported, "cipher suite of a key package")
	}
	if err := k.check(s); err != nil {
		return Member{}, Lifetime{}, err
	}
	if err := k.leaf.caps.checkForAdding(s); err != nil {
		return Member{}, Lifetime{}, err
	}
	return k.leaf.clone().member(0), k.leaf.lifetime, nil
}

func parseKeyPackage(wire []byte) (*keyPackage, error) {
	r, err := open(wire, formatKey)
	if err != nil {
		return nil, err
	}
	k := r.keyPackage()
	if !r.done() {
		return nil, fail(ErrMalformed, "key package")
	}
	return k, nil
}

// Pending holds the private keys of a key package until its Welcome arrives.
type Pending struct {
	pack      *keyPackage
	init, enc []byte // private keys
}

// NewKeyPackage makes a key package for somebody else to add us with. It is
// valid from [LifetimeMargin] before now for [LifetimeSpan].
func NewKeyPackage(c Config, now time.Time, rnd io.Reader) (wire []byte, p *Pending, err error) {
	s, err := c.check()
	if err != nil {
		return nil, nil, err
	}
	from, until := now.Add(-LifetimeMargin).Unix(), now.Add(LifetimeSpan).Unix()
	if from < 0 {
		return nil, nil, fail(ErrLifetime, "the clock is wrong")
	}
	p = &Pending{}
	var initPublic, encPublic []byte
	if p.init, initPublic, err = s.newKeyPair(rnd); err != nil {
		return nil, nil, err
	}
	if p.enc, encPublic, err = s.newKeyPair(rnd); err != nil {
		return nil, nil, err
	}
	leaf, err := (&newLeaf{
		public: encPublic, credential: c.Credential, source: sourcePackage,
		lifetime: Lifetime{NotBefore: uint64(from), NotAfter: uint64(until)},
	}).sign(s, c.Signer)
	if err != nil {
		return nil, nil, err
	}
	wire = appendHeader(nil, formatKey)
	wire = binary.BigEndian.AppendUint16(wire, version10)
	wire = binary.BigEndian.AppendUint16(wire, uint16(s.id))
	wire = appendVec(wire, initPublic)
	wire = append(wire, leaf.raw...)
	wire = append(wire, 0) // no extensions
	signature, err := sign(c.Signer, "KeyPackageTBS", wire[headerSize:])
	if err != nil {
		return nil, nil, err
	}
	wire = appendVec(wire, signature)
	if p.pack, err = parseKeyPackage(slices.Clone(wire)); err != nil {
		return nil, nil, err
	}
	return wire, p, nil
}

// newKeyPair derives an HPKE key pair of 32 random bytes.
func (s *suite) newKeyPair(rnd io.Reader) (private, public []byte, err error) {
	seed, err := randomSecret(rnd)
	if err != nil {
		return nil, nil, err
	}
	defer clear(seed[:])
	private, public, err = s.deriveKeyPair(&seed)
	if err != nil {
		return nil, nil, fail(ErrUnsupported, "key derivation")
	}
	return private, public, nil
}

// Wipe forgets the keys; no Welcome can be joined any more.
func (p *Pending) Wipe() {
	clear(p.init)
	clear(p.enc)
	p.init, p.enc, p.pack = nil, nil, nil
}
