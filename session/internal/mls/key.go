package mls

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"slices"

	"github.com/thomas-vilte/mls-go/ciphersuite"
)

const suite = ciphersuite.MLS128DHKEMP256

// keyHolder is a Signer that also gives its key away. The library signs
// commits itself, so Commit needs one; everything else signs through Signer.
type keyHolder interface{ ECDSA() *ecdsa.PrivateKey }

func signingKey(s Signer) (*ciphersuite.SignaturePrivateKey, error) {
	h, ok := s.(keyHolder)
	if !ok {
		return nil, fail(ErrUnsupported, "signer does not hold its key")
	}
	return ciphersuite.NewSignaturePrivateKey(h.ECDSA()), nil
}

type signer struct {
	key    *ecdsa.PrivateKey
	public []byte
}

// NewSignatureKey makes a private key: a P-256 scalar of 32 bytes.
func NewSignatureKey(s Suite, rnd io.Reader) ([]byte, error) {
	if s != P256 {
		return nil, fail(ErrUnsupported, "cipher suite")
	}
	for range 8 { // a random scalar is out of range once in 2^32
		b, err := read32(rnd)
		if err != nil {
			return nil, err
		}
		if _, err := ecdh.P256().NewPrivateKey(b); err == nil {
			return b, nil
		}
	}
	return nil, fail(ErrUnsupported, "no randomness")
}

// NewSigner makes a Signer of a key of [NewSignatureKey].
func NewSigner(s Suite, priv []byte) (Signer, error) {
	if s != P256 {
		return nil, fail(ErrUnsupported, "cipher suite")
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), priv)
	if err != nil {
		return nil, fail(ErrMalformed, "private key")
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, fail(ErrMalformed, "private key")
	}
	return &signer{key: key, public: public}, nil
}

func (s *signer) Public() []byte { return slices.Clone(s.public) }

func (s *signer) ECDSA() *ecdsa.PrivateKey { return s.key }

func (s *signer) Sign(msg []byte) ([]byte, error) {
	digest := sha256.Sum256(msg)
	return ecdsa.SignASN1(rand.Reader, s.key, digest[:])
}

// signLabelled is SignWithLabel (RFC 9420 section 5.1.2).
func signLabelled(s Signer, label string, content []byte) ([]byte, error) {
	sig, err := s.Sign(ciphersuite.NewSignContent(label, content).Marshal())
	if err != nil {
		return nil, &Error{Kind: ErrUnsupported, Reason: "signer failed", Cause: err}
	}
	return sig, nil
}

// verifyLabelled is VerifyWithLabel (RFC 9420 section 5.1.2).
func verifyLabelled(public []byte, label string, content, sig []byte) error {
	return guard(ErrSignature, "", func() error {
		key := ciphersuite.NewMLSSignaturePublicKey(public, suite.SignatureScheme())
		return ciphersuite.VerifyWithLabel(key, label, content, ciphersuite.NewSignature(sig))
	})
}

func validPoint(b []byte) bool {
	if len(b) != keySize {
		return false
	}
	_, err := ecdh.P256().NewPublicKey(b)
	return err == nil
}
