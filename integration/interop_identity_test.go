package integration

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/jwtid"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

const (
	jwtIssuer   = "https://issuer.example"
	jwtAudience = "slim"
)

// jwtKeys is one key that signs for all apps, in the forms that ours and the
// real library take it.
type jwtKeys struct {
	algorithm     jwtid.Algorithm
	sign, verify  string
	private, peer jwtid.Key
}

func newJWTKeys(t *testing.T, alg jwtid.Algorithm) jwtKeys {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case jwtid.HS256, jwtid.HS384, jwtid.HS512:
		secret := rand.Text() + rand.Text()
		k := jwtid.Key{From: jwtid.Data([]byte(secret)), Format: jwtid.Raw, Algorithm: alg}
		return jwtKeys{algorithm: alg, sign: secret, verify: secret, private: k, peer: k}
	case jwtid.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jwtid.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jwtid.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sign := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	verify := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	return jwtKeys{
		algorithm: alg, sign: string(sign), verify: string(verify),
		private: jwtid.Key{From: jwtid.Data(sign), Algorithm: alg}, peer: jwtid.Key{From: jwtid.Data(verify), Algorithm: alg},
	}
}

// real is the identity for a genuine application.
func (k jwtKeys) real(subject string) *realslim.JWT {
	return &realslim.JWT{
		Algorithm: string(k.algorithm), SignKey: k.sign, VerifyKey: k.verify, VerifyFormat: "pem", Subject: subject,
		Issuer: jwtIssuer, Audience: []string{jwtAudience}, WantIssuer: jwtIssuer, WantAudience: []string{jwtAudience},
	}
}

// wanted is what ours demands of tokens.
func (k jwtKeys) wanted() jwtid.VerifierConfig {
	return jwtid.VerifierConfig{Keys: k.peer, Issuer: jwtIssuer, Audience: []string{jwtAudience}}
}

// use gives an app of ours a JWT identity.
func (k jwtKeys) use(t *testing.T, subject string) func(*session.Config) {
	t.Helper()
	me, err := jwtid.New(jwtid.Config{Key: k.private, Subject: subject, Issuer: jwtIssuer, Audience: []string{jwtAudience}})
	if err != nil {
		t.Fatal(err)
	}
	peers, err := jwtid.NewVerifier(k.wanted())
	if err != nil {
		t.Fatal(err)
	}
	return func(c *session.Config) { c.Identity, c.Verifier = me, peers }
}

// A real app with a JWT identity and ours, either one opens, with MLS. The real
// one of 3.4 would refuse whatever is not bound to the token.
func TestInteropJWT(t *testing.T) {
	p := realslim.Require(t)
	algorithms := []jwtid.Algorithm{
		jwtid.HS256, jwtid.HS384, jwtid.HS512, jwtid.ES256, jwtid.ES384, jwtid.EdDSA,
		jwtid.RS256, jwtid.RS384, jwtid.RS512, jwtid.PS256, jwtid.PS384, jwtid.PS512,
	}
	for _, kind := range realslim.Kinds {
		endpoint := startNode(t, p, ours, realslim.NodeOptions{})
		for _, alg := range algorithms {
			t.Run(fmt.Sprintf("%s/%s", kind, alg), func(t *testing.T) {
				keys := newJWTKeys(t, alg)
				real := func(name string, accept realslim.Accept) *realslim.App {
					return p.StartApp(t, kind, realslim.AppOptions{
						Endpoint: endpoint, Name: name, JWT: keys.real(name), Accept: accept, Binding: "enforce", LogLevel: "debug",
					})
				}
				t.Run("ours opens", func(t *testing.T) {
					bob := real("org/ns/bob", realslim.Echo)
					if want := name.IDOf("org/ns/bob").String(); bob.ID != want {
						t.Errorf("the real app has id %s, we derive %s", bob.ID, want)
					}
					converseOnce(t, ourTalker{App: ourApp(t, endpoint, "org/ns/alice", keys.use(t, "org/ns/alice"))}, bob.Path)
					noIdentityWarnings(t, bob)
				})
				t.Run("theirs opens", func(t *testing.T) {
					startEcho(t, ourApp(t, endpoint, "org/ns/carol", keys.use(t, "org/ns/carol")), "org/ns/dave")
					dave := real("org/ns/dave", realslim.Nothing)
					converseOnce(t, realTalker{dave}, "org/ns/carol")
					noIdentityWarnings(t, dave)
				})
			})
		}
	}
}

func noIdentityWarnings(t *testing.T, a *realslim.App) {
	t.Helper()
	if w := a.IdentityWarnings(); len(w) > 0 {
		t.Errorf("the real library complains: %q", w)
	}
}

func converseOnce(t *testing.T, from talker, peer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := from.open(ctx, peer, true)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	if err := c.pump(ctx, 50, 256, 16); err != nil {
		t.Error(err)
	}
	if err := c.close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// startEcho serves sessions with MLS and checks who opens them.
func startEcho(t *testing.T, app *session.App, subject string) {
	t.Helper()
	l, err := app.Listen(session.ListenOptions{Accept: func(i session.Invitation) error {
		if i.Subject != subject {
			t.Errorf("invited by subject %q, want %q", i.Subject, subject)
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = l.Close(); _ = app.Close() })
	wg.Go(func() { serveEcho(l, make(chan *session.Session, 16), &wg) })
}

// watchfulVerifier records why tokens are refused, and may look at them later
// than now.
type watchfulVerifier struct {
	identity.Verifier
	later time.Duration

	mu      sync.Mutex
	refused []error
}

func (v *watchfulVerifier) Verify(token string, now time.Time) (identity.Claims, error) {
	c, err := v.Verifier.Verify(token, now.Add(v.later))
	if err != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.refused = append(v.refused, err)
	}
	return c, err
}

// The tokens are genuine ones; ours refuses them, each for its reason, so that
// the real app finds nobody.
func TestInteropJWTRefused(t *testing.T) {
	p := realslim.Require(t)
	keys, other := newJWTKeys(t, jwtid.ES256), newJWTKeys(t, jwtid.ES256)
	rs := newJWTKeys(t, jwtid.RS256)
	tests := []struct {
		name   string
		theirs jwtKeys
		change func(*realslim.JWT, *jwtid.VerifierConfig)
		later  time.Duration
		want   error
	}{
		{"wrong audience", keys, func(j *realslim.JWT, _ *jwtid.VerifierConfig) { j.Audience = []string{"other"} }, 0, identity.ErrAudience},
		{"no audience", keys, func(j *realslim.JWT, _ *jwtid.VerifierConfig) { j.Audience = nil }, 0, identity.ErrAudience},
		{"wrong issuer", keys, func(j *realslim.JWT, _ *jwtid.VerifierConfig) { j.Issuer = "https://other.example" }, 0, identity.ErrIssuer},
		{"no issuer", keys, func(j *realslim.JWT, _ *jwtid.VerifierConfig) { j.Issuer = "" }, 0, identity.ErrIssuer},
		{"subject not allowed", keys, func(_ *realslim.JWT, c *jwtid.VerifierConfig) { c.Subjects = []string{"org/ns/other"} }, 0, identity.ErrSubject},
		{"wrong key", other, nil, 0, identity.ErrUntrusted},
		{"expired", keys, nil, time.Hour + 10*time.Second, identity.ErrExpired},
		{"another algorithm of the same key", rs, func(_ *realslim.JWT, c *jwtid.VerifierConfig) {
			c.Keys = jwtid.Key{From: rs.peer.From, Algorithm: jwtid.PS256}
		}, 0, identity.ErrUntrusted},
		// The real app signs with HMAC, its secret is our public key.
		{"public key taken for a secret", jwtKeys{algorithm: jwtid.HS256, sign: keys.verify, verify: keys.verify}, nil, 0, identity.ErrUntrusted},
	}
	endpoint := startNode(t, p, ours, realslim.NodeOptions{})
	for _, kind := range realslim.Kinds {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s/%s", kind, tt.name), func(t *testing.T) {
				theirs, wanted := tt.theirs.real("org/ns/mallory"), keys.wanted()
				if tt.change != nil {
					tt.change(theirs, &wanted)
				}
				verifier, err := jwtid.NewVerifier(wanted)
				if err != nil {
					t.Fatal(err)
				}
				watchful := &watchfulVerifier{Verifier: verifier, later: tt.later}
				app := ourApp(t, endpoint, "org/ns/target", func(c *session.Config) {
					keys.use(t, "org/ns/target")(c)
					c.Verifier = watchful
				})
				startEcho(t, app, "nobody")
				mallory := p.StartApp(t, kind, realslim.AppOptions{Endpoint: endpoint, Name: "org/ns/mallory", JWT: theirs})
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				_, err = mallory.Open(ctx, realslim.OpenOptions{Peer: "org/ns/target", MLS: true, MaxRetries: 1, Interval: 200 * time.Millisecond})
				if err == nil {
					t.Error("the session opens")
				}
				watchful.mu.Lock()
				defer watchful.mu.Unlock()
				if len(watchful.refused) == 0 {
					t.Fatal("no token was refused")
				}
				for _, err := range watchful.refused {
					if !errors.Is(err, tt.want) {
						t.Errorf("refused with %v, want %v", err, tt.want)
					}
				}
			})
		}
	}
}

// Each app has a key of its own, and a JWKS with the keys of both: the real one
// and ours agree on it. Ours holds each key to its own subject.
func TestInteropJWTKeySet(t *testing.T) {
	p := realslim.Require(t)
	alice, bob := newJWTKeys(t, jwtid.ES256), newJWTKeys(t, jwtid.EdDSA)
	set := fmt.Sprintf(`{"keys":[%s,%s]}`, jwkOf(t, alice, "org/ns/alice"), jwkOf(t, bob, "org/ns/bob"))
	trusting := func(k jwtKeys, subject string) *realslim.JWT {
		j := k.real(subject)
		j.VerifyKey, j.VerifyFormat = set, "jwks"
		return j
	}
	for _, kind := range realslim.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			endpoint := startNode(t, p, ours, realslim.NodeOptions{})
			wanted := alice.wanted()
			wanted.Keys = jwtid.Key{From: jwtid.Data([]byte(set)), Format: jwtid.JWKS}
			peers, err := jwtid.NewVerifier(wanted)
			if err != nil {
				t.Fatal(err)
			}
			watchful := &watchfulVerifier{Verifier: peers}
			app := ourApp(t, endpoint, "org/ns/alice", func(c *session.Config) {
				alice.use(t, "org/ns/alice")(c)
				c.Verifier = watchful
			})
			startEcho(t, app, "org/ns/bob")
			real := p.StartApp(t, kind, realslim.AppOptions{
				Endpoint: endpoint, Name: "org/ns/bob", JWT: trusting(bob, "org/ns/bob"), Accept: realslim.Echo, Binding: "enforce",
			})
			converseOnce(t, ourTalker{App: app}, "org/ns/bob")
			converseOnce(t, realTalker{real}, "org/ns/alice")

			// Bob's key, another subject.
			mallory := p.StartApp(t, kind, realslim.AppOptions{Endpoint: endpoint, Name: "org/ns/mallory", JWT: trusting(bob, "org/ns/carol")})
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			o := realslim.OpenOptions{MLS: true, MaxRetries: 1, Interval: 200 * time.Millisecond}
			o.Peer = "org/ns/alice"
			if _, err := mallory.Open(ctx, o); err == nil {
				t.Error("ours takes a subject that is not the key's")
			}
			watchful.mu.Lock()
			defer watchful.mu.Unlock()
			for _, err := range watchful.refused {
				if !errors.Is(err, identity.ErrSubject) {
					t.Errorf("refused with %v, want %v", err, identity.ErrSubject)
				}
			}
			if len(watchful.refused) == 0 {
				t.Error("no token was refused")
			}
		})
	}
}

// jwkOf is the public key as a JWK; upstream wants alg in it.
func jwkOf(t *testing.T, k jwtKeys, kid string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(k.verify))
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	switch pub := parsed.(type) {
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":"%s","y":"%s","alg":"ES256","use":"sig","kid":"%s"}`, b64(point[1:33]), b64(point[33:]), kid)
	case ed25519.PublicKey:
		return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":"%s","alg":"EdDSA","use":"sig","kid":"%s"}`, b64(pub), kid)
	}
	t.Fatal("unknown key")
	return ""
}
