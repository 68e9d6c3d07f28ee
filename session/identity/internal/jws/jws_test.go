package jws

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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
)

// Keys and tokens of RFC 7515 appendix A.1 to A.3; all three sign one payload.
const (
	rfcPayload = ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
	rfcHMAC    = `{"kty":"oct","alg":"HS256","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`
	rfcRSA     = `{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`
	rfcEC      = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
)

var rfcTokens = []struct{ name, key, token string }{
	{"HS256", rfcHMAC, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9" + rfcPayload + "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
	{"RS256", rfcRSA, "eyJhbGciOiJSUzI1NiJ9" + rfcPayload + "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
	{"ES256", rfcEC, "eyJhbGciOiJFUzI1NiJ9" + rfcPayload + "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
}

func TestVectorsRFC7515(t *testing.T) {
	for _, v := range rfcTokens {
		t.Run(v.name, func(t *testing.T) {
			k, err := ParseJWK([]byte(v.key), "")
			if err != nil {
				t.Fatal(err)
			}
			tok, err := Parse(v.token)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tok.Verify([]*Key{k}); err != nil || got != k {
				t.Fatal(err)
			}
			if iss, err := tok.Claims.Text("iss"); err != nil || iss != "joe" {
				t.Errorf("iss = %q, %v", iss, err)
			}
			p, err := tok.Claims.Period()
			if err != nil || p.Expires.Unix() != 1300819380 {
				t.Errorf("exp = %v, %v", p.Expires, err)
			}
			// One changed character of the payload.
			forged, err := Parse(strings.Replace(v.token, "eyJpc3MiOiJqb2Ui", "eyJpc3MiOiJqb2Yi", 1))
			if err != nil {
				t.Fatal(err)
			}
			if _, err = forged.Verify([]*Key{k}); !errors.Is(err, identity.ErrUntrusted) {
				t.Errorf("changed payload: %v", err)
			}
		})
	}
}

// pair is a private key of each kind.
func pairs(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	must := func(s crypto.Signer, err error) crypto.Signer {
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err2 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	return map[string]crypto.Signer{"RSA": must(rsaKey()), "P-256": must(p256, err), "P-384": must(p384, err2), "Ed25519": ed}
}

// rsaKey is made once: that takes a second.
var rsaKey = sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func pemOf(t testing.TB, key any) (private, public []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.(crypto.Signer).Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})
}

// jwkOf writes a private JWK; the public one is without d, p and q.
func jwkOf(t testing.TB, key crypto.Signer) map[string]any {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return map[string]any{"kty": "RSA", "n": b64(k.N.Bytes()), "e": "AQAB", "d": b64(k.D.Bytes()), "p": b64(k.Primes[0].Bytes()), "q": b64(k.Primes[1].Bytes())}
	case *ecdsa.PrivateKey:
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		d, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		n := len(point) / 2
		return map[string]any{"kty": "EC", "crv": k.Params().Name, "x": b64(point[1 : 1+n]), "y": b64(point[1+n:]), "d": b64(d)}
	case ed25519.PrivateKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(k.Public().(ed25519.PublicKey)), "d": b64(k.Seed())}
	}
	t.Fatal("unknown key")
	return nil
}

func text(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every algorithm, with the key in every form: ours verifies what ours signed,
// and no key of another kind or for another algorithm does.
func TestSignAndVerify(t *testing.T) {
	keys := pairs(t)
	secret := []byte("0123456789abcdef0123456789abcdef")
	type signer struct {
		key      *Key
		verifier []*Key
	}
	signers := map[string]signer{}
	for _, alg := range algHMAC {
		k, err := NewSecret("", secret, alg)
		if err != nil {
			t.Fatal(err)
		}
		j, err := ParseJWK(text(t, map[string]any{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(secret), "alg": alg}), "")
		if err != nil {
			t.Fatal(err)
		}
		signers[alg] = signer{k, []*Key{k, j}}
	}
	kinds := map[string]string{"ES256": "P-256", "ES384": "P-384", "EdDSA": "Ed25519"}
	for _, alg := range algRSA {
		kinds[alg] = "RSA"
	}
	for alg, kind := range kinds {
		private, public := pemOf(t, keys[kind])
		k, err := ParsePEM(private, alg)
		if err != nil {
			t.Fatal(err)
		}
		j := jwkOf(t, keys[kind])
		fromJWK, err := ParseJWK(text(t, j), alg)
		if err != nil {
			t.Fatal(err)
		}
		delete(j, "d")
		pub, err := ParseJWK(text(t, j), alg)
		if err != nil {
			t.Fatal(err)
		}
		pubPEM, err := ParsePEM(public, alg)
		if err != nil {
			t.Fatal(err)
		}
		if pub.CanSign() || pubPEM.CanSign() || !k.CanSign() || !fromJWK.CanSign() {
			t.Errorf("%s: public and private keys are mixed up", alg)
		}
		signers[alg] = signer{k, []*Key{k, fromJWK, pub, pubPEM}}
	}
	for alg, s := range signers {
		t.Run(alg, func(t *testing.T) {
			token, err := Sign(s.key, "kid", []byte(`{"sub":"a"}`))
			if err != nil {
				t.Fatal(err)
			}
			tok, err := Parse(token)
			if err != nil || tok.KeyID != "kid" || tok.alg != alg {
				t.Fatalf("%+v, %v", tok, err)
			}
			for i, k := range s.verifier {
				if _, err := tok.Verify([]*Key{k}); err != nil {
					t.Errorf("key %d: %v", i, err)
				}
			}
			for other, o := range signers {
				if _, err := tok.Verify(o.verifier); other != alg && !errors.Is(err, identity.ErrUntrusted) {
					t.Errorf("verifies with a key for %s: %v", other, err)
				}
			}
		})
	}
}

// The attacks on algorithms (RFC 8725 section 2.1): the public key taken for a
// secret, no signature, a case that differs.
func TestAlgorithmConfusion(t *testing.T) {
	private, public := pemOf(t, pairs(t)["P-256"])
	key, err := ParsePEM(public, "")
	if err != nil {
		t.Fatal(err)
	}
	asSecret, err := NewSecret("", public, "HS256")
	if err != nil {
		t.Fatal(err)
	}
	confused, err := Sign(asSecret, "", []byte(`{"sub":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ParsePEM(private, "")
	if err != nil {
		t.Fatal(err)
	}
	good, err := Sign(signer, "", []byte(`{"sub":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	withHeader := func(header string) string { return b64([]byte(header)) + good[strings.IndexByte(good, '.'):] }
	for name, token := range map[string]string{
		"public key as secret":     confused,
		"none":                     b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{"sub":"a"}`)) + ".",
		"none with signature":      withHeader(`{"alg":"none"}`),
		"None":                     withHeader(`{"alg":"None"}`),
		"no algorithm":             withHeader(`{"typ":"JWT"}`),
		"algorithm of wrong type":  withHeader(`{"alg":1}`),
		"other algorithm":          withHeader(`{"alg":"ES384"}`),
		"algorithm in other case":  withHeader(`{"ALG":"ES256"}`),
		"key given by the token":   withHeader(`{"alg":"ES256","jwk":{}}`),
		"signature of other bytes": withHeader(`{"typ":"JWT","alg":"ES256"} `),
	} {
		t.Run(name, func(t *testing.T) {
			tok, err := Parse(token)
			if err == nil {
				_, err = tok.Verify([]*Key{key})
			}
			if !errors.Is(err, identity.ErrUntrusted) {
				t.Errorf("error = %v", err)
			}
		})
	}
	if tok, err := Parse(good); err != nil {
		t.Error(err)
	} else if _, err := tok.Verify([]*Key{key}); err != nil {
		t.Error(err)
	}
}

func TestParseRefuses(t *testing.T) {
	good := rfcTokens[0].token
	b64 := base64.RawURLEncoding.EncodeToString
	rest := good[strings.IndexByte(good, '.'):]
	header := good[:strings.IndexByte(good, '.')]
	for name, token := range map[string]string{
		"empty":              "",
		"two parts":          "a.b",
		"four parts":         good + ".x",
		"line end inside":    good[:10] + "\n" + good[10:],
		"line end after":     good + "\n",
		"padding":            header + "=" + rest,
		"trailing bits":      good[:len(good)-1] + "l",
		"header no JSON":     b64([]byte("x")) + rest,
		"header an array":    b64([]byte("[]")) + rest,
		"claims no object":   header + "." + b64([]byte("[1]")) + ".AAAA",
		"claims and more":    header + "." + b64([]byte("{}{}")) + ".AAAA",
		"kid of wrong type":  b64([]byte(`{"alg":"HS256","kid":1}`)) + rest,
		"critical extension": b64([]byte(`{"alg":"HS256","crit":["b64"],"b64":false}`)) + rest,
		"type of other JWT":  b64([]byte(`{"alg":"HS256","typ":"at+jwt"}`)) + rest,
		"too long":           header + "." + b64([]byte(`{"a":"`+strings.Repeat("x", identity.MaxToken)+`"}`)) + ".AAAA",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(token)
			if !errors.Is(err, identity.ErrMalformed) {
				t.Fatalf("error = %v", err)
			}
			if len(token) > 8 && strings.Contains(err.Error(), token[:8]) {
				t.Errorf("error quotes the token: %v", err)
			}
		})
	}
}

func TestKeyIDChooses(t *testing.T) {
	newKey := func(id, fill string) *Key {
		k, err := NewSecret(id, []byte(strings.Repeat(fill, 32)), "HS256")
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	a, b := newKey("a", "a"), newKey("b", "b")
	for _, tt := range []struct {
		kid  string
		key  *Key
		want *Key
	}{
		{"a", a, a}, {"b", b, b}, {"", b, b}, {"unknown", b, b}, {"a", b, nil},
	} {
		t.Run(fmt.Sprintf("kid %q signed by %s", tt.kid, tt.key.ID), func(t *testing.T) {
			token, err := Sign(tt.key, tt.kid, []byte(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			tok, err := Parse(token)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tok.Verify([]*Key{a, b}); got != tt.want || (err == nil) != (tt.want != nil) {
				t.Errorf("key %v, %v", got, err)
			}
		})
	}
}

func TestPeriod(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	tests := []struct {
		name, claims string
		now          time.Time
		want         error
	}{
		{"inside", `{"iat":100,"nbf":100,"exp":200}`, at(150), nil},
		{"5 s after the end", `{"exp":200}`, at(205), nil},
		{"almost 6 s after the end", `{"exp":200}`, at(205).Add(999 * time.Millisecond), nil},
		{"6 s after the end", `{"exp":200}`, at(206), identity.ErrExpired},
		{"5 s before nbf", `{"nbf":100,"exp":200}`, at(95), nil},
		{"6 s before nbf", `{"nbf":100,"exp":200}`, at(94), identity.ErrNotYetValid},
		{"5 s before iat", `{"iat":100,"exp":200}`, at(95), nil},
		{"6 s before iat", `{"iat":100,"exp":200}`, at(94), identity.ErrNotYetValid},
		{"fraction", `{"exp":200.9}`, at(206), identity.ErrExpired},
		{"no end", `{"iat":100}`, at(150), identity.ErrMalformed},
		{"end as text", `{"exp":"200"}`, at(150), identity.ErrMalformed},
		{"start null", `{"nbf":null,"exp":200}`, at(150), identity.ErrMalformed},
		{"negative", `{"exp":-1}`, at(150), identity.ErrMalformed},
		{"overflow", `{"exp":1e300}`, at(150), identity.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c Claims
			if err := json.Unmarshal([]byte(tt.claims), &c); err != nil {
				t.Fatal(err)
			}
			p, err := c.Period()
			if err == nil {
				err = p.Check(tt.now)
			}
			if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	for claims, wantOK := range map[string]bool{
		`{}`: true, `{"aud":"a"}`: true, `{"aud":["a","b"]}`: true, `{"aud":[]}`: true,
		`{"aud":1}`: false, `{"aud":["a",1]}`: false, `{"aud":{}}`: false,
		`{"aud":[` + strings.Repeat(`"a",`, maxAudiences) + `"a"]}`: false,
	} {
		var c Claims
		if err := json.Unmarshal([]byte(claims), &c); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Audience(); (err == nil) != wantOK {
			t.Errorf("%s: %v", claims, err)
		}
	}
	for claims, wantOK := range map[string]bool{
		`{"sub":"a"}`: true, `{}`: false, `{"sub":""}`: false, `{"sub":1}`: false, `{"SUB":"a"}`: false,
		`{"sub":"` + strings.Repeat("a", maxSubject+1) + `"}`: false,
	} {
		var c Claims
		if err := json.Unmarshal([]byte(claims), &c); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Subject(); (err == nil) != wantOK {
			t.Errorf("%.40s: %v", claims, err)
		}
	}
}
