package mls

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"slices"
)

// NewSignatureKey makes a private key of 32 bytes: for [P256] a scalar, for
// [X25519] the seed of an Ed25519 key. All of it comes from rnd.
func NewSignatureKey(s Suite, rnd io.Reader) (priv []byte, err error) {
	if suiteOf(s) == nil {
		return nil, fail(ErrUnsupported, "cipher suite")
	}
	for range 8 { // a random P-256 scalar is out of range once in 2^32
		b, err := randomSecret(rnd)
		if err != nil {
			return nil, err
		}
		if s == X25519 {
			return b[:], nil
		}
		if _, err := ecdh.P256().NewPrivateKey(b[:]); err == nil {
			return b[:], nil
		}
	}
	return nil, fail(ErrUnsupported, "no randomness")
}

// NewSigner makes a [Signer] of a key of [NewSignatureKey]. For [X25519] it
// also takes the seed followed by the public key, the form of other libraries.
// The nonces of ECDSA come from the system's random source.
func NewSigner(s Suite, priv []byte) (Signer, error) {
	switch s {
	case X25519:
		return newEd25519Signer(priv)
	case P256:
		return newP256Signer(priv)
	}
	return nil, fail(ErrUnsupported, "cipher suite")
}

type p256Signer struct {
	key    *ecdsa.PrivateKey
	public []byte
}

func newP256Signer(priv []byte) (Signer, error) {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), priv)
	if err != nil {
		return nil, fail(ErrMalformed, "private key")
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, fail(ErrMalformed, "private key")
	}
	return &p256Signer{key, public}, nil
}

func (s *p256Signer) Public() []byte { return slices.Clone(s.public) }

func (s *p256Signer) Sign(msg []byte) ([]byte, error) {
	digest := sha256.Sum256(msg)
	return ecdsa.SignASN1(rand.Reader, s.key, digest[:])
}

type ed25519Signer struct{ key ed25519.PrivateKey }

func newEd25519Signer(priv []byte) (Signer, error) {
	if len(priv) != ed25519.SeedSize && len(priv) != ed25519.PrivateKeySize {
		return nil, fail(ErrMalformed, "private key")
	}
	key := ed25519.NewKeyFromSeed(priv[:ed25519.SeedSize])
	// Signing under a public key that is not the seed's would give the key away.
	if !bytes.HasPrefix(key, priv) {
		return nil, fail(ErrMalformed, "private key")
	}
	return &ed25519Signer{key}, nil
}

func (s *ed25519Signer) Public() []byte {
	return slices.Clone(s.key[ed25519.SeedSize:])
}

func (s *ed25519Signer) Sign(msg []byte) ([]byte, error) {
	return ed25519.Sign(s.key, msg), nil
}
