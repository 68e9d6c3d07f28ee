package jwtid

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/internal/jws"
)

// Trust says whose keys a verifier holds.
type Trust int

const (
	// Apps: each key of a JWKS is one app's own. The subject must be the id of
	// the key that signed, or the did:key of it (Ed25519). Otherwise each app
	// could claim to be any other. A key in another format is that of all
	// apps, or of their issuer, and may name any subject.
	Apps Trust = iota
	// Issuers: every key may name every subject, as those of an identity
	// provider do; also what upstream does by default. Give an Issuer with it.
	Issuers
)

const (
	recentTokens   = 512
	admittedTokens = 8192
)

// VerifierConfig says which tokens to accept.
type VerifierConfig struct {
	// Keys of signers. A private key stands for its public key.
	Keys  Key
	Trust Trust
	// Issuer, if set, must be the token's.
	Issuer string
	// Audience must have one in common with the token. Without it, tokens for
	// any particular audience are refused (RFC 7519 section 4.1.3).
	Audience []string
	// Subjects, if any, are the only ones accepted.
	Subjects []string
}

// Validate reports all faults of c but those of the keys' content.
func (c VerifierConfig) Validate() error {
	errs := []error{checkText("Issuer", c.Issuer, false), checkAudience(c.Audience)}
	if c.Keys.From.isZero() {
		errs = append(errs, errors.New("jwtid: VerifierConfig.Keys is missing: give the public key of the signers"))
	}
	if c.Keys.ID != "" {
		errs = append(errs, errors.New("jwtid: VerifierConfig.Keys.ID is set: it only chooses a key to sign with"))
	}
	return errors.Join(errs...)
}

// Verifier checks tokens of peers.
type Verifier struct {
	cfg  VerifierConfig
	keys watched[[]*jws.Key]

	// recent spares a signature per message, admitted keeps members known
	// whose signer's key was replaced since.
	recent   *jws.Memory[checked]
	admitted *jws.Memory[checked]
}

// checked is a token whose signature and claims are right, but for the time.
type checked struct {
	claims identity.Claims
	period jws.Period
	gen    uint64 // of the keys
}

var _ identity.Verifier = (*Verifier)(nil)

// NewVerifier reads the keys.
func NewVerifier(c VerifierConfig) (*Verifier, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.Audience, c.Subjects = slices.Clone(c.Audience), slices.Clone(c.Subjects)
	v := &Verifier{cfg: c, recent: jws.NewMemory[checked](recentTokens), admitted: jws.NewMemory[checked](admittedTokens)}
	v.keys.from, v.keys.limit = c.Keys.From, maxKeyFile
	v.keys.parse = func(text []byte) ([]*jws.Key, error) { return c.Keys.parse(text, false) }
	if _, _, fault := v.keys.load(); fault != nil {
		return nil, fmt.Errorf("jwtid: verification keys: %w", fault)
	}
	return v, nil
}

// Verify checks signature, claims and period; clocks may differ by
// [identity.ClockSkew].
func (v *Verifier) Verify(token string, now time.Time) (identity.Claims, error) {
	keys, gen, fault := v.keys.load()
	if fault != nil {
		return identity.Claims{}, fmt.Errorf("%w: %w", identity.ErrNoKeys, fault)
	}
	c, ok := v.recent.Get(token)
	if !ok || c.gen != gen {
		var err error
		if c, err = v.check(token, keys); err != nil {
			return identity.Claims{}, err
		}
		c.gen = gen
		v.recent.Put(token, c)
	}
	if err := c.period.Check(now); err != nil {
		return identity.Claims{}, err
	}
	return c.public(), nil
}

// VerifyAdmitted is [Verifier.Verify] without the period. A token that it
// accepted stays accepted when the keys change, as far as the memory reaches,
// so that a rotation of keys does not end sessions; tokens in the headers of
// messages are not checked by it.
func (v *Verifier) VerifyAdmitted(token string) (identity.Claims, error) {
	if c, ok := v.admitted.Get(token); ok {
		return c.public(), nil
	}
	keys, _, fault := v.keys.load()
	if fault != nil {
		return identity.Claims{}, fmt.Errorf("%w: %w", identity.ErrNoKeys, fault)
	}
	c, err := v.check(token, keys)
	if err != nil {
		return identity.Claims{}, err
	}
	v.admitted.Put(token, c)
	return c.public(), nil
}

func (c checked) public() identity.Claims {
	claims := c.claims
	claims.PublicKey = slices.Clone(claims.PublicKey)
	return claims
}

// check tells nothing of a token whose signature is wrong.
func (v *Verifier) check(token string, keys []*jws.Key) (checked, error) {
	t, err := jws.Parse(token)
	if err != nil {
		return checked{}, err
	}
	key, err := t.Verify(keys)
	if err != nil {
		return checked{}, err
	}
	subject, err := t.Claims.Subject()
	if err != nil {
		return checked{}, err
	}
	period, err := t.Claims.Period()
	if err != nil {
		return checked{}, err
	}
	if err := cmp.Or(v.checkIssuer(t.Claims), v.checkAudience(t.Claims), v.checkSubject(subject, key)); err != nil {
		return checked{}, err
	}
	public, err := publicKey(t.Claims)
	if err != nil {
		return checked{}, err
	}
	return checked{
		claims: identity.Claims{Subject: subject, PublicKey: public, IssuedAt: period.IssuedAt, Expires: period.Expires},
		period: period,
	}, nil
}

func (v *Verifier) checkIssuer(c jws.Claims) error {
	if v.cfg.Issuer == "" {
		return nil
	}
	if issuer, err := c.Text("iss"); err != nil || issuer != v.cfg.Issuer {
		return identity.ErrIssuer
	}
	return nil
}

func (v *Verifier) checkAudience(c jws.Claims) error {
	audience, err := c.Audience()
	if err != nil {
		return err
	}
	if len(v.cfg.Audience) == 0 && len(audience) == 0 {
		return nil
	}
	if !slices.ContainsFunc(audience, func(a string) bool { return slices.Contains(v.cfg.Audience, a) }) {
		return identity.ErrAudience
	}
	return nil
}

func (v *Verifier) checkSubject(subject string, key *jws.Key) error {
	if len(v.cfg.Subjects) > 0 && !slices.Contains(v.cfg.Subjects, subject) {
		return identity.ErrSubject
	}
	if v.cfg.Trust == Issuers || v.cfg.Keys.Format != JWKS || subject == key.ID {
		return nil
	}
	if pub, ok := key.Public().(ed25519.PublicKey); ok && subject == didKey(pub) {
		return nil
	}
	return identity.ErrSubject
}

func publicKey(c jws.Claims) ([]byte, error) {
	text, err := c.Text("pubkey")
	switch {
	case err != nil:
		return nil, err
	case text == "":
		return nil, identity.ErrNoPublicKey
	}
	return identity.DecodePublicKey(text)
}

// Format writes what kind of verifier it is for every verb.
func (v *Verifier) Format(f fmt.State, _ rune) { io.WriteString(f, "verifier of JWT identities") }
