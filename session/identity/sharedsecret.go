package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The token (source: agntcy/slim crates/auth/src/shared_secret.rs):
//
//	id ":" ts ":" nonce ":" claims ":" mac
//
//	id      base "_" 8 random characters of [A-Za-z0-9]
//	ts      Unix seconds, decimal
//	nonce   base64url of 12 random bytes
//	claims  base64url of {"pubkey":"<standard base64 of the public key>"}
//	mac     base64url of HMAC-SHA-256(secret, everything before the last ":")
//
// base64url is without padding.
const (
	suffixSize    = 8
	nonceSize     = 12
	macTextSize   = 43
	maxUnixSecond = 253402300799 // end of year 9999: later times overflow calculations
	suffixAlpha   = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

var rawURL = base64.RawURLEncoding.Strict()

// SharedSecret is the identity of an app among apps that hold one secret. It
// fits development and closed networks: every holder can claim any subject.
type SharedSecret struct {
	secret  Secret
	subject string
	claims  string // encoded
	signer  *p256Signer
}

var (
	_ Provider = (*SharedSecret)(nil)
	_ Verifier = (*SharedSecret)(nil)
)

// NewSharedSecret makes a new identity: the subject is base, "_" and a random
// suffix, the signature key is new. base is normally the app's name as
// "org/ns/app"; it must not be empty and must not contain ":" or white space.
func NewSharedSecret(s Secret, base string) (*SharedSecret, error) {
	if err := checkShared(s, base); err != nil {
		return nil, err
	}
	signer, err := newP256Signer()
	if err != nil {
		return nil, err
	}
	return sharedSecret(s, base+"_"+randomSuffix(), signer), nil
}

func sharedSecret(s Secret, subject string, signer *p256Signer) *SharedSecret {
	claims := `{"pubkey":"` + EncodePublicKey(signer.public) + `"}`
	return &SharedSecret{secret: s, subject: subject, claims: rawURL.EncodeToString([]byte(claims)), signer: signer}
}

func checkShared(s Secret, base string) error {
	if s.IsZero() {
		return errors.New("identity: no secret given: make one with `slimbridge secret new`")
	}
	return checkBase(base)
}

func checkBase(base string) error {
	switch {
	case base == "":
		return errors.New("identity: name is empty")
	case len(base) > MaxToken/2:
		return errors.New("identity: name is too long")
	case !utf8.ValidString(base):
		return errors.New("identity: name is not UTF-8")
	case strings.ContainsFunc(base, func(r rune) bool { return r == ':' || unicode.IsSpace(r) }):
		return fmt.Errorf("identity: name %q contains a colon or white space", base)
	}
	return nil
}

// randomSuffix draws uniformly: bytes past the last whole multiple of the
// alphabet are thrown away.
func randomSuffix() string {
	const limit = 256 - 256%len(suffixAlpha)
	suffix := make([]byte, 0, suffixSize)
	for len(suffix) < suffixSize {
		var b [1]byte
		rand.Read(b[:])
		if int(b[0]) < limit {
			suffix = append(suffix, suffixAlpha[int(b[0])%len(suffixAlpha)])
		}
	}
	return string(suffix)
}

// Format writes the subject for every verb, never the secret.
func (p *SharedSecret) Format(f fmt.State, _ rune) { io.WriteString(f, "shared secret of "+p.subject) }

// Subject is the base name with the random suffix.
func (p *SharedSecret) Subject() string { return p.subject }

// Signer is the P-256 key made with the identity.
func (p *SharedSecret) Signer() Signer { return p.signer }

// Token mints a token with a new nonce, issued at now in whole seconds.
func (p *SharedSecret) Token(now time.Time) (string, error) {
	issued := now.Unix()
	if issued < 0 || issued > maxUnixSecond {
		return "", errors.New("identity: cannot mint a token: the clock is wrong")
	}
	var nonce [nonceSize]byte
	rand.Read(nonce[:])
	return p.mint(issued, nonce), nil
}

func (p *SharedSecret) mint(issued int64, nonce [nonceSize]byte) string {
	const fixed = 10 + 16 + macTextSize + 4 // time, nonce, mac, colons
	b := make([]byte, 0, len(p.subject)+len(p.claims)+fixed+2)
	b = append(b, p.subject...)
	b = append(b, ':')
	b = strconv.AppendInt(b, issued, 10)
	b = append(b, ':')
	b = rawURL.AppendEncode(b, nonce[:])
	b = append(b, ':')
	b = append(b, p.claims...)
	mac := p.mac(b)
	b = append(b, ':')
	b = rawURL.AppendEncode(b, mac[:])
	return string(b)
}

func (p *SharedSecret) mac(signed []byte) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, p.secret.value())
	h.Write(signed)
	h.Sum(sum[:0])
	return sum
}

// Verify accepts tokens at most [TokenLife] old and at most [ClockSkew] in the
// future. It differs from upstream in refusing an empty subject and a public
// key of unknown length.
func (p *SharedSecret) Verify(token string, now time.Time) (Claims, error) {
	return p.verify(token, func(issued int64) error { return checkAge(issued, now.Unix()) })
}

// VerifyAdmitted is [SharedSecret.Verify] without the time check.
func (p *SharedSecret) VerifyAdmitted(token string) (Claims, error) {
	return p.verify(token, func(int64) error { return nil })
}

// verify keeps upstream's order: shape, time, MAC, claims.
func (p *SharedSecret) verify(token string, checkTime func(issued int64) error) (Claims, error) {
	f, err := splitToken(token)
	if err != nil {
		return Claims{}, err
	}
	if err := checkTime(f.issued); err != nil {
		return Claims{}, err
	}
	given, err := rawURL.DecodeString(f.mac)
	if err != nil || len(f.mac) != macTextSize {
		return Claims{}, ErrMalformed
	}
	want := p.mac([]byte(f.signed))
	if !hmac.Equal(given, want[:]) {
		return Claims{}, ErrForged
	}
	key, err := decodeClaims(f.claims)
	if err != nil {
		return Claims{}, err
	}
	issued := time.Unix(f.issued, 0)
	return Claims{Subject: f.subject, PublicKey: key, IssuedAt: issued, Expires: issued.Add(TokenLife)}, nil
}

type tokenFields struct {
	signed, subject, claims, mac string
	issued                       int64
}

func splitToken(token string) (tokenFields, error) {
	if len(token) > MaxToken || !utf8.ValidString(token) {
		return tokenFields{}, ErrMalformed
	}
	last := strings.LastIndexByte(token, ':')
	if last < 0 {
		return tokenFields{}, ErrMalformed
	}
	f := tokenFields{signed: token[:last], mac: token[last+1:]}
	parts := strings.SplitN(f.signed, ":", 5)
	if len(parts) != 4 || parts[0] == "" {
		return tokenFields{}, ErrMalformed
	}
	issued, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil || issued > maxUnixSecond {
		return tokenFields{}, ErrMalformed
	}
	f.subject, f.issued, f.claims = parts[0], int64(issued), parts[3]
	return f, nil
}

func checkAge(issued, now int64) error {
	switch age := now - issued; {
	case age > int64(TokenLife/time.Second):
		return ErrExpired
	case age < -int64(ClockSkew/time.Second):
		return ErrNotYetValid
	}
	return nil
}

// decodeClaims returns the public key.
func decodeClaims(claims string) ([]byte, error) {
	if strings.ContainsAny(claims, "\r\n") { // which the decoder would skip
		return nil, ErrMalformed
	}
	object, err := rawURL.DecodeString(claims)
	if err != nil {
		return nil, ErrMalformed
	}
	// Not a struct: its fields would match keys in any letter case.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		return nil, ErrMalformed
	}
	var text string
	if err := json.Unmarshal(members["pubkey"], &text); err != nil {
		return nil, ErrMalformed
	}
	key, err := DecodePublicKey(text)
	if err != nil {
		return nil, ErrMalformed
	}
	return key, nil
}
