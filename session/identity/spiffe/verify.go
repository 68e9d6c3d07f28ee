package spiffe

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/internal/jws"
)

// checked is a token that is right, but for the time.
type checked struct {
	claims identity.Claims
	period jws.Period
}

func (c checked) public() identity.Claims {
	claims := c.claims
	claims.PublicKey = slices.Clone(claims.PublicKey)
	return claims
}

// Verify checks a JWT-SVID: signature by an authority of its trust domain,
// audience, period and public key. Clocks may differ by [identity.ClockSkew].
func (s *Source) Verify(token string, now time.Time) (identity.Claims, error) {
	c, err := s.check(token)
	if err != nil {
		return identity.Claims{}, err
	}
	if err := c.period.Check(now); err != nil {
		return identity.Claims{}, err
	}
	return c.public(), nil
}

// VerifyAdmitted is [Source.Verify] without the period. A token that it accepted
// stays accepted when the authorities change, as far as the memory reaches:
// SVIDs live for minutes, authorities for days, sessions as long as they like.
func (s *Source) VerifyAdmitted(token string) (identity.Claims, error) {
	if c, ok := s.admitted.Get(token); ok {
		return c.public(), nil
	}
	c, err := s.check(token)
	if err != nil {
		return identity.Claims{}, err
	}
	s.admitted.Put(token, c)
	return c.public(), nil
}

// check follows the JWT-SVID standard (sections 3 and 4). It is not left to
// go-spiffe, which checks against the clock of the moment and nothing else.
func (s *Source) check(token string) (checked, error) {
	t, err := jws.Parse(token)
	if err != nil {
		return checked{}, err
	}
	subject, err := t.Claims.Subject()
	if err != nil {
		return checked{}, err
	}
	id, err := spiffeid.FromString(subject)
	if err != nil {
		return checked{}, identity.ErrMalformed // err would quote the token
	}
	if err := s.checkSignature(t, id.TrustDomain()); err != nil {
		return checked{}, err
	}
	period, err := t.Claims.Period()
	if err != nil {
		return checked{}, err
	}
	audience, err := t.Claims.Audience()
	if err != nil {
		return checked{}, err
	}
	if !slices.ContainsFunc(audience, func(a string) bool { return slices.Contains(s.cfg.Audience, a) }) {
		return checked{}, identity.ErrAudience
	}
	public, err := carriedKey(audience)
	if err != nil {
		return checked{}, err
	}
	return checked{
		claims: identity.Claims{Subject: id.String(), PublicKey: public, IssuedAt: period.IssuedAt, Expires: period.Expires},
		period: period,
	}, nil
}

// checkSignature takes the one authority with the token's key id from the
// bundle of the subject's own trust domain.
func (s *Source) checkSignature(t *jws.Token, domain spiffeid.TrustDomain) error {
	if len(s.domains) > 0 && !slices.Contains(s.domains, domain) {
		return fmt.Errorf("%w: its trust domain is not allowed", identity.ErrUntrusted)
	}
	bundle, err := s.bundles.GetJWTBundleForTrustDomain(domain)
	if err != nil {
		return fmt.Errorf("%w: no trust bundle for its trust domain", identity.ErrUntrusted)
	}
	authority, ok := bundle.FindJWTAuthority(t.KeyID)
	if _, isEd := authority.(ed25519.PublicKey); !ok || isEd { // EdDSA is not allowed in JWT-SVIDs
		return fmt.Errorf("%w: unknown authority of its trust domain", identity.ErrUntrusted)
	}
	key, err := jws.NewPublic(t.KeyID, authority, "")
	if err != nil {
		return fmt.Errorf("%w: %w", identity.ErrUntrusted, err)
	}
	_, err = t.Verify([]*jws.Key{key})
	return err
}

// carriedKey reads the public key from the one audience that carries claims.
func carriedKey(audience []string) ([]byte, error) {
	var carried string
	for _, a := range audience {
		text, ok := strings.CutPrefix(a, carrier)
		switch {
		case ok && carried != "":
			return nil, identity.ErrMalformed // which one counts?
		case ok:
			carried = text
		}
	}
	if carried == "" {
		return nil, identity.ErrNoPublicKey
	}
	object, err := base64.StdEncoding.Strict().DecodeString(carried)
	if err != nil {
		return nil, identity.ErrMalformed
	}
	var claims map[string]json.RawMessage // a struct would match in any letter case
	var text string
	if json.Unmarshal(object, &claims) != nil || json.Unmarshal(claims["pubkey"], &text) != nil {
		return nil, identity.ErrNoPublicKey
	}
	return identity.DecodePublicKey(text)
}
