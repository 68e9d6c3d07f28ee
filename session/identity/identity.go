package identity

import (
	"errors"
	"time"
)

// Signer is the app's signature key. The same key signs control messages and
// is the signature key of the app's MLS leaves.
type Signer interface {
	// Public is the public key as tokens carry it: for P-256 the 65-byte
	// uncompressed point. The caller owns the returned slice.
	Public() []byte
	// Sign signs msg itself, not a digest of it. P-256: ECDSA over SHA-256,
	// ASN.1 DER.
	Sign(msg []byte) ([]byte, error)
}

// Provider is the identity of one app.
type Provider interface {
	// Subject is what [Claims.Subject] will be at verifiers. It is fixed for
	// the life of the provider; the app's 128-bit id derives from it.
	Subject() string
	// Token mints a new token, valid from now on.
	Token(now time.Time) (string, error)
	// Signer is the key whose public part is in every token.
	Signer() Signer
}

// Claims is what a verified token says.
type Claims struct {
	Subject   string
	PublicKey []byte // 65 or 33 bytes: P-256 point; 32 bytes: Ed25519
	IssuedAt  time.Time
	Expires   time.Time
}

// Verifier checks tokens of peers. Both methods return an error that wraps one
// of the sentinels of this package.
type Verifier interface {
	// Verify checks everything, the validity period at the time now included.
	Verify(token string, now time.Time) (Claims, error)
	// VerifyAdmitted checks everything but the period. It is for members that
	// were admitted while their token was valid: tokens inside MLS leaves are
	// not renewed, so a group older than a token's life would be unusable.
	VerifyAdmitted(token string) (Claims, error)
}

// Limits and times of tokens.
const (
	// MaxToken is the longest token looked at, in bytes.
	MaxToken = 32 << 10
	// TokenLife is how old a shared-secret token may be, inclusive
	// (source: agntcy/slim crates/auth/src/shared_secret.rs).
	TokenLife = 3600 * time.Second
	// ClockSkew is how far in the future a token may be issued, inclusive
	// (same source).
	ClockSkew = 5 * time.Second
)

// Reasons for refusing a token or a signature.
var (
	ErrMalformed   = errors.New("identity: token malformed")
	ErrExpired     = errors.New("identity: token expired")
	ErrNotYetValid = errors.New("identity: token issued in the future (clocks differ?)")
	ErrForged      = errors.New("identity: token not made with our secret")
	ErrSignature   = errors.New("identity: signature does not verify")
	ErrPublicKey   = errors.New("identity: public key invalid")
)

// Further reasons for refusing a token, of identities that are not a shared
// secret.
var (
	// ErrUntrusted is about a token that no key we trust has signed, or not
	// with an algorithm that belongs to that key.
	ErrUntrusted = errors.New("identity: token not signed by a key we trust: give the verifier the signer's public key")
	// ErrNoKeys is about us: the keys to verify with cannot be read.
	ErrNoKeys   = errors.New("identity: no keys to verify tokens with")
	ErrAudience = errors.New("identity: token is for another audience: configure one audience on both sides, or none")
	ErrIssuer   = errors.New("identity: token of another issuer: configure one issuer on both sides, or none here")
	// ErrSubject is about a subject that is not allowed, or not for the key
	// that signed the token.
	ErrSubject = errors.New("identity: token names a subject it may not name")
	// ErrNoPublicKey is about a token that carries no signature key, such as
	// one of an identity provider that knows nothing of SLIM.
	ErrNoPublicKey = errors.New("identity: token carries no signature key of its subject")
)
