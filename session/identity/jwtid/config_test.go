package jwtid

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
)

func TestConfigFaults(t *testing.T) {
	private, public := pemOf(t, newEC(t))
	rs, err := newRSA()
	if err != nil {
		t.Fatal(err)
	}
	rsPrivate, _ := pemOf(t, rs)
	good := Config{Key: pemKey(private), Subject: subject}
	for name, change := range map[string]func(*Config){
		"no key":            func(c *Config) { c.Key = Key{} },
		"no subject":        func(c *Config) { c.Subject = "" },
		"subject not UTF-8": func(c *Config) { c.Subject = "\xff" },
		"long issuer":       func(c *Config) { c.Issuer = strings.Repeat("x", maxText+1) },
		"empty audience":    func(c *Config) { c.Audience = []string{""} },
		"short life":        func(c *Config) { c.Lifetime = time.Second },
		"long life":         func(c *Config) { c.Lifetime = 400 * 24 * time.Hour },
		"own pubkey":        func(c *Config) { c.Claims = map[string]any{"pubkey": "x"} },
		"own subject":       func(c *Config) { c.Claims = map[string]any{"sub": "x"} },
		"claims no JSON":    func(c *Config) { c.Claims = map[string]any{"f": func() {}} },
		"huge claims":       func(c *Config) { c.Claims = map[string]any{"f": strings.Repeat("x", identity.MaxToken)} },
		"public key":        func(c *Config) { c.Key = pemKey(public) },
		"RSA, any":          func(c *Config) { c.Key = pemKey(rsPrivate) },
		"PEM as secret":     func(c *Config) { c.Key.Algorithm = HS256 },
		"secret as PEM":     func(c *Config) { c.Key = pemKey([]byte(secret)) },
		"other algorithm":   func(c *Config) { c.Key.Algorithm = ES384 },
		"unknown format":    func(c *Config) { c.Key.Format = 9 },
		"no such file":      func(c *Config) { c.Key.From = File(filepath.Join(t.TempDir(), "absent")) },
		"secret and newline": func(c *Config) {
			c.Key = rawKey(secret + "\n")
		},
		"secret without algorithm": func(c *Config) { c.Key = Key{From: Data([]byte(secret)), Format: Raw} },
		"short secret":             func(c *Config) { c.Key = rawKey(secret[1:]) },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			_, err := New(c)
			if err == nil {
				t.Fatal("taken")
			}
			if strings.Contains(err.Error(), secret[1:9]) {
				t.Errorf("error quotes the key: %v", err)
			}
		})
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]VerifierConfig{
		"no keys": {}, "key chosen": {Keys: Key{From: Data(public), ID: "a"}},
		"empty audience": {Keys: pemKey(public), Audience: []string{""}}, "no key": {Keys: pemKey(nil)},
	} {
		if _, err := NewVerifier(c); err == nil {
			t.Errorf("verifier with %s is taken", name)
		}
	}
}

func TestJWKSToSignWith(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	one := func(kid, fill string) map[string]any {
		return map[string]any{"kty": "oct", "alg": "HS256", "kid": kid, "k": b64([]byte(strings.Repeat(fill, 32)))}
	}
	set := jwks(t, one("a", "a"), one("b", "b"), jwkOf(t, "public", newEC(t).Public()))
	if _, err := New(Config{Key: set, Subject: subject}); err == nil {
		t.Error("several keys and none chosen")
	}
	set.ID = "b"
	p := provider(t, Config{Key: set, Subject: subject})
	if _, err := verifier(t, VerifierConfig{Keys: rawKey(strings.Repeat("b", 32))}).Verify(mint(t, p, noon), noon); err != nil {
		t.Error(err)
	}
	set.ID = "public"
	if _, err := New(Config{Key: set, Subject: subject}); err == nil {
		t.Error("signs with a public key")
	}
}

func TestNothingPrintsSecrets(t *testing.T) {
	const text = "do-not-print-me-do-not-print-me-x"
	c := Config{Key: rawKey(text), Subject: subject}
	p := provider(t, c)
	vc := VerifierConfig{Keys: rawKey(text)}
	v := verifier(t, vc)
	token := mint(t, p, time.Now())
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenTokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(token, time.Now()); err != nil {
		t.Fatal(err)
	}
	values := []any{c, &c, p, vc, v, f, struct{ hidden Config }{c}, struct{ hidden *Provider }{p}, struct{ hidden *TokenFile }{f}}
	var printed []string
	for _, x := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			printed = append(printed, fmt.Sprintf(verb, x))
		}
		asJSON, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		printed = append(printed, string(asJSON))
	}
	for _, s := range printed {
		for _, leak := range []string{"do-not", fmt.Sprintf("%x", "do-not"), strings.ToUpper(fmt.Sprintf("%x", "do-not")), "100 111 45", "0x64, 0x6f", token[:20], "ZG8tbm90"} {
			if strings.Contains(s, leak) {
				t.Errorf("printed: %s", s)
			}
		}
	}
}
