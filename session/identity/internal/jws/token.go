package jws

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/slimbridge/slimbridge/session/identity"
)

const (
	// maxUnixSecond is the end of the year 9999: later times overflow
	// calculations.
	maxUnixSecond = 253402300799
	maxAudiences  = 32
	maxSubject    = 1024 // bytes; verified tokens are remembered
)

// parser only decodes: signature and claims are checked here. Strict: one text
// per value.
var parser = jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())

// Token is a decoded token.
type Token struct {
	Claims  Claims
	KeyID   string // of the header, empty if absent
	alg     string
	decoded *jwt.Token
	signed  string
}

// Parse decodes a token and checks nothing else. The error is
// [identity.ErrMalformed] or, for an unknown algorithm, [identity.ErrUntrusted].
func Parse(token string) (*Token, error) {
	// The base64 decoder would skip line ends.
	if len(token) > identity.MaxToken || strings.ContainsAny(token, "\r\n") {
		return nil, identity.ErrMalformed
	}
	claims := jwt.MapClaims{}
	decoded, parts, err := parser.ParseUnverified(token, claims)
	switch {
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return nil, identity.ErrUntrusted
	case err != nil:
		return nil, identity.ErrMalformed // err would quote the token
	}
	t := &Token{Claims: Claims(claims), decoded: decoded, alg: decoded.Method.Alg(), signed: parts[0] + "." + parts[1]}
	if kid, ok := decoded.Header["kid"]; ok {
		if t.KeyID, ok = kid.(string); !ok {
			return nil, identity.ErrMalformed
		}
	}
	// Extensions that the signer calls critical; we know none (RFC 7515
	// section 4.1.11).
	if _, ok := decoded.Header["crit"]; ok {
		return nil, identity.ErrMalformed
	}
	if typ, ok := decoded.Header["typ"]; ok {
		if s, _ := typ.(string); !strings.EqualFold(s, "JWT") && !strings.EqualFold(s, "JOSE") {
			return nil, identity.ErrMalformed // another kind of JWT (RFC 8725 section 3.11)
		}
	}
	return t, nil
}

// Verify returns the key that signed the token. A key with the token's key id
// is the only candidate; without one, every key is that fits the algorithm,
// since upstream puts the subject there, whatever the key is called (source:
// agntcy/slim crates/auth/src/jwt.rs).
func (t *Token) Verify(keys []*Key) (*Key, error) {
	if t.KeyID != "" {
		if i := slices.IndexFunc(keys, func(k *Key) bool { return k.ID == t.KeyID }); i >= 0 {
			keys = keys[i : i+1]
		}
	}
	for _, k := range keys {
		if slices.Contains(k.algs, t.alg) && t.decoded.Method.Verify(t.signed, t.decoded.Signature, k.verify()) == nil {
			return k, nil
		}
	}
	return nil, identity.ErrUntrusted
}

// Claims are a token's claims as JSON values.
type Claims map[string]any

// Text returns a claim, empty if absent.
func (c Claims) Text(name string) (string, error) {
	v, ok := c[name]
	if !ok {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", identity.ErrMalformed
	}
	return s, nil
}

// Subject returns "sub", which must be there.
func (c Claims) Subject() (string, error) {
	s, err := c.Text("sub")
	if err != nil || s == "" || len(s) > maxSubject {
		return "", identity.ErrMalformed
	}
	return s, nil
}

// Audience returns "aud", one text or an array of texts.
func (c Claims) Audience() ([]string, error) {
	switch v := c["aud"].(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		if len(v) > maxAudiences {
			return nil, identity.ErrMalformed
		}
		aud := make([]string, len(v))
		for i := range v {
			s, ok := v[i].(string)
			if !ok {
				return nil, identity.ErrMalformed
			}
			aud[i] = s
		}
		return aud, nil
	}
	return nil, identity.ErrMalformed
}

// Period is when a token is valid; zero times are absent.
type Period struct{ IssuedAt, NotBefore, Expires time.Time }

// Period returns "iat", "nbf" and "exp"; the last must be there.
func (c Claims) Period() (p Period, err error) {
	for _, claim := range []struct {
		name string
		to   *time.Time
	}{{"iat", &p.IssuedAt}, {"nbf", &p.NotBefore}, {"exp", &p.Expires}} {
		v, ok := c[claim.name]
		if !ok {
			continue
		}
		seconds, ok := v.(float64)
		if !ok || seconds < 0 || seconds > maxUnixSecond {
			return Period{}, identity.ErrMalformed
		}
		*claim.to = time.Unix(int64(math.Floor(seconds)), 0)
	}
	if p.Expires.IsZero() {
		return Period{}, identity.ErrMalformed
	}
	return p, nil
}

// Check allows for clocks that differ by [identity.ClockSkew], inclusive.
func (p Period) Check(now time.Time) error {
	second := now.Truncate(time.Second)
	latest := second.Add(identity.ClockSkew)
	switch {
	case second.After(p.Expires.Add(identity.ClockSkew)):
		return identity.ErrExpired
	case p.NotBefore.After(latest), p.IssuedAt.After(latest):
		return identity.ErrNotYetValid
	}
	return nil
}

// Header of a token that we sign.
type Header struct {
	Type      string `json:"typ"`
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid,omitempty"`
}

// Sign makes a token of a JSON object. The key must have one algorithm.
func Sign(k *Key, keyID string, payload []byte) (string, error) {
	if !k.CanSign() || len(k.algs) != 1 {
		return "", errors.New("key cannot sign")
	}
	header, err := json.Marshal(Header{Type: "JWT", Algorithm: k.algs[0], KeyID: keyID})
	if err != nil {
		return "", err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64(header) + "." + b64(payload)
	sig, err := jwt.GetSigningMethod(k.algs[0]).Sign(signed, k.sign())
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed + "." + b64(sig), nil
}
