package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Limits of keys.
const (
	// MinSecret is the fewest bytes of an HMAC key, as for shared secrets.
	MinSecret = 32
	// MinRSA and MaxRSA are bits of a modulus: less is weak (RFC 7518 section
	// 3.3), more costs too much to verify.
	MinRSA, MaxRSA = 2048, 8192
	// MaxKeys is the most keys of a set. A token without a known key id is
	// tried with every key that fits.
	MaxKeys = 32

	maxKeyID = 1024 // bytes
)

var (
	algHMAC = []string{"HS256", "HS384", "HS512"}
	algRSA  = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
)

// Key is a key with everything it may be used for. It prints as "[redacted]".
type Key struct {
	ID     string // empty if it has none
	algs   []string
	public crypto.PublicKey // nil for a secret
	verify func() any       // what golang-jwt wants; a closure, so that nothing prints it
	sign   func() any       // nil if the key only verifies
}

// NewSecret makes an HMAC key of a copy of secret for the one algorithm alg.
func NewSecret(id string, secret []byte, alg string) (*Key, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("HMAC key has %d bytes, needs at least %d", len(secret), MinSecret)
	}
	if alg == "" {
		return nil, errors.New("HMAC key without an algorithm: say HS256, HS384 or HS512")
	}
	secret = slices.Clone(secret)
	material := func() any { return secret }
	k := &Key{ID: id, algs: algHMAC, verify: material, sign: material}
	return k, k.narrow(alg)
}

// NewPublic makes a key that verifies. alg may be empty: whatever fits.
func NewPublic(id string, pub crypto.PublicKey, alg string) (*Key, error) {
	algs, err := algorithmsOf(pub)
	if err != nil {
		return nil, err
	}
	k := &Key{ID: id, algs: algs, public: pub, verify: func() any { return pub }}
	return k, k.narrow(alg)
}

// NewPrivate makes a key that signs and verifies. alg may be empty if only one
// fits.
func NewPrivate(id string, private crypto.Signer, alg string) (*Key, error) {
	k, err := NewPublic(id, private.Public(), alg)
	if err != nil {
		return nil, err
	}
	k.sign = func() any { return private }
	return k, nil
}

func algorithmsOf(pub crypto.PublicKey) ([]string, error) {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if bits := pub.N.BitLen(); bits < MinRSA || bits > MaxRSA {
			return nil, fmt.Errorf("RSA key has %d bits, want %d to %d", bits, MinRSA, MaxRSA)
		}
		if pub.E < 3 || pub.E&1 == 0 {
			return nil, errors.New("RSA key with an invalid exponent")
		}
		return algRSA, nil
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		case elliptic.P521():
			return []string{"ES512"}, nil
		}
		return nil, errors.New("EC key of an unsupported curve: want P-256 or P-384")
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, errors.New("unsupported kind of key: want RSA, EC or Ed25519")
}

// narrow leaves one algorithm.
func (k *Key) narrow(alg string) error {
	if len(k.ID) > maxKeyID {
		return errors.New("key id is too long")
	}
	if alg == "" {
		return nil
	}
	if !slices.Contains(k.algs, alg) {
		return fmt.Errorf("algorithm does not fit the key, which is for %v", k.algs)
	}
	k.algs = []string{alg}
	return nil
}

// Narrow returns the key for alg alone; an error if it is not for alg.
func (k *Key) Narrow(alg string) (*Key, error) {
	narrowed := *k
	return &narrowed, narrowed.narrow(alg)
}

// Algorithms is what the key may be used for.
func (k *Key) Algorithms() []string { return slices.Clone(k.algs) }

// CanSign reports whether the key is private or a secret.
func (k *Key) CanSign() bool { return k.sign != nil }

// Public is the public key, nil for an HMAC secret.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Format writes "[redacted]" for every verb.
func (k *Key) Format(f fmt.State, _ rune) { io.WriteString(f, "[redacted]") }
