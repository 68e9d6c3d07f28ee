package jwtid

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

// No token but those that were signed is accepted, whatever it looks like.
func FuzzVerify(f *testing.F) {
	p := provider(f, hs("slim"))
	v := verifier(f, VerifierConfig{Keys: rawKey(secret), Audience: []string{"slim"}})
	good := mint(f, p, noon)
	f.Add(good)
	f.Add(sign(f, rawKey(secret), `{"sub":"s","exp":1795603600,"aud":"slim","pubkey":"AA=="}`))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	parts := strings.Split(good, ".")
	f.Add(parts[0] + "." + parts[1] + ".")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := v.Verify(token, noon)
		if err == nil {
			i := strings.LastIndexByte(token, '.')
			mac := hmac.New(sha256.New, []byte(secret))
			mac.Write([]byte(token[:i]))
			if token[i+1:] != base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) || c.Subject == "" || len(c.PublicKey) == 0 {
				t.Errorf("accepted a token of %d bytes, subject %q", len(token), c.Subject)
			}
		}
		if err != nil && len(token) > 40 && strings.Contains(err.Error(), token[:20]) {
			t.Errorf("error quotes the token: %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	private, public := pemOf(b, newEC(b))
	p := provider(b, Config{Key: pemKey(private), Subject: subject})
	v := verifier(b, VerifierConfig{Keys: pemKey(public)})
	token := mint(b, p, noon)
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			if _, err := v.Verify(token, noon); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			if _, err := v.check(token, v.keys.value); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sign", func(b *testing.B) {
		now := noon
		for b.Loop() {
			now = now.Add(time.Second)
			if _, err := p.Token(now); err != nil {
				b.Fatal(err)
			}
		}
	})
}
