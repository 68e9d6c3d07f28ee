package jwtid

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/internal/jws"
)

// DefaultLifetime of tokens is upstream's, which it does not let anybody change
// (source: agntcy/slim crates/auth/src/jwt.rs).
const DefaultLifetime = time.Hour

const (
	minLifetime = time.Minute
	maxLifetime = 366 * 24 * time.Hour
	maxText     = 1024 // bytes of a subject, an issuer, an audience
	maxUnix     = 253402300799
)

// Config of an identity that signs its own tokens.
type Config struct {
	// Key to sign tokens with.
	Key Key
	// Subject is required. Verifiers with a JWKS take it only from the key
	// with this id, see [Trust].
	Subject string
	// Issuer and Audience must be what verifiers want; each may be empty.
	Issuer   string
	Audience []string
	// Lifetime of a token, 1 minute to 366 days. Default DefaultLifetime.
	Lifetime time.Duration
	// KeyID of the header. Default the subject, as upstream has it.
	KeyID string
	// Claims are further claims, without the registered ones and pubkey.
	Claims map[string]any
	// Signer is the key in the claim pubkey, such as one of
	// [identity.KeepSigner]. Default a new one.
	Signer identity.Signer
}

// Validate reports all faults of c but those of the key's content.
func (c Config) Validate() error {
	errs := []error{checkText("Subject", c.Subject, true), checkText("Issuer", c.Issuer, false), checkText("KeyID", c.KeyID, false)}
	errs = append(errs, checkAudience(c.Audience))
	if c.Key.From.isZero() {
		errs = append(errs, errors.New("jwtid: Config.Key is missing: make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"))
	}
	if c.Lifetime != 0 && (c.Lifetime < minLifetime || c.Lifetime > maxLifetime) {
		errs = append(errs, fmt.Errorf("jwtid: Config.Lifetime %v: want %v to %v", c.Lifetime, minLifetime, maxLifetime))
	}
	for _, registered := range []string{"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "pubkey"} {
		if _, ok := c.Claims[registered]; ok {
			errs = append(errs, fmt.Errorf("jwtid: Config.Claims sets %s, which has its own meaning", registered))
		}
	}
	return errors.Join(errs...)
}

func checkText(field, s string, required bool) error {
	switch {
	case s == "" && required:
		return fmt.Errorf("jwtid: %s is missing", field)
	case !utf8.ValidString(s):
		return fmt.Errorf("jwtid: %s is not UTF-8", field)
	case len(s) > maxText:
		return fmt.Errorf("jwtid: %s has %d bytes, at most %d are allowed", field, len(s), maxText)
	}
	return nil
}

func checkAudience(audience []string) error {
	var errs []error
	if len(audience) > 16 {
		errs = append(errs, errors.New("jwtid: more than 16 audiences"))
	}
	for _, a := range audience {
		errs = append(errs, checkText("Audience", a, true))
	}
	return errors.Join(errs...)
}

// Provider signs its own tokens.
type Provider struct {
	cfg    Config
	key    watched[*jws.Key]
	signer identity.Signer
	extra  []byte // further claims and pubkey, `,"a":1,"pubkey":".."}`

	mu     sync.Mutex
	last   func() string // a token of this second; a closure, so that nothing prints it
	second int64
	gen    uint64 // of the key that signed it
}

var _ identity.Provider = (*Provider)(nil)

// New reads the key and, without Config.Signer, makes a new signature key.
func New(c Config) (*Provider, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.Audience = slices.Clone(c.Audience)
	if c.Lifetime == 0 {
		c.Lifetime = DefaultLifetime
	}
	if c.KeyID == "" {
		c.KeyID = c.Subject
	}
	p := &Provider{cfg: c, signer: c.Signer}
	var err error
	if p.signer == nil {
		if p.signer, err = identity.NewSigner(); err != nil {
			return nil, err
		}
	}
	if p.extra, err = further(c.Claims, p.signer); err != nil {
		return nil, err
	}
	p.cfg.Claims = nil
	p.key.from, p.key.limit = c.Key.From, maxKeyFile
	p.key.parse = func(text []byte) (*jws.Key, error) {
		keys, err := c.Key.parse(text, true)
		if err != nil {
			return nil, err
		}
		return keys[0], nil
	}
	if _, _, fault := p.key.load(); fault != nil {
		return nil, fmt.Errorf("jwtid: signing key: %w", fault)
	}
	if token, err := p.Token(time.Unix(maxUnix/2, 0)); err != nil {
		return nil, err
	} else if len(token) > identity.MaxToken/2 {
		return nil, errors.New("jwtid: Config.Claims make the token too long")
	}
	return p, nil
}

func further(claims map[string]any, signer identity.Signer) ([]byte, error) {
	var b bytes.Buffer
	if len(claims) > 0 {
		text, err := json.Marshal(claims)
		if err != nil {
			return nil, errors.New("jwtid: Config.Claims cannot be written as JSON")
		}
		b.WriteByte(',')
		b.Write(text[1 : len(text)-1])
	}
	fmt.Fprintf(&b, `,"pubkey":"%s"}`, identity.EncodePublicKey(signer.Public()))
	return b.Bytes(), nil
}

// Subject is the configured one.
func (p *Provider) Subject() string { return p.cfg.Subject }

// Signer is that of the configuration, or a P-256 key made with the provider.
func (p *Provider) Signer() identity.Signer { return p.signer }

// Fault is why the key file's present content is not used, nil if it is.
func (p *Provider) Fault() error {
	_, _, fault := p.key.load()
	return fault
}

// payload is in upstream's order.
type payload struct {
	Issuer    string   `json:"iss,omitempty"`
	Subject   string   `json:"sub"`
	Audience  []string `json:"aud,omitempty"`
	Expires   int64    `json:"exp"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
}

// Token signs a token, valid from the whole second of now on for the lifetime.
// Within one second it is the same token.
func (p *Provider) Token(now time.Time) (string, error) {
	second := now.Unix()
	if second < 0 || second > maxUnix-int64(maxLifetime/time.Second) {
		return "", errors.New("jwtid: cannot mint a token: the clock is wrong")
	}
	key, gen, _ := p.key.load() // New has made sure that there is one
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.second == second && p.gen == gen {
		return p.last(), nil
	}
	claims, err := json.Marshal(payload{
		Issuer: p.cfg.Issuer, Subject: p.cfg.Subject, Audience: p.cfg.Audience,
		Expires: second + int64(p.cfg.Lifetime/time.Second), IssuedAt: second, NotBefore: second,
	})
	if err != nil {
		return "", fmt.Errorf("jwtid: write claims: %w", err)
	}
	token, err := jws.Sign(key, p.cfg.KeyID, append(claims[:len(claims)-1], p.extra...))
	if err != nil {
		return "", fmt.Errorf("jwtid: %w", err)
	}
	p.last, p.second, p.gen = func() string { return token }, second, gen
	return token, nil
}

// Format writes the subject for every verb, never the key.
func (p *Provider) Format(f fmt.State, _ rune) { io.WriteString(f, "JWT identity of "+p.cfg.Subject) }
