package mls

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/sha256"
	"errors"
)

// errBadKey is the cause of every refused key. Callers wrap it.
var errBadKey = errors.New("mls: bad key")

// suite is what differs between the cipher suites: the KEM and the signature
// scheme. Sizes are in bytes.
type suite struct {
	id            Suite
	kem           hpke.KEM
	publicSize    int // of HPKE public keys and encapsulated keys
	privateSize   int // of HPKE private keys
	sigPublicSize int
}

var (
	suiteX25519 = &suite{X25519, hpke.DHKEM(ecdh.X25519()), 32, 32, ed25519.PublicKeySize}
	suiteP256   = &suite{P256, hpke.DHKEM(ecdh.P256()), 65, 32, 65}
)

// suiteOf returns nil for a suite that is not supported.
func suiteOf(id Suite) *suite {
	switch id {
	case X25519:
		return suiteX25519
	case P256:
		return suiteP256
	}
	return nil
}

// parsePublic checks and imports an HPKE public key. P-256 keys are
// uncompressed points. X25519 keys of small order, with which every shared
// secret is zero, are refused here and not at their first use, so that they
// never get into a tree.
func (s *suite) parsePublic(b []byte) (hpke.PublicKey, error) {
	if len(b) != s.publicSize || s.id == X25519 && smallOrder(b) {
		return nil, errBadKey
	}
	key, err := s.kem.NewPublicKey(b)
	if err != nil {
		return nil, errBadKey
	}
	return key, nil
}

// parsePrivate imports an HPKE private key: a scalar of 32 bytes.
func (s *suite) parsePrivate(b []byte) (hpke.PrivateKey, error) {
	key, err := s.kem.NewPrivateKey(b)
	if err != nil {
		return nil, errBadKey
	}
	return key, nil
}

// deriveKeyPair is KEM.DeriveKeyPair (RFC 9180 section 7.1.3).
func (s *suite) deriveKeyPair(ikm *secret) (priv []byte, pub []byte, err error) {
	key, err := s.kem.DeriveKeyPair(ikm[:])
	if err != nil {
		return nil, nil, errBadKey
	}
	priv, err = key.Bytes()
	if err != nil {
		return nil, nil, errBadKey
	}
	return priv, key.PublicKey().Bytes(), nil
}

// smallOrderPoints are the u-coordinates below 2^255 of Curve25519's points of
// order 1, 2, 4 and 8 and of their twist, little-endian: 0, 1, two of order 8,
// p-1, p and p+1.
var smallOrderPoints = [...][32]byte{
	{},
	{1},
	{0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
		0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
	{0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
		0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
	nearPrime(0xec),
	nearPrime(0xed),
	nearPrime(0xee),
}

// nearPrime is a number that differs from p = 2^255-19 in its lowest byte.
func nearPrime(low byte) (b [32]byte) {
	for i := range b {
		b[i] = 0xff
	}
	b[0], b[31] = low, 0x7f
	return b
}

// smallOrder ignores the top bit, as X25519 does (RFC 7748 section 5).
func smallOrder(b []byte) bool {
	u := [32]byte(b)
	u[31] &= 0x7f
	for _, p := range smallOrderPoints {
		if u == p {
			return true
		}
	}
	return false
}

// verifyKey is a parsed signature public key. Exactly one field is set.
type verifyKey struct {
	p256 *ecdsa.PublicKey
	ed   ed25519.PublicKey
}

// parseVerifyKey checks and imports a signature public key. An Ed25519 key
// that is no point of the curve is accepted and verifies nothing.
func (s *suite) parseVerifyKey(b []byte) (*verifyKey, error) {
	if len(b) != s.sigPublicSize {
		return nil, errBadKey
	}
	if s.id == X25519 {
		return &verifyKey{ed: ed25519.PublicKey(append([]byte(nil), b...))}, nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), b)
	if err != nil {
		return nil, errBadKey
	}
	return &verifyKey{p256: key}, nil
}

// verify checks a signature over an encoded SignContent. ECDSA signatures are
// strict DER; a high S is valid, since peers do not normalise theirs.
func (k *verifyKey) verify(signContent, sig []byte) bool {
	if k.p256 != nil {
		digest := sha256.Sum256(signContent)
		return ecdsa.VerifyASN1(k.p256, digest[:], sig)
	}
	return ed25519.Verify(k.ed, signContent, sig)
}

// verifyLabel is VerifyWithLabel (RFC 9420 section 5.1.2).
func (k *verifyKey) verifyLabel(label string, content, sig []byte) bool {
	return k.verify(signContent(nil, label, content), sig)
}

// signContent appends SignContent (RFC 9420 section 5.1.2) whose content is
// the concatenation of parts.
func signContent(dst []byte, label string, parts ...[]byte) []byte {
	return appendLabelled(dst, label, parts...)
}

// sign is SignWithLabel (RFC 9420 section 5.1.2).
func sign(s Signer, label string, content []byte) ([]byte, error) {
	sig, err := s.Sign(signContent(nil, label, content))
	if err != nil {
		return nil, &Error{Kind: ErrUnsupported, Reason: "signer failed", Cause: err}
	}
	return sig, nil
}
