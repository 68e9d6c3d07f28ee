package mls

import (
	"crypto/ecdh"
	"encoding/binary"
	"io"
	"slices"
	"time"

	"github.com/thomas-vilte/mls-go/ciphersuite"
	"github.com/thomas-vilte/mls-go/credentials"
	"github.com/thomas-vilte/mls-go/keypackages"
)

// Pending holds the private keys of a key package until its Welcome arrives.
type Pending struct {
	kp        *keypackages.KeyPackage
	init, enc *ecdh.PrivateKey
	spent     bool
}

// NewKeyPackage makes a key package for somebody else to add us with. It is
// valid from [LifetimeMargin] before now for [LifetimeSpan].
func NewKeyPackage(c Config, now time.Time, rnd io.Reader) (wire []byte, p *Pending, err error) {
	if err := c.check(); err != nil {
		return nil, nil, err
	}
	p, err = newPending(c, now, rnd)
	if err != nil {
		return nil, nil, err
	}
	wire = binary.BigEndian.AppendUint16(nil, version10)
	wire = binary.BigEndian.AppendUint16(wire, formatKey)
	return append(wire, p.kp.Raw...), p, nil
}

func newPending(c Config, now time.Time, rnd io.Reader) (*Pending, error) {
	initKey, err := newKeyPair(rnd)
	if err != nil {
		return nil, err
	}
	encKey, err := newKeyPair(rnd)
	if err != nil {
		return nil, err
	}
	from, until := now.Add(-LifetimeMargin).Unix(), now.Add(LifetimeSpan).Unix()
	if from < 0 {
		return nil, fail(ErrLifetime, "the clock is wrong")
	}
	kp := &keypackages.KeyPackage{
		ProtocolVersion: keypackages.MLS10,
		CipherSuite:     suite,
		InitKey:         initKey.PublicKey().Bytes(),
		LeafNode: &keypackages.LeafNode{
			EncryptionKey:     encKey.PublicKey().Bytes(),
			SignatureKeyBytes: c.Signer.Public(),
			Credential:        credentials.NewBasicCredential(slices.Clone(c.Credential)),
			Capabilities: &keypackages.Capabilities{
				ProtocolVersions: []keypackages.ProtocolVersion{keypackages.MLS10},
				CipherSuites:     []keypackages.CipherSuite{suite},
				Credentials:      []uint16{credBasic},
			},
			Lifetime:       &keypackages.Lifetime{NotBefore: uint64(from), NotAfter: uint64(until)},
			LeafNodeSource: sourcePackage,
		},
	}
	leaf := kp.LeafNode.Marshal()
	leaf = leaf[:len(leaf)-1] // the empty signature's length
	if kp.LeafNode.Signature, err = signLabelled(c.Signer, "LeafNodeTBS", leaf); err != nil {
		return nil, err
	}
	if kp.Signature, err = signLabelled(c.Signer, "KeyPackageTBS", kp.MarshalTBS()); err != nil {
		return nil, err
	}
	return restorePending(kp.Marshal(), initKey, encKey)
}

// restorePending parses the package again, so that the library treats it like
// one that came from a peer.
func restorePending(raw []byte, initKey, encKey *ecdh.PrivateKey) (*Pending, error) {
	p := &Pending{init: initKey, enc: encKey}
	err := guard(ErrMalformed, "key package", func() (err error) {
		p.kp, err = keypackages.UnmarshalKeyPackage(raw)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func newKeyPair(rnd io.Reader) (key *ecdh.PrivateKey, err error) {
	seed, err := read32(rnd)
	if err != nil {
		return nil, err
	}
	err = guard(ErrUnsupported, "key derivation", func() (err error) {
		key, err = ciphersuite.DeriveKeyPair(suite, seed)
		return err
	})
	return key, err
}

func (p *Pending) wipe() { p.spent, p.init, p.enc = true, nil, nil }

// ParseKeyPackage checks everything about a key package but its time and its
// credential: form, keys, capabilities and both signatures. The member's Leaf
// is not set.
func ParseKeyPackage(wire []byte) (Member, Lifetime, error) {
	k, err := parseKeyPackage(wire)
	if err != nil {
		return Member{}, Lifetime{}, err
	}
	return cloneMember(k.leaf.member), k.leaf.lifetime, nil
}

func parseKeyPackage(wire []byte) (wireKeyPackage, error) {
	r, err := open(wire, formatKey)
	if err != nil {
		return wireKeyPackage{}, err
	}
	k := r.keyPackage()
	if !r.done() {
		return wireKeyPackage{}, fail(ErrMalformed, "key package")
	}
	return k, k.check()
}

// check is RFC 9420 section 10.1 without the lifetime.
func (k *wireKeyPackage) check() error {
	switch {
	case k.version != version10:
		return fail(ErrUnsupported, "protocol version")
	case k.suite != uint16(suite):
		return fail(ErrUnsupported, "cipher suite")
	case k.leaf.source != sourcePackage:
		return fail(ErrInvalidLeaf, "not a leaf of a key package")
	case !validPoint(k.initKey):
		return fail(ErrInvalidLeaf, "init key")
	case string(k.initKey) == string(k.leaf.encryptionKey):
		return fail(ErrInvalidLeaf, "init key is the leaf key")
	}
	for _, ext := range k.extensions {
		if !slices.Contains(k.leaf.caps.extensions, ext) {
			return fail(ErrInvalidLeaf, "extension is not in the capabilities")
		}
	}
	if err := k.leaf.check(); err != nil {
		return err
	}
	key := k.leaf.member.SignatureKey
	if verifyLabelled(key, "LeafNodeTBS", k.leaf.signed, k.leaf.signature) != nil ||
		verifyLabelled(key, "KeyPackageTBS", k.signed, k.signature) != nil {
		return fail(ErrSignature, "key package")
	}
	return nil
}

// check is RFC 9420 section 7.3 without signature and lifetime.
func (l *wireLeaf) check() error {
	switch {
	case l.credType != credBasic:
		return fail(ErrUnsupported, "credential type")
	case !slices.Contains(l.caps.credentials, credBasic):
		return fail(ErrInvalidLeaf, "credential type is not in the capabilities")
	case !slices.Contains(l.caps.versions, version10), !slices.Contains(l.caps.suites, uint16(suite)):
		return fail(ErrInvalidLeaf, "version or suite is not in the capabilities")
	case !validPoint(l.encryptionKey):
		return fail(ErrInvalidLeaf, "encryption key")
	case !validPoint(l.member.SignatureKey):
		return fail(ErrInvalidLeaf, "signature key")
	}
	for _, ext := range l.extensions {
		if !slices.Contains(l.caps.extensions, ext) {
			return fail(ErrInvalidLeaf, "extension is not in the capabilities")
		}
	}
	// Default types must not be listed (RFC 9420 section 7.2); mls-rs refuses
	// such a leaf and would be lost to the group.
	for _, ext := range l.caps.extensions {
		if ext >= 1 && ext <= 5 {
			return fail(ErrInvalidLeaf, "default extension in the capabilities")
		}
	}
	for _, proposal := range l.caps.proposals {
		if proposal >= 1 && proposal <= 7 {
			return fail(ErrInvalidLeaf, "default proposal in the capabilities")
		}
	}
	return checkCredential(l.member.Credential)
}

// check refuses a lifetime that does not contain now. The library allows no
// skew at all, so a package that begins within ClockSkew is for a later try.
func (l Lifetime) check(now time.Time) error {
	at := uint64(max(now.Unix(), 0))
	switch {
	case at > l.NotAfter:
		return fail(ErrLifetime, "over")
	case at >= l.NotBefore:
		return nil
	case l.NotBefore-at > uint64(ClockSkew/time.Second):
		return fail(ErrLifetime, "not begun")
	}
	return &Error{Kind: ErrLifetime, Reason: "not begun: clocks differ", RetryAt: time.Unix(int64(l.NotBefore), 0)}
}

func cloneMember(m Member) Member {
	m.Credential, m.SignatureKey = slices.Clone(m.Credential), slices.Clone(m.SignatureKey)
	return m
}
