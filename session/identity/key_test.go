package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
)

func TestVerifySignature(t *testing.T) {
	msg := []byte("message")
	signer, err := newP256Signer()
	if err != nil {
		t.Fatal(err)
	}
	sig, err := signer.Sign(msg)
	if err != nil {
		t.Fatal(err)
	}
	compressed := append([]byte{2 + signer.public[64]&1}, signer.public[1:33]...)
	edPublic, edPrivate, _ := ed25519.GenerateKey(rand.Reader)
	edSig := ed25519.Sign(edPrivate, msg)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	otherPublic, _ := other.PublicKey.Bytes()
	offCurve := bytes.Clone(signer.public)
	offCurve[64] ^= 1
	badCompressed := append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...)

	tests := []struct {
		name          string
		pub, msg, sig []byte
		want          error
	}{
		{"P-256", signer.public, msg, sig, nil},
		{"P-256 compressed", compressed, msg, sig, nil},
		{"Ed25519", edPublic, msg, edSig, nil},
		{"other message", signer.public, []byte("massage"), sig, ErrSignature},
		{"other key", otherPublic, msg, sig, ErrSignature},
		{"raw r||s", signer.public, msg, bytes.Repeat([]byte{1}, 64), ErrSignature},
		{"trailing byte", signer.public, msg, append(bytes.Clone(sig), 0), ErrSignature},
		{"empty", signer.public, msg, nil, ErrSignature},
		{"Ed25519 other message", edPublic, []byte("x"), edSig, ErrSignature},
		{"Ed25519 short", edPublic, msg, edSig[:63], ErrSignature},
		{"off curve", offCurve, msg, sig, ErrPublicKey},
		{"compressed of no point", badCompressed, msg, sig, ErrPublicKey},
		{"compressed as uncompressed", append([]byte{2}, signer.public[1:]...), msg, sig, ErrPublicKey},
		{"no key", nil, msg, sig, ErrPublicKey},
		{"64 bytes", signer.public[1:], msg, sig, ErrPublicKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := VerifySignature(tt.pub, tt.msg, tt.sig); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestPublicIsACopy(t *testing.T) {
	signer, err := newP256Signer()
	if err != nil {
		t.Fatal(err)
	}
	signer.Public()[0] = 0
	if signer.Public()[0] != 4 {
		t.Error("a caller changed the key")
	}
}

func BenchmarkSign(b *testing.B) {
	signer, _ := newP256Signer()
	msg := make([]byte, 400)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := signer.Sign(msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifySignature(b *testing.B) {
	signer, _ := newP256Signer()
	msg := make([]byte, 400)
	sig, _ := signer.Sign(msg)
	b.ReportAllocs()
	for b.Loop() {
		if err := VerifySignature(signer.public, msg, sig); err != nil {
			b.Fatal(err)
		}
	}
}

func TestParseSigner(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	sec1, err := x509.MarshalECPrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		pem  []byte
		ok   bool
	}{
		{"PKCS 8", pkcs8(p256), true},
		{"SEC 1", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), true},
		{"P-384", pkcs8(p384), false},
		{"no PEM", []byte("key"), false},
		{"empty block", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"}), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ParseSigner(tt.pem)
			if (err == nil) != tt.ok {
				t.Fatalf("ok = %v, %v", err == nil, err)
			}
			if !tt.ok {
				if !strings.Contains(err.Error(), "openssl") {
					t.Errorf("error says not what to do: %v", err)
				}
				return
			}
			sig, err := s.Sign([]byte("m"))
			if err != nil {
				t.Fatal(err)
			}
			if err := VerifySignature(s.Public(), []byte("m"), sig); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPublicKeyText(t *testing.T) {
	s, err := NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	text := EncodePublicKey(s.Public())
	if back, err := DecodePublicKey(text); err != nil || !bytes.Equal(back, s.Public()) {
		t.Errorf("own text: %v", err)
	}
	for _, bad := range []string{"", "!", text[:len(text)-1], text + "\n", text[:8] + "\n" + text[8:], "AAAA"} {
		if _, err := DecodePublicKey(bad); !errors.Is(err, ErrPublicKey) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
