package mls

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"
)

type cryptoBasics struct {
	Suite        Suite `json:"cipher_suite"`
	DeriveSecret struct {
		Label       string
		Secret, Out hexBytes
	} `json:"derive_secret"`
	DeriveTreeSecret struct {
		Label       string
		Generation  uint32
		Length      int
		Secret, Out hexBytes
	} `json:"derive_tree_secret"`
	ExpandWithLabel struct {
		Label                string
		Length               int
		Secret, Context, Out hexBytes
	} `json:"expand_with_label"`
	RefHash struct {
		Label      string
		Value, Out hexBytes
	} `json:"ref_hash"`
	SignWithLabel struct {
		Label                         string
		Priv, Pub, Content, Signature hexBytes
	} `json:"sign_with_label"`
	EncryptWithLabel struct {
		Label                                     string
		Priv, Pub, Context, Plaintext, Ciphertext hexBytes
		Enc                                       hexBytes `json:"kem_output"`
	} `json:"encrypt_with_label"`
}

func readCryptoBasics(t *testing.T) []cryptoBasics {
	var vectors []cryptoBasics
	official(t, "crypto-basics", &vectors)
	t.Logf("%d vectors", len(vectors))
	return vectors
}

func TestOfficialKDF(t *testing.T) {
	for _, v := range readCryptoBasics(t) {
		d := v.DeriveSecret
		s := secret(d.Secret)
		if got := deriveSecret(&s, d.Label); !bytes.Equal(got[:], d.Out) {
			t.Errorf("suite %d: DeriveSecret is %x", v.Suite, got)
		}
		e := v.ExpandWithLabel
		s, out := secret(e.Secret), make([]byte, e.Length)
		if expandWithLabel(&s, e.Label, e.Context, out); !bytes.Equal(out, e.Out) {
			t.Errorf("suite %d: ExpandWithLabel is %x", v.Suite, out)
		}
		g := v.DeriveTreeSecret
		s, out = secret(g.Secret), make([]byte, g.Length)
		if deriveTreeSecret(&s, g.Label, g.Generation, out); !bytes.Equal(out, g.Out) {
			t.Errorf("suite %d: DeriveTreeSecret is %x", v.Suite, out)
		}
		r := v.RefHash
		if got := refHash(r.Label, r.Value); !bytes.Equal(got[:], r.Out) {
			t.Errorf("suite %d: RefHash is %x", v.Suite, got)
		}
	}
}

// sizes reach past the buffers that avoid allocation.
var sizes = []int{0, 1, 31, 32, 63, 64, 65, 255, 256, 257, 319, 320, 321, 5000, 70000}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + n)
	}
	return b
}

func TestHashesAgainstStandardLibrary(t *testing.T) {
	for _, n := range sizes {
		in := pattern(n)
		if hashOf(in[:n/3], nil, in[n/3:]) != sha256.Sum256(in) {
			t.Errorf("hash of %d bytes differs", n)
		}
		for _, keySize := range []int{0, 32, 64, 65, 200} {
			h := hmac.New(sha256.New, pattern(keySize))
			h.Write(in)
			if got := mac(pattern(keySize), in[:n/3], in[n/3:]); !hmac.Equal(got[:], h.Sum(nil)) {
				t.Errorf("MAC of %d bytes with a key of %d differs", n, keySize)
			}
		}
	}
}

func TestHKDFAgainstStandardLibrary(t *testing.T) {
	salt, s := secret(pattern(32)), secret(bytes.Repeat([]byte{9}, 32))
	want, err := hkdf.Extract(sha256.New, s[:], salt[:])
	if got := extract(&salt, &s); err != nil || !bytes.Equal(got[:], want) {
		t.Errorf("Extract is %x, want %x", got, want)
	}
	for _, n := range sizes {
		for _, size := range []int{1, 12, 16, 32} {
			info := binary.BigEndian.AppendUint16(nil, uint16(size))
			info = appendVec(appendVec(info, []byte("MLS 1.0 label")), pattern(n))
			want, err := hkdf.Expand(sha256.New, s[:], string(info), size)
			got := make([]byte, size)
			expandWithLabel(&s, "label", pattern(n), got)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes from %d bytes of context: %x, want %x", size, n, got, want)
			}
		}
	}
}

func TestExpandRefusesSecondBlock(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("33 bytes are given out")
		}
	}()
	expandWithLabel(new(secret), "label", nil, make([]byte, 33))
}

func TestKDFDoesNotAllocate(t *testing.T) {
	var s secret
	context, out := make([]byte, 256), make([]byte, 32)
	for name, f := range map[string]func(){
		"expandWithLabel":  func() { expandWithLabel(&s, "confirmation of it all", context, out) },
		"deriveTreeSecret": func() { deriveTreeSecret(&s, "secret", 1, s[:]) },
		"extract":          func() { s = extract(&s, &s) },
		"mac":              func() { s = mac(s[:], context, out) },
		"hashOf":           func() { s = hashOf(context, out) },
		"refHash":          func() { s = refHash("MLS 1.0 KeyPackage Reference", context) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkExpandWithLabel(b *testing.B) {
	for _, n := range []int{0, 32, 256, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var s secret
			context := make([]byte, n)
			b.ReportAllocs()
			for b.Loop() {
				expandWithLabel(&s, "secret", context, s[:])
			}
		})
	}
}

func BenchmarkRatchetAdvance(b *testing.B) {
	r := newRatchet(new(secret), applicationRatchet)
	b.ReportAllocs()
	for b.Loop() {
		r.advance()
	}
}
