package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
)

func TestWeakKeys(t *testing.T) {
	n := new(big.Int).Lsh(big.NewInt(1), 1023)
	weak := &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
	huge := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), MaxRSA), E: 65537}
	good, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	even := &rsa.PublicKey{N: good.(*rsa.PrivateKey).N, E: 4}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, pub := range map[string]crypto.PublicKey{"RSA 1024": weak, "RSA too large": huge, "RSA even exponent": even, "P-224": p224.Public()} {
		if _, err := NewPublic("", pub, ""); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, n := range []int{0, 31} {
		if _, err := NewSecret("", make([]byte, n), "HS256"); err == nil || !strings.Contains(err.Error(), "at least 32") {
			t.Errorf("HMAC key of %d bytes: %v", n, err)
		}
	}
	if _, err := NewSecret("", make([]byte, 32), ""); err == nil {
		t.Error("HMAC key without an algorithm")
	}
	if _, err := NewSecret("", make([]byte, 32), "ES256"); err == nil {
		t.Error("HMAC key for ES256")
	}
	if _, err := NewPublic(strings.Repeat("k", maxKeyID+1), good.Public(), ""); err == nil {
		t.Error("long key id")
	}
}

func TestParsePEMRefuses(t *testing.T) {
	private, public := pemOf(t, pairs(t)["P-256"])
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private521, public521 := pemOf(t, p521)
	for name, text := range map[string][]byte{
		"nothing": nil, "no PEM": []byte("secret"), "two keys": append(append([]byte{}, public...), private...),
		"other block":      pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}),
		"broken block":     pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}}),
		"P-521":            private521,
		"P-521 public":     public521,
		"parameters alone": pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{1}}),
	} {
		if _, err := ParsePEM(text, ""); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := ParsePEM(public, "RS256"); err == nil {
		t.Error("P-256 key for RS256")
	}
	withParameters := append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}}), private...)
	if _, err := ParsePEM(withParameters, ""); err != nil {
		t.Errorf("after EC PARAMETERS: %v", err)
	}
}

// The older forms, as openssl writes them.
func TestParsePEMForms(t *testing.T) {
	keys := pairs(t)
	sec1, err := x509.MarshalECPrivateKey(keys["P-256"].(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	r := keys["RSA"].(*rsa.PrivateKey)
	for name, block := range map[string]*pem.Block{
		"SEC 1":         {Type: "EC PRIVATE KEY", Bytes: sec1},
		"PKCS 1":        {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(r)},
		"PKCS 1 public": {Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&r.PublicKey)},
	} {
		if _, err := ParsePEM(pem.EncodeToMemory(block), ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseJWKRefuses(t *testing.T) {
	keys := pairs(t)
	with := func(base map[string]any, member string, value any) []byte {
		j := maps.Clone(base)
		if j[member] = value; value == nil {
			delete(j, member)
		}
		return text(t, j)
	}
	ec, rs, ed := jwkOf(t, keys["P-256"]), jwkOf(t, keys["RSA"]), jwkOf(t, keys["Ed25519"])
	other := jwkOf(t, keys["P-384"])
	b64 := base64.RawURLEncoding.EncodeToString
	for name, j := range map[string][]byte{
		"no JSON":            []byte("x"),
		"null":               []byte("null"),
		"no kty":             with(ec, "kty", nil),
		"kty in other case":  []byte(`{"KTY":"oct","k":"` + b64(make([]byte, 32)) + `","alg":"HS256"}`),
		"for encryption":     with(ec, "use", "enc"),
		"other operations":   with(ec, "key_ops", []string{"deriveKey"}),
		"operations no list": with(ec, "key_ops", "sign"),
		"kid no text":        with(ec, "kid", 1),
		"unknown algorithm":  with(ec, "alg", "ES512"),
		"algorithm misfits":  with(ec, "alg", "RS256"),
		"curve unknown":      with(ec, "crv", "P-521"),
		"other curve":        with(ec, "crv", "P-384"),
		"off the curve":      with(ec, "y", ec["x"]),
		"x short":            with(ec, "x", b64(make([]byte, 31))),
		"x padded":           with(ec, "x", ec["x"].(string)+"="),
		"x with line end":    with(ec, "x", ec["x"].(string)[:5]+"\n"+ec["x"].(string)[5:]),
		"d of another key":   with(ec, "d", b64(append(make([]byte, 31), 7))),
		"d zero":             with(ec, "d", b64(make([]byte, 32))),
		"d of another curve": with(ec, "d", other["d"]),
		"RSA no e":           with(rs, "e", nil),
		"RSA large e":        with(rs, "e", b64([]byte{1, 0, 0, 0, 1})),
		"RSA other d":        with(rs, "d", b64([]byte{3})),
		"RSA no primes":      with(rs, "p", nil),
		"RSA short n":        with(rs, "n", b64(append(make([]byte, 127), 1))),
		"RSA large n":        with(rs, "n", b64(append([]byte{1}, make([]byte, MaxRSA)...))),
		"Ed25519 short x":    with(ed, "x", b64(make([]byte, 31))),
		"Ed25519 other d":    with(ed, "d", b64(make([]byte, 32))),
		"Ed25519 short d":    with(ed, "d", b64(make([]byte, 31))),
		"X25519":             with(ed, "crv", "X25519"),
		"short secret":       []byte(`{"kty":"oct","alg":"HS256","k":"` + b64(make([]byte, 31)) + `"}`),
		"secret without alg": []byte(`{"kty":"oct","k":"` + b64(make([]byte, 32)) + `"}`),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseJWK(j, ""); err == nil {
				t.Fatal("taken")
			}
		})
	}
	if _, err := ParseJWK(text(t, ec), "ES256"); err != nil {
		t.Error(err)
	}
	if _, err := ParseJWK(with(ec, "alg", "ES256"), "ES384"); err == nil {
		t.Error("configured and own algorithm differ")
	}
}

func TestParseJWKS(t *testing.T) {
	keys := pairs(t)
	named := func(kind, kid string) map[string]any {
		j := jwkOf(t, keys[kind])
		delete(j, "d")
		j["kid"] = kid
		return j
	}
	set := func(members ...map[string]any) []byte { return text(t, map[string]any{"keys": members}) }
	foreign := map[string]any{"kty": "new"}
	many := make([]map[string]any, MaxKeys+1)
	for i := range many {
		many[i] = named("P-256", fmt.Sprint(i))
	}
	tests := []struct {
		name string
		text []byte
		alg  string
		want int
	}{
		{"two", set(named("P-256", "a"), named("RSA", "b")), "", 2},
		{"foreign ones are left out", set(foreign, named("P-256", "a"), map[string]any{"kty": "EC", "use": "enc"}), "", 1},
		{"one algorithm", set(named("P-256", "a"), named("RSA", "b")), "RS256", 1},
		{"most", set(many[1:]...), "", MaxKeys},
		{"too many", set(many...), "", 0},
		{"duplicate kid", set(named("P-256", "a"), named("RSA", "a")), "", 0},
		{"without kid twice", set(map[string]any{"kty": "oct", "alg": "HS256", "k": strings.Repeat("a", 43+1)}, named("P-256", "")), "", 2},
		{"weak one", set(named("P-256", "a"), map[string]any{"kty": "oct", "alg": "HS256", "k": "AAAA"}), "", 0},
		{"malformed one", set(named("P-256", "a"), map[string]any{"kty": "EC", "crv": "P-256"}), "", 0},
		{"none left", set(foreign), "", 0},
		{"empty", set(), "", 0},
		{"no keys", []byte("{}"), "", 0},
		{"a JWK", text(t, named("P-256", "a")), "", 0},
		{"no JSON", []byte("x"), "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseJWKS(tt.text, tt.alg)
			if len(got) != tt.want || (err == nil) != (tt.want > 0) {
				t.Errorf("%d keys, %v", len(got), err)
			}
		})
	}
}

func TestKeyNeverPrints(t *testing.T) {
	const secret = "do-not-print-me-do-not-print-me-x"
	k, err := NewSecret("", []byte(secret), "HS256")
	if err != nil {
		t.Fatal(err)
	}
	holder := struct{ hidden []*Key }{[]*Key{k}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, printed := range []string{fmt.Sprintf(verb, k), fmt.Sprintf(verb, *k), fmt.Sprintf(verb, holder), fmt.Sprintf(verb, []*Key{k})} {
			for _, leak := range []string{"do-not", fmt.Sprintf("%x", "do-not"), "100 111 45", "0x64, 0x6f"} {
				if strings.Contains(printed, leak) {
					t.Errorf("%s: %s", verb, printed)
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range rfcTokens {
		f.Add(v.token)
	}
	f.Add("..")
	f.Add("e30.e30.")
	key, err := ParseJWK([]byte(rfcHMAC), "")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, token string) {
		tok, err := Parse(token)
		if err != nil {
			return
		}
		_, _ = tok.Claims.Subject()
		_, _ = tok.Claims.Audience()
		if p, err := tok.Claims.Period(); err == nil && p.Expires.IsZero() {
			t.Error("a token without an end")
		}
		if _, err := tok.Verify([]*Key{key}); err == nil && token != rfcTokens[0].token {
			t.Error("a forged token verifies")
		}
	})
}

func FuzzParseJWKS(f *testing.F) {
	for _, j := range []string{rfcHMAC, rfcRSA, rfcEC} {
		f.Add([]byte(`{"keys":[` + j + `]}`))
	}
	f.Fuzz(func(t *testing.T, set []byte) {
		keys, err := ParseJWKS(set, "")
		if (err == nil) != (len(keys) > 0) || len(keys) > MaxKeys {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			if len(k.Algorithms()) == 0 {
				t.Error("a key for nothing")
			}
		}
	})
}
