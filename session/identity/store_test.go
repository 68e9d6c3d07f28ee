package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// memoryStore is a Store of the kind that would notice shared slices.
type memoryStore struct {
	records             map[string][]byte
	failRead, failWrite error
	writes              int
}

func newMemoryStore() *memoryStore {
	return &memoryStore{records: map[string][]byte{"session/1": []byte("of somebody else")}}
}

func (m *memoryStore) Read(each func(string, []byte) error) error {
	if m.failRead != nil {
		return m.failRead
	}
	for name, value := range m.records {
		given := slices.Clone(value)
		if err := each(name, given); err != nil {
			return err
		}
		clear(given)
	}
	return nil
}

func (m *memoryStore) Write(changes map[string][]byte) error {
	if m.failWrite != nil {
		return m.failWrite
	}
	m.writes++
	for name, value := range changes {
		m.records[name] = slices.Clone(value)
	}
	return nil
}

func keep(t *testing.T, m *memoryStore, base string) *SharedSecret {
	t.Helper()
	s, err := NewSecret([]byte(secretA))
	if err != nil {
		t.Fatal(err)
	}
	p, err := KeepSharedSecret(s, base, m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestKeepSharedSecret(t *testing.T) {
	m := newMemoryStore()
	first := keep(t, m, "org/ns/app")
	again := keep(t, m, "org/ns/app")
	if m.writes != 1 {
		t.Errorf("%d writes", m.writes)
	}
	if first.Subject() != again.Subject() || !bytes.Equal(first.Signer().Public(), again.Signer().Public()) {
		t.Errorf("%s came back as %s, or with another key", first.Subject(), again.Subject())
	}
	if other := keep(t, newMemoryStore(), "org/ns/app"); other.Subject() == first.Subject() {
		t.Error("two stores have one subject")
	}
	for _, pair := range [][2]*SharedSecret{{first, again}, {again, first}} {
		token, err := pair[0].Token(epoch)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := pair[1].Verify(token, epoch)
		if err != nil || claims.Subject != first.Subject() {
			t.Errorf("claims %+v, %v", claims, err)
		}
		sig, err := pair[1].Signer().Sign([]byte("message"))
		if err != nil {
			t.Fatal(err)
		}
		if err := VerifySignature(claims.PublicKey, []byte("message"), sig); err != nil {
			t.Error(err)
		}
	}
	for name := range m.records {
		if name != "session/1" && !strings.HasPrefix(name, "identity/") {
			t.Errorf("record %q", name)
		}
	}
	if string(m.records["session/1"]) != "of somebody else" {
		t.Error("another record was touched")
	}
}

func TestKeepSharedSecretRefuses(t *testing.T) {
	s := GenerateSecret()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wrongCurve, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	good := newMemoryStore()
	keep(t, good, "app")
	var stored storedIdentity
	if err := json.Unmarshal(good.records[keySharedSecret], &stored); err != nil {
		t.Fatal(err)
	}
	record := func(change func(*storedIdentity)) []byte {
		r := stored
		r.Key = slices.Clone(r.Key)
		change(&r)
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tests := []struct {
		name, base string
		record     []byte
		want       string
	}{
		{"control", "app", record(func(*storedIdentity) {}), ""},
		{"other base", "other", record(func(*storedIdentity) {}), "state file of its own"},
		{"base that begins alike", "ap", record(func(*storedIdentity) {}), "state file of its own"},
		{"empty", "app", []byte{}, "damaged"},
		{"no JSON", "app", []byte("x"), "damaged"},
		{"half", "app", good.records[keySharedSecret][:40], "damaged"},
		{"no key", "app", record(func(r *storedIdentity) { r.Key = nil }), "damaged"},
		{"altered key", "app", record(func(r *storedIdentity) { r.Key[3] ^= 0xff }), "damaged"},
		{"key of another curve", "app", record(func(r *storedIdentity) { r.Key = wrongCurve }), "damaged"},
		{"subject of another base", "app", record(func(r *storedIdentity) { r.Subject = "apq_AAAAAAAA" }), "damaged"},
		{"subject without suffix", "app", record(func(r *storedIdentity) { r.Subject = "app_" }), "damaged"},
		{"subject with a colon", "app", record(func(r *storedIdentity) { r.Subject = "app_AAAA:AAA" }), "damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemoryStore()
			m.records[keySharedSecret] = tt.record
			before := slices.Clone(tt.record)
			p, err := KeepSharedSecret(s, tt.base, m)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if p != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
			if m.writes != 0 || !bytes.Equal(before, m.records[keySharedSecret]) {
				t.Error("record was replaced")
			}
		})
	}
	for _, base := range []string{"", "a:b"} {
		if _, err := KeepSharedSecret(s, base, newMemoryStore()); err == nil {
			t.Errorf("base %q accepted", base)
		}
	}
	if _, err := KeepSharedSecret(Secret{}, "app", good); err == nil {
		t.Error("no secret accepted")
	}
}

func TestKeepSigner(t *testing.T) {
	m := newMemoryStore()
	first, err := KeepSigner(m)
	if err != nil {
		t.Fatal(err)
	}
	again, err := KeepSigner(m)
	if err != nil || m.writes != 1 {
		t.Fatalf("%d writes, %v", m.writes, err)
	}
	sig, err := again.Sign([]byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifySignature(first.Public(), []byte("message"), sig); err != nil {
		t.Error(err)
	}
	if other := keep(t, m, "app"); bytes.Equal(other.Signer().Public(), first.Public()) {
		t.Error("two identities share one key")
	}
	for _, damaged := range [][]byte{{}, []byte("x"), m.records[keySigner][:30]} {
		d := newMemoryStore()
		d.records[keySigner] = damaged
		if s, err := KeepSigner(d); s != nil || !errors.Is(err, errStored) || d.writes != 0 {
			t.Errorf("record of %d bytes: %v", len(damaged), err)
		}
	}
}

func TestKeepFailingStore(t *testing.T) {
	cause := errors.New("disk is gone")
	for name, m := range map[string]*memoryStore{"read": {failRead: cause}, "write": {failWrite: cause}} {
		t.Run(name, func(t *testing.T) {
			if p, err := KeepSharedSecret(GenerateSecret(), "app", m); p != nil || !errors.Is(err, cause) {
				t.Errorf("shared secret: %v", err)
			}
			if s, err := KeepSigner(m); s != nil || !errors.Is(err, cause) {
				t.Errorf("signer: %v", err)
			}
		})
	}
}

func TestKeptKeyNeverPrints(t *testing.T) {
	m := newMemoryStore()
	p := keep(t, m, "app")
	signer, err := KeepSigner(m)
	if err != nil {
		t.Fatal(err)
	}
	leaks := []string{}
	for _, s := range []Signer{p.Signer(), signer} {
		raw, err := s.(*p256Signer).key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		leaks = append(leaks, string(raw[:8]), fmt.Sprintf("%x", raw[:8]), strings.Trim(fmt.Sprint(raw[:4]), "[]"), new(big.Int).SetBytes(raw).String()[:12])
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, value := range []any{p, p.Signer(), signer, struct{ S Signer }{signer}, []any{p, signer}} {
			printed := fmt.Sprintf(verb, value)
			for _, leak := range leaks {
				if strings.Contains(strings.ToLower(printed), strings.ToLower(leak)) {
					t.Errorf("%s prints %s", verb, printed)
				}
			}
		}
	}
}
