package mls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"slices"
	"testing"
)

func TestAEAD(t *testing.T) {
	key, nonce := [16]byte(pattern(16)), [12]byte(pattern(12))
	aad := []byte("aad")
	for _, n := range []int{0, 1, 256, 70000} {
		plaintext := pattern(n)
		block, _ := aes.NewCipher(key[:])
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		want := gcm.Seal([]byte("head"), nonce[:], plaintext, aad)
		if got := aeadSeal([]byte("head"), &key, &nonce, plaintext, aad); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: seals differently", n)
		}

		buf := make([]byte, 4+n, 4+n+aeadTagSize)
		copy(buf, "head")
		copy(buf[4:], plaintext)
		got := aeadSeal(buf[:4], &key, &nonce, buf[4:], aad)
		if !bytes.Equal(got, want) || &got[0] != &buf[0] {
			t.Errorf("%d bytes: does not seal in place", n)
		}

		ciphertext := slices.Clone(want[4:])
		out, ok := aeadOpen(nil, &key, &nonce, ciphertext, aad)
		if !ok || !bytes.Equal(out, plaintext) || !bytes.Equal(ciphertext, want[4:]) {
			t.Errorf("%d bytes: opens wrongly or into its input", n)
		}
	}
}

func TestAEADRefuses(t *testing.T) {
	var key [16]byte
	var nonce [12]byte
	aad := []byte("aad")
	good := aeadSeal(nil, &key, &nonce, []byte("hello"), aad)
	altered := slices.Clone(good)
	altered[len(altered)-1] ^= 1
	for name, c := range map[string]struct {
		key             [16]byte
		nonce           [12]byte
		ciphertext, aad []byte
	}{
		"key":     {[16]byte{1}, nonce, good, aad},
		"nonce":   {key, [12]byte{1}, good, aad},
		"aad":     {key, nonce, good, nil},
		"tag":     {key, nonce, altered, aad},
		"cut":     {key, nonce, good[:len(good)-1], aad},
		"no tag":  {key, nonce, good[:aeadTagSize-1], aad},
		"nothing": {key, nonce, nil, aad},
	} {
		if out, ok := aeadOpen(nil, &c.key, &c.nonce, c.ciphertext, c.aad); ok || out != nil {
			t.Errorf("%s: opens as %q", name, out)
		}
	}
}

func BenchmarkAEADSeal(b *testing.B) {
	var key [16]byte
	var nonce [12]byte
	buf := make([]byte, 256, 256+aeadTagSize)
	b.ReportAllocs()
	for b.Loop() {
		aeadSeal(buf[:0], &key, &nonce, buf, nil)
	}
}
