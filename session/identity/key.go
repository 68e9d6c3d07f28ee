package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Lengths of the public keys that tokens carry; the length tells the
// algorithm (source: agntcy/slim crates/auth).
const (
	p256UncompressedSize = 65
	p256CompressedSize   = 33
)

type p256Signer struct {
	key    *ecdsa.PrivateKey
	public []byte
}

// NewSigner makes a new P-256 signature key. Every provider needs one; most
// make their own.
func NewSigner() (Signer, error) { return newP256Signer() }

// ParseSigner reads a P-256 private key from PEM, in PKCS #8 (RFC 5958) or
// SEC 1 (RFC 5915) form. It is for tokens that somebody else mints for a key of
// ours.
func ParseSigner(text []byte) (Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("identity: signature key is not PEM: make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("identity: signature key is not a P-256 private key: make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`")
	}
	return signerOf(key)
}

func newP256Signer() (*p256Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("identity: make signature key: %w", err)
	}
	return signerOf(key)
}

func signerOf(key *ecdsa.PrivateKey) (*p256Signer, error) {
	public, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("identity: encode public key: %w", err)
	}
	return &p256Signer{key: key, public: public}, nil
}

// Format writes "[redacted]" for every verb.
func (s *p256Signer) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

func (s *p256Signer) Public() []byte { return slices.Clone(s.public) }

func (s *p256Signer) Sign(msg []byte) ([]byte, error) {
	digest := sha256.Sum256(msg)
	sig, err := ecdsa.SignASN1(rand.Reader, s.key, digest[:])
	if err != nil {
		return nil, fmt.Errorf("identity: sign: %w", err)
	}
	return sig, nil
}

// VerifySignature checks sig over msg. The length of pub tells the algorithm:
// 65 and 33 bytes are a P-256 point (ECDSA over SHA-256, ASN.1 DER), 32 bytes
// an Ed25519 key. The error is [ErrPublicKey] or [ErrSignature].
func VerifySignature(pub, msg, sig []byte) error {
	if len(pub) == ed25519.PublicKeySize {
		if !ed25519.Verify(pub, msg, sig) {
			return ErrSignature
		}
		return nil
	}
	key, err := parseP256(pub)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(msg)
	if !ecdsa.VerifyASN1(key, digest[:], sig) {
		return ErrSignature
	}
	return nil
}

func parseP256(pub []byte) (*ecdsa.PublicKey, error) {
	if len(pub) == p256CompressedSize {
		pub = decompress(pub)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), pub)
	if err != nil {
		return nil, ErrPublicKey
	}
	return key, nil
}

// decompress returns the uncompressed form of a point, nil if it is none.
func decompress(pub []byte) []byte {
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), pub)
	if x == nil {
		return nil
	}
	point := make([]byte, p256UncompressedSize)
	point[0] = 4
	x.FillBytes(point[1:33])
	y.FillBytes(point[33:])
	return point
}

// EncodePublicKey is the text of a public key in tokens: base64 with padding.
func EncodePublicKey(pub []byte) string { return base64.StdEncoding.EncodeToString(pub) }

// DecodePublicKey reads that text. It must be the one encoding of its bytes,
// since peers compare texts with the key in the MLS leaf; the length must be
// one that [VerifySignature] knows. The error is [ErrPublicKey].
func DecodePublicKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !knownKeySize(len(key)) || EncodePublicKey(key) != text {
		return nil, ErrPublicKey
	}
	return key, nil
}

func knownKeySize(n int) bool {
	return n == p256UncompressedSize || n == p256CompressedSize || n == ed25519.PublicKeySize
}
