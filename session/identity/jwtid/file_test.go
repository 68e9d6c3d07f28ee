package jwtid

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/internal/jws"
)

// sign makes a token of any claims.
func sign(t testing.TB, k Key, claims string) string {
	t.Helper()
	keys, err := k.parse(k.From.data(), true)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.Sign(keys[0], "", []byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// write changes a file in place, so that only its content and time differ.
func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// age makes a file look as if it had been written long ago.
func age(t *testing.T, path string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func textFile(path string, reads *int) *watched[string] {
	return &watched[string]{from: File(path), limit: 100, parse: func(b []byte) (string, error) {
		*reads++
		if len(b) == 0 {
			return "", errors.New("empty")
		}
		return string(b), nil
	}}
}

func TestWatchedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	parsed := 0
	w := textFile(path, &parsed)
	expect := func(what, value string, gen uint64, bad bool) {
		t.Helper()
		got, g, fault := w.load()
		if got != value || g != gen || (fault != nil) != bad {
			t.Errorf("%s: %q, number %d, %v; want %q, %d, fault %v", what, got, g, fault, value, gen, bad)
		}
	}
	expect("absent", "", 0, true)
	write(t, path, "one")
	expect("written", "one", 1, false)
	recent := time.Now().Add(time.Hour) // not old enough to be trusted, however slow this test runs
	age(t, path, recent)
	expect("stamped", "one", 1, false)
	write(t, path, "two")
	age(t, path, recent) // as on a file system with a coarse clock
	expect("changed at once, same size and stamp", "two", 2, false)
	old := time.Now().Add(-time.Hour)
	age(t, path, old)
	expect("same content, other time", "two", 2, false)
	write(t, path, "six")
	age(t, path, old)
	expect("changed within the trusted stamp", "two", 2, false)
	age(t, path, old.Add(time.Second))
	expect("stamp differs by a second", "six", 3, false)
	write(t, path, "")
	expect("unusable content", "six", 3, true)
	expect("unusable content again", "six", 3, true)
	write(t, path, strings.Repeat("x", 101))
	expect("too large", "six", 3, true)
	write(t, path, "six")
	expect("mended", "six", 4, false)

	next := path + ".new"
	write(t, next, "ten")
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	expect("replaced", "ten", 5, false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("removed", "ten", 5, true)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	expect("a directory", "ten", 5, true)
}

// A file that rests is not read again.
func TestWatchedFileAtRest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "one")
	age(t, path, time.Now().Add(-time.Hour))
	parsed := 0
	w := textFile(path, &parsed)
	w.load()
	if !w.stable {
		t.Error("stamp of an old file is not trusted")
	}
	if n := testing.AllocsPerRun(100, func() { w.load() }); n > 5 {
		t.Errorf("%v allocations to look at an unchanged file", n)
	}
	if parsed != 1 {
		t.Errorf("parsed %d times", parsed)
	}
	// Another file with the stamp of the old one, as `cp -p` leaves it.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path+".new", "two")
	age(t, path+".new", info.ModTime())
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := w.load(); got != "two" {
		t.Errorf("value %q after the file was replaced by one of the same time and size", got)
	}
}

func TestVerifierReloads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	other := strings.Repeat("b", 32)
	write(t, path, secret)
	v := verifier(t, VerifierConfig{Keys: Key{From: File(path), Format: Raw, Algorithm: HS256}})
	before := mint(t, provider(t, hs()), noon)
	after := mint(t, provider(t, Config{Key: rawKey(other), Subject: subject}), noon)
	expect := func(token string, want error) {
		t.Helper()
		if _, err := v.Verify(token, noon); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("error = %v, want %v", err, want)
		}
	}
	expect(before, nil)
	if _, err := v.VerifyAdmitted(before); err != nil {
		t.Fatal(err)
	}
	write(t, path, other)
	expect(before, identity.ErrUntrusted)
	expect(after, nil)
	write(t, path, "short")
	expect(after, identity.ErrNoKeys)
	if _, err := v.VerifyAdmitted(after); !errors.Is(err, identity.ErrNoKeys) {
		t.Errorf("new member without keys: %v", err)
	}
	if c, err := v.VerifyAdmitted(before); err != nil || c.Subject != subject {
		t.Errorf("a member is lost to the rotation of keys: %v", err)
	}
}

func TestProviderKeepsItsKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	other := strings.Repeat("b", 32)
	write(t, path, secret)
	p := provider(t, Config{Key: Key{From: File(path), Format: Raw, Algorithm: HS256}, Subject: subject})
	verifies := func(key string) error {
		_, err := verifier(t, VerifierConfig{Keys: rawKey(key)}).Verify(mint(t, p, noon), noon)
		return err
	}
	if err := verifies(secret); err != nil || p.Fault() != nil {
		t.Error(err, p.Fault())
	}
	write(t, path, "")
	if err := verifies(secret); err != nil || p.Fault() == nil {
		t.Errorf("%v, fault %v", err, p.Fault())
	}
	write(t, path, other)
	if err := verifies(other); err != nil || p.Fault() != nil {
		t.Errorf("new key is not used within the second: %v, fault %v", err, p.Fault())
	}
}

func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	claims := func(sub string, exp time.Time) string {
		return sign(t, rawKey(secret), fmt.Sprintf(`{"sub":"%s","exp":%d}`, sub, exp.Unix()))
	}
	first, second := claims("s", noon.Add(time.Minute)), claims("s", noon.Add(time.Hour))
	write(t, path, first+"\n")
	f, err := OpenTokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, now time.Time, want string, fault bool) {
		t.Helper()
		got, err := f.Token(now)
		if got != want || (err == nil) != (want != "") || (f.Fault() != nil) != fault {
			t.Errorf("%s: %d bytes, %v, fault %v", what, len(got), err, f.Fault())
		}
		if err != nil && (!errors.Is(err, identity.ErrExpired) || strings.Contains(err.Error(), first[:12])) {
			t.Errorf("%s: %v", what, err)
		}
	}
	expect("first", noon, first, false)
	expect("at its end", noon.Add(time.Minute), first, false)
	expect("expired", noon.Add(2*time.Minute), "", false)
	write(t, path, second)
	expect("renewed", noon.Add(2*time.Minute), second, false)
	write(t, path, claims("other", noon.Add(time.Hour)))
	expect("another subject", noon, second, true)
	write(t, path, second[:20])
	expect("half written", noon, second, true)
	expect("half written and expired", noon.Add(2*time.Hour), "", true)
	if f.Subject() != "s" {
		t.Errorf("subject %q", f.Subject())
	}
	for name, content := range map[string]string{
		"empty": "", "opaque": "token", "no end": sign(t, rawKey(secret), `{"sub":"s"}`), "no subject": sign(t, rawKey(secret), `{"exp":1}`),
		"huge": strings.Repeat("x", identity.MaxToken+2000),
	} {
		write(t, path, content)
		if _, err := OpenTokenFile(path); err == nil {
			t.Errorf("%s is taken", name)
		} else if len(content) > 8 && strings.Contains(err.Error(), content[:8]) {
			t.Errorf("%s: error quotes the file: %v", name, err)
		}
	}
}

func TestStatic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	signer, err := identity.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	claims := func(pub string) string {
		return sign(t, rawKey(secret), fmt.Sprintf(`{"sub":"s","exp":%d,"pubkey":"%s"}`, noon.Unix()+60, pub))
	}
	write(t, path, claims("AA=="))
	if _, err := NewStatic(path, signer); !errors.Is(err, identity.ErrNoPublicKey) || !strings.Contains(err.Error(), identity.EncodePublicKey(signer.Public())) {
		t.Errorf("token with another key: %v", err)
	}
	write(t, path, claims(identity.EncodePublicKey(signer.Public())))
	s, err := NewStatic(path, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := verifier(t, VerifierConfig{Keys: rawKey(secret)}).Verify(mint(t, s, noon), noon)
	if err != nil || c.Subject != s.Subject() || string(c.PublicKey) != string(s.Signer().Public()) {
		t.Errorf("claims %+v, %v", c, err)
	}
}
