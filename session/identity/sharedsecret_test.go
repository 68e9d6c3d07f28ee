package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// forge makes a token with a right MAC around whatever is given.
func forge(secret, signed string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(signed))
	return signed + ":" + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func encodeClaims(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

var (
	keyText  = base64.StdEncoding.EncodeToString(make([]byte, 65))
	goodText = encodeClaims(`{"pubkey":"` + keyText + `"}`)
	epoch    = time.Unix(1_800_000_000, 0)
)

func TestMintedTokenShape(t *testing.T) {
	p := holder(t, secretA)
	if !regexp.MustCompile(`^org/ns/app_[A-Za-z0-9]{8}$`).MatchString(p.Subject()) {
		t.Errorf("subject %q", p.Subject())
	}
	token, err := p.Token(epoch)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(token), len(p.Subject())+208; got != want {
		t.Errorf("token has %d bytes, want %d", got, want)
	}
	if strings.Count(token, ":") != 4 {
		t.Errorf("token has %d colons", strings.Count(token, ":"))
	}
	again, _ := p.Token(epoch)
	if again == token {
		t.Error("two tokens are equal: the nonce does not change")
	}
	claims, err := holder(t, secretA).Verify(token, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if claims.Subject != p.Subject() || string(claims.PublicKey) != string(p.Signer().Public()) {
		t.Errorf("claims %+v", claims)
	}
	if other := holder(t, secretA); other.Subject() == p.Subject() {
		t.Error("two identities have one subject")
	}
}

func TestVerifyTimeWindow(t *testing.T) {
	p := holder(t, secretA)
	token, _ := p.Token(epoch)
	tests := []struct {
		name string
		at   time.Duration
		want error
	}{
		{"same second", 0, nil},
		{"oldest", 3600 * time.Second, nil},
		{"oldest and a fraction", 3600*time.Second + 999*time.Millisecond, nil},
		{"too old", 3601 * time.Second, ErrExpired},
		{"newest", -5 * time.Second, nil},
		{"too new", -6 * time.Second, ErrNotYetValid},
		{"years later", 20 * 365 * 24 * time.Hour, ErrExpired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := p.Verify(token, epoch.Add(tt.at)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := p.VerifyAdmitted(token); err != nil {
		t.Errorf("admitted: %v", err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	at := "1800000000"
	signed := "id:" + at + ":nonce:" + goodText
	good := forge(secretA, signed)
	tests := []struct {
		name, token string
		want        error
	}{
		{"accepted, as a control", good, nil},
		{"extra claims and white space", forge(secretA, "id:"+at+":n:"+encodeClaims(` { "a" : [1], "pubkey" : "`+keyText+`" } `)), nil},
		{"empty nonce", forge(secretA, "id:"+at+"::"+goodText), nil},
		{"empty", "", ErrMalformed},
		{"no colon", "abc", ErrMalformed},
		{"three fields", forge(secretA, "id:"+at+":nonce"), ErrMalformed},
		{"five fields", forge(secretA, signed+":x"), ErrMalformed},
		{"empty subject", forge(secretA, ":"+at+":nonce:"+goodText), ErrMalformed},
		{"subject not UTF-8", forge(secretA, "\xff:"+at+":nonce:"+goodText), ErrMalformed},
		{"time not a number", forge(secretA, "id:18x:nonce:"+goodText), ErrMalformed},
		{"time negative", forge(secretA, "id:-1:nonce:"+goodText), ErrMalformed},
		{"time with sign", forge(secretA, "id:+"+at+":nonce:"+goodText), ErrMalformed},
		{"time overflows", forge(secretA, "id:18446744073709551615:nonce:"+goodText), ErrMalformed},
		{"time before MAC", forge(secretB, "id:1:nonce:"+goodText), ErrExpired},
		{"other secret", forge(secretB, signed), ErrForged},
		{"altered subject", "x" + good, ErrForged},
		{"mac empty", signed + ":", ErrMalformed},
		{"mac padded", good + "=", ErrMalformed},
		{"mac truncated", good[:len(good)-1], ErrMalformed},
		{"mac with newline", good[:len(good)-1] + "\n", ErrMalformed},
		{"mac of 42 characters and a newline inside", good[:len(good)-5] + "\n" + good[len(good)-4:], ErrMalformed},
		{"mac in standard alphabet", signed + ":" + strings.Repeat("+", 43), ErrMalformed},
		{"mac with set trailing bits", signed + ":" + strings.Repeat("A", 42) + "B", ErrMalformed},
		{"claims empty", forge(secretA, "id:"+at+":nonce:"), ErrMalformed},
		{"claims padded", forge(secretA, "id:"+at+":nonce:"+goodText+"="), ErrMalformed},
		{"claims with newline", forge(secretA, "id:"+at+":nonce:"+goodText[:8]+"\n"+goodText[8:]), ErrMalformed},
		{"claims not an object", forge(secretA, "id:"+at+":nonce:"+encodeClaims(`["pubkey"]`)), ErrMalformed},
		{"claims null", forge(secretA, "id:"+at+":nonce:"+encodeClaims(`null`)), ErrMalformed},
		{"claims with trailing data", forge(secretA, "id:"+at+":nonce:"+encodeClaims(`{"pubkey":"`+keyText+`"}x`)), ErrMalformed},
		{"no pubkey", forge(secretA, "id:"+at+":nonce:"+encodeClaims(`{}`)), ErrMalformed},
		{"pubkey in other case", forge(secretA, "id:"+at+":nonce:"+encodeClaims(`{"PubKey":"`+keyText+`"}`)), ErrMalformed},
		{"pubkey nested", forge(secretA, "id:"+at+":nonce:"+encodeClaims(`{"custom_claims":{"pubkey":"`+keyText+`"}}`)), ErrMalformed},
		{"pubkey not a string", forge(secretA, "id:"+at+":nonce:"+encodeClaims(`{"pubkey":1}`)), ErrMalformed},
		{"pubkey null", forge(secretA, "id:"+at+":nonce:"+encodeClaims(`{"pubkey":null}`)), ErrMalformed},
		{"pubkey unpadded", forge(secretA, "id:"+at+":nonce:"+encodeClaims(`{"pubkey":"`+strings.TrimRight(keyText, "=")+`"}`)), ErrMalformed},
		{"pubkey with newline", forge(secretA, "id:"+at+":nonce:"+encodeClaims(`{"pubkey":"`+keyText+`\n"}`)), ErrMalformed},
		{"pubkey of other length", forge(secretA, "id:"+at+":nonce:"+encodeClaims(`{"pubkey":"AAAA"}`)), ErrMalformed},
		{"too long", forge(secretA, strings.Repeat("a", MaxToken)+":"+at+":nonce:"+goodText), ErrMalformed},
	}
	p := holder(t, secretA)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			claims, err := p.Verify(tt.token, epoch)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err != nil && claims.Subject != "" {
				t.Error("claims returned with an error")
			}
			if err != nil && (strings.Contains(err.Error(), "1800000000") || strings.Contains(err.Error(), goodText)) {
				t.Errorf("error shows the token: %v", err)
			}
			_, err = p.VerifyAdmitted(tt.token)
			if tt.want == ErrExpired {
				tt.want = ErrForged // the next check that fails
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("admitted: got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestNewSharedSecretRefuses(t *testing.T) {
	s := GenerateSecret()
	tests := []struct{ name, base string }{
		{"empty", ""}, {"colon", "a:b"}, {"space", "a b"}, {"newline", "a\n"}, {"no-break space", "a\u00a0b"}, {"not UTF-8", "a\xff"},
		{"too long", strings.Repeat("a", MaxToken)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewSharedSecret(s, tt.base); err == nil {
				t.Errorf("base %q accepted", tt.base)
			}
		})
	}
	if _, err := NewSharedSecret(Secret{}, "app"); err == nil {
		t.Error("no secret accepted")
	}
}

func TestTokenRefusesWrongClock(t *testing.T) {
	if _, err := holder(t, secretA).Token(time.Time{}); err == nil {
		t.Error("minted in the year 1")
	}
}

func TestConcurrentUse(t *testing.T) {
	p := holder(t, secretA)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 50 {
				token, err := p.Token(epoch)
				if err != nil {
					t.Error(err)
				}
				if _, err := p.Verify(token, epoch); err != nil {
					t.Error(err)
				}
				if _, err := p.Signer().Sign([]byte(strconv.Itoa(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzVerify(f *testing.F) {
	p := holder(f, secretA)
	f.Add(tokenA)
	f.Add(tokenB)
	f.Add(forge(secretA, "id:1800000000:nonce:"+goodText))
	f.Add("::::")
	f.Fuzz(func(t *testing.T, token string) {
		for _, in := range []string{token, forge(secretA, token)} { // the second gets past the MAC
			claims, err := p.VerifyAdmitted(in)
			if err == nil && (claims.Subject == "" || !knownKeySize(len(claims.PublicKey))) {
				t.Errorf("accepted %q as %+v", in, claims)
			}
			if _, errNow := p.Verify(in, epoch); errNow == nil && err != nil {
				t.Errorf("Verify accepts %q, VerifyAdmitted does not: %v", in, err)
			}
		}
	})
}

func BenchmarkMint(b *testing.B) {
	p := holder(b, secretA)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Token(epoch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	p := holder(b, secretA)
	token, _ := p.Token(epoch)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Verify(token, epoch); err != nil {
			b.Fatal(err)
		}
	}
}
