package main

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
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/spiffe/workloadtest"
)

func writeFile(t *testing.T, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// pemFiles writes a key and its public part.
func pemFiles(t *testing.T, key crypto.Signer) (private, public string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))),
		writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})))
}

func p256Key(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// tokenFor writes a token that an issuer signs for a key of somebody else.
func tokenFor(t *testing.T, issuer, app *ecdsa.PrivateKey, subject string) (path string) {
	t.Helper()
	public, err := app.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": "https://issuer.example", "sub": subject, "aud": "slim", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"pubkey": identity.EncodePublicKey(public),
	}).SignedString(issuer)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, token+"\n")
}

// agentSocket serves a Workload API.
func agentSocket(t *testing.T, d *workloadtest.Domain, id string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "workload") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	d.Agent(t, id).Serve(t, l)
	return path
}

// pairs are identities of two apps that trust each other: bob, who waits, and alice.
var pairs = map[string]func(t *testing.T) (bob, alice []string){
	"JWT, one key for all": func(t *testing.T) (bob, alice []string) {
		key, public := pemFiles(t, p256Key(t))
		flags := []string{"--jwt-key", key, "--jwt-verify", public}
		return flags, flags
	},
	"JWT, an RSA key of an issuer": func(t *testing.T) (bob, alice []string) {
		key, public := pemFiles(t, rsaKey(t))
		common := []string{"--jwt-key", key, "--jwt-verify", public, "--jwt-algorithm", "PS256", "--jwt-issuer", "https://issuer.example", "--jwt-audience"}
		return append(slices.Clone(common), "slim, other", "--jwt-subject", "acme/people/bob"), append(slices.Clone(common), "slim")
	},
	"JWT, a JWKS of both apps": func(t *testing.T) (bob, alice []string) {
		var set []map[string]string
		var keys []string
		for _, subject := range []string{"acme/people/bob", "acme/people/alice"} {
			public, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			path, _ := pemFiles(t, private)
			keys = append(keys, path)
			set = append(set, map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": subject, "x": base64.RawURLEncoding.EncodeToString(public)})
		}
		text, err := json.Marshal(map[string]any{"keys": set})
		if err != nil {
			t.Fatal(err)
		}
		jwks := writeFile(t, string(text))
		return []string{"--jwt-key", keys[0], "--jwt-verify", jwks, "--jwt-subject", "acme/people/bob"},
			[]string{"--jwt-key", keys[1], "--jwt-verify", jwks, "--jwt-subject", "acme/people/alice", "--name", "acme/people/alice"}
	},
	"JWT, a JWKS of an issuer": func(t *testing.T) (bob, alice []string) {
		key := rand.Text() + rand.Text()
		jwks := writeFile(t, `{"keys":[{"kty":"oct","kid":"issuer","alg":"HS256","k":"`+base64.RawURLEncoding.EncodeToString([]byte(key))+`"}]}`)
		flags := []string{"--jwt-key", jwks, "--jwt-verify", jwks, "--jwt-trust", "issuers", "--jwt-issuer", "https://issuer.example"}
		return flags, flags
	},
	"JWT, a secret": func(t *testing.T) (bob, alice []string) {
		secret := writeFile(t, rand.Text()+rand.Text())
		flags := []string{"--jwt-algorithm", "HS256", "--jwt-key", secret, "--jwt-verify", secret}
		return flags, flags
	},
	"JWT, token files": func(t *testing.T) (bob, alice []string) {
		issuer, bobKey, aliceKey := p256Key(t), p256Key(t), p256Key(t)
		_, public := pemFiles(t, issuer)
		bobFile, _ := pemFiles(t, bobKey)
		aliceFile, _ := pemFiles(t, aliceKey)
		common := []string{"--jwt-verify", public, "--jwt-audience", "slim", "--jwt-issuer", "https://issuer.example"}
		return append(slices.Clone(common), "--jwt-key", bobFile, "--jwt-token", tokenFor(t, issuer, bobKey, "acme/people/bob")),
			append(slices.Clone(common), "--jwt-key", aliceFile, "--jwt-token", tokenFor(t, issuer, aliceKey, "user 4711"))
	},
	"SPIFFE": func(t *testing.T) (bob, alice []string) {
		d := workloadtest.NewDomain(t, "example.org")
		return []string{"--spiffe", agentSocket(t, d, "spiffe://example.org/bob"), "--spiffe-audience", "slim"},
			[]string{"--spiffe", "unix://" + agentSocket(t, d, "spiffe://example.org/alice"), "--spiffe-trust-domain", "example.org"}
	},
}
