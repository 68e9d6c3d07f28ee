package jwtid

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slimbridge/slimbridge/session/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret  = "0123456789abcdef0123456789abcdef"
	subject = "org/ns/app"
)

var noon = time.Unix(1_795_600_000, 0)

func newEC(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var newRSA = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func pemOf(t testing.TB, key crypto.Signer) (private, public []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})
}

func jwkOf(t testing.TB, kid string, pub any) map[string]any {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:]), "kid": kid}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(k), "kid": kid}
	}
	t.Fatal("unknown key")
	return nil
}

func jwks(t testing.TB, keys ...map[string]any) Key {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return Key{From: Data(text), Format: JWKS}
}

func pemKey(text []byte) Key   { return Key{From: Data(text)} }
func rawKey(secret string) Key { return Key{From: Data([]byte(secret)), Format: Raw, Algorithm: HS256} }
func hs(audience ...string) Config {
	return Config{Key: rawKey(secret), Subject: subject, Audience: audience}
}

func provider(t testing.TB, c Config) *Provider {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func verifier(t testing.TB, c VerifierConfig) *Verifier {
	t.Helper()
	v, err := NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mint(t testing.TB, p identity.Provider, now time.Time) string {
	t.Helper()
	token, err := p.Token(now)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// What stands in a token, in upstream's order.
func TestTokenContent(t *testing.T) {
	p := provider(t, Config{
		Key: rawKey(secret), Subject: "alice-sub", Issuer: "https://issuer", Audience: []string{"slim"},
		Claims: map[string]any{"role": "x", "admin": true},
	})
	parts := strings.Split(mint(t, p, noon), ".")
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	if got, want := string(header), `{"typ":"JWT","alg":"HS256","kid":"alice-sub"}`; got != want {
		t.Errorf("header %s, want %s", got, want)
	}
	claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
	want := fmt.Sprintf(`{"iss":"https://issuer","sub":"alice-sub","aud":["slim"],"exp":%d,"iat":%d,"nbf":%d,"admin":true,"role":"x","pubkey":"%s"}`,
		noon.Unix()+3600, noon.Unix(), noon.Unix(), identity.EncodePublicKey(p.Signer().Public()))
	if string(claims) != want {
		t.Errorf("claims %s, want %s", claims, want)
	}
}

func TestTokenOfOneSecondIsOne(t *testing.T) {
	private, _ := pemOf(t, newEC(t))
	p := provider(t, Config{Key: pemKey(private), Subject: subject, Lifetime: 2 * time.Minute})
	first := mint(t, p, noon)
	if mint(t, p, noon.Add(999*time.Millisecond)) != first {
		t.Error("signed twice within a second")
	}
	if mint(t, p, noon.Add(time.Second)) == first {
		t.Error("not signed again after a second")
	}
	for _, bad := range []time.Time{{}, time.Unix(-1, 0), time.Unix(maxUnix, 0)} {
		if _, err := p.Token(bad); err == nil {
			t.Errorf("minted at %v", bad)
		}
	}
}

func TestVerifyEveryAlgorithm(t *testing.T) {
	ec := newEC(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := newRSA()
	if err != nil {
		t.Fatal(err)
	}
	for alg, key := range map[Algorithm]crypto.Signer{
		HS256: nil, HS384: nil, HS512: nil, ES256: ec, ES384: p384, EdDSA: ed,
		RS256: rs, RS384: rs, RS512: rs, PS256: rs, PS384: rs, PS512: rs,
	} {
		t.Run(string(alg), func(t *testing.T) {
			sign := Key{From: Data([]byte(secret)), Format: Raw, Algorithm: alg}
			verify := sign
			if key != nil {
				private, public := pemOf(t, key)
				sign, verify = Key{From: Data(private), Algorithm: alg}, Key{From: Data(public), Algorithm: alg}
			}
			p := provider(t, Config{Key: sign, Subject: subject, Issuer: "me", Audience: []string{"slim", "x"}})
			v := verifier(t, VerifierConfig{Keys: verify, Issuer: "me", Audience: []string{"y", "slim"}, Subjects: []string{subject}})
			claims, err := v.Verify(mint(t, p, noon), noon.Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			if claims.Subject != subject || string(claims.PublicKey) != string(p.Signer().Public()) ||
				!claims.IssuedAt.Equal(noon) || !claims.Expires.Equal(noon.Add(time.Hour)) {
				t.Errorf("claims %+v", claims)
			}
			sig, err := p.Signer().Sign([]byte("m"))
			if err != nil {
				t.Fatal(err)
			}
			if err := identity.VerifySignature(claims.PublicKey, []byte("m"), sig); err != nil {
				t.Error(err)
			}
		})
	}
}

// Every reason to refuse a token, by both methods unless it is the time.
func TestVerifyRefuses(t *testing.T) {
	ec, other := newEC(t), newEC(t)
	private, public := pemOf(t, ec)
	_, otherPublic := pemOf(t, other)
	me := Config{Key: pemKey(private), Subject: subject, Issuer: "me", Audience: []string{"slim"}}
	peers := VerifierConfig{Keys: pemKey(public), Issuer: "me", Audience: []string{"slim"}}
	with := func(change func(*Config)) Config { c := me; change(&c); return c }
	wants := func(change func(*VerifierConfig)) VerifierConfig { c := peers; change(&c); return c }
	tests := []struct {
		name     string
		signer   Config
		verifier VerifierConfig
		age      time.Duration
		want     error
	}{
		{"good", me, peers, time.Minute, nil},
		{"wrong key", me, wants(func(c *VerifierConfig) { c.Keys = pemKey(otherPublic) }), 0, identity.ErrUntrusted},
		{"wrong audience", me, wants(func(c *VerifierConfig) { c.Audience = []string{"other"} }), 0, identity.ErrAudience},
		{"no audience", with(func(c *Config) { c.Audience = nil }), peers, 0, identity.ErrAudience},
		{"audience nobody asked for", me, wants(func(c *VerifierConfig) { c.Audience = nil }), 0, identity.ErrAudience},
		{"wrong issuer", with(func(c *Config) { c.Issuer = "you" }), peers, 0, identity.ErrIssuer},
		{"no issuer", with(func(c *Config) { c.Issuer = "" }), peers, 0, identity.ErrIssuer},
		{"subject not allowed", me, wants(func(c *VerifierConfig) { c.Subjects = []string{"a", "b"} }), 0, identity.ErrSubject},
		{"5 s after its end", me, peers, time.Hour + 5*time.Second, nil},
		{"expired", me, peers, time.Hour + 6*time.Second, identity.ErrExpired},
		{"5 s before its start", me, peers, -5 * time.Second, nil},
		{"from the future", me, peers, -6 * time.Second, identity.ErrNotYetValid},
		{"public key taken for a secret", with(func(c *Config) { c.Key = rawKey(strings.TrimSpace(string(public))) }), peers, 0, identity.ErrUntrusted},
		{"another algorithm of one secret", with(func(c *Config) { c.Key = Key{From: Data([]byte(secret)), Format: Raw, Algorithm: HS384} }),
			wants(func(c *VerifierConfig) { c.Keys = rawKey(secret) }), 0, identity.ErrUntrusted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token := mint(t, provider(t, tt.signer), noon)
			v := verifier(t, tt.verifier)
			for range 2 { // the second time from memory, if at all
				_, err := v.Verify(token, noon.Add(tt.age))
				if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
					t.Errorf("Verify: %v, want %v", err, tt.want)
				}
				if err != nil && strings.Contains(err.Error(), token[:12]) {
					t.Errorf("error quotes the token: %v", err)
				}
			}
			_, err := v.VerifyAdmitted(token)
			want := tt.want
			if errors.Is(want, identity.ErrExpired) || errors.Is(want, identity.ErrNotYetValid) {
				want = nil
			}
			if !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("VerifyAdmitted: %v, want %v", err, want)
			}
		})
	}
}

// Claims that our own provider does not write.
func TestVerifyForeignClaims(t *testing.T) {
	good := `"sub":"s","exp":1795603600,"pubkey":"` + identity.EncodePublicKey(provider(t, hs()).Signer().Public()) + `"`
	for name, tt := range map[string]struct {
		claims string
		want   error
	}{
		"least":              {`{` + good + `}`, nil},
		"audience as text":   {`{` + good + `,"aud":"slim"}`, nil},
		"audience of others": {`{` + good + `,"aud":["x"]}`, identity.ErrAudience},
		"no subject":         {`{"exp":1795603600,"pubkey":"AA=="}`, identity.ErrMalformed},
		"no end":             {`{"sub":"s","pubkey":"AA=="}`, identity.ErrMalformed},
		"no public key":      {`{"sub":"s","exp":1795603600}`, identity.ErrNoPublicKey},
		"short public key":   {`{"sub":"s","exp":1795603600,"pubkey":"AA=="}`, identity.ErrPublicKey},
		"key of wrong type":  {`{"sub":"s","exp":1795603600,"pubkey":1}`, identity.ErrMalformed},
		"key in other case":  {`{"sub":"s","exp":1795603600,"PUBKEY":"AA=="}`, identity.ErrNoPublicKey},
	} {
		t.Run(name, func(t *testing.T) {
			keys := rawKey(secret)
			c := VerifierConfig{Keys: keys}
			if strings.Contains(tt.claims, `"aud"`) {
				c.Audience = []string{"slim"}
			}
			_, err := verifier(t, c).Verify(sign(t, keys, tt.claims), noon)
			if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
		})
	}
}

// Keys of several apps: each signs for itself alone, unless an issuer owns them.
func TestTrust(t *testing.T) {
	alice, bob := newEC(t), newEC(t)
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := jwks(t, jwkOf(t, "alice", alice.Public()), jwkOf(t, "bob", bob.Public()), jwkOf(t, "third", edPublic))
	alone := jwks(t, jwkOf(t, "alice", alice.Public()))
	tests := []struct {
		name, subject, kid string
		key                crypto.Signer
		keys               Key
		trust              Trust
		want               error
	}{
		{"own name", "alice", "", alice, set, Apps, nil},
		{"name of another", "bob", "alice", alice, set, Apps, identity.ErrSubject},
		{"name of another, key id too", "bob", "bob", alice, set, Apps, identity.ErrUntrusted},
		{"unknown key id", "alice", "x", alice, set, Apps, nil},
		{"any name", "bob", "x", alice, set, Apps, identity.ErrSubject},
		{"any name, one key left in the set", "bob", "x", alice, alone, Apps, identity.ErrSubject},
		{"did:key", didKey(edPublic), "", edPrivate, set, Apps, nil},
		{"did:key of another", didKey(make([]byte, 32)), "", edPrivate, set, Apps, identity.ErrSubject},
		{"issuer", "bob", "alice", alice, set, Issuers, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			private, _ := pemOf(t, tt.key)
			p := provider(t, Config{Key: pemKey(private), Subject: tt.subject, KeyID: tt.kid})
			_, err := verifier(t, VerifierConfig{Keys: tt.keys, Trust: tt.trust}).Verify(mint(t, p, noon), noon)
			if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
		})
	}
}

// Source: the did:key of a SLIM 3.4 node, decoded and made again.
func TestDidKeyVector(t *testing.T) {
	const did = "did:key:z6Mkfvtar6ATQYC5jXqVLBjCH8R6AUAuKjta6LsFcG4gUND1"
	n := new(big.Int)
	for _, digit := range strings.TrimPrefix(did, "did:key:z") {
		n.Mul(n, big.NewInt(58)).Add(n, big.NewInt(int64(strings.IndexRune(base58, digit))))
	}
	raw := n.Bytes()
	if len(raw) != 34 || raw[0] != 0xed || raw[1] != 1 {
		t.Fatalf("decoded %x", raw)
	}
	if got := didKey(raw[2:]); got != did {
		t.Errorf("did:key = %s", got)
	}
}
