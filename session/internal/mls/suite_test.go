package mls

import (
	"bytes"
	"crypto/ecdh"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"math/big"
	"slices"
	"testing"
)

var bothSuites = []*suite{suiteX25519, suiteP256}

func TestOfficialSignature(t *testing.T) {
	for _, v := range readCryptoBasics(t) {
		c := v.SignWithLabel
		key, err := suiteOf(v.Suite).parseVerifyKey(c.Pub)
		if err != nil {
			t.Fatal(err)
		}
		if !key.verifyLabel(c.Label, c.Content, c.Signature) {
			t.Errorf("suite %d: the vector's signature is refused", v.Suite)
		}
		signer, err := NewSigner(v.Suite, c.Priv)
		if err != nil || !bytes.Equal(signer.Public(), c.Pub) {
			t.Fatalf("suite %d: signer has another key: %v", v.Suite, err)
		}
		sig, err := sign(signer, c.Label, c.Content)
		if err != nil || !key.verifyLabel(c.Label, c.Content, sig) {
			t.Errorf("suite %d: our signature is refused: %v", v.Suite, err)
		}
		if key.verifyLabel(c.Label+"x", c.Content, sig) || key.verifyLabel(c.Label, c.Content[1:], sig) {
			t.Errorf("suite %d: a signature verifies for something else", v.Suite)
		}
	}
}

func TestOfficialHPKE(t *testing.T) {
	for _, v := range readCryptoBasics(t) {
		c, s := v.EncryptWithLabel, suiteOf(v.Suite)
		got, err := s.open(c.Priv, c.Label, c.Context, c.Enc, c.Ciphertext)
		if err != nil || !bytes.Equal(got, c.Plaintext) {
			t.Errorf("suite %d: the vector opens as %x: %v", v.Suite, got, err)
		}
		pub, err := s.parsePublic(c.Pub)
		if err != nil {
			t.Fatal(err)
		}
		enc, ct, err := s.seal(pub, c.Label, c.Context, c.Plaintext)
		if err != nil {
			t.Fatal(err)
		}
		got, err = s.open(c.Priv, c.Label, c.Context, enc, ct)
		if err != nil || !bytes.Equal(got, c.Plaintext) {
			t.Errorf("suite %d: our own seal opens as %x: %v", v.Suite, got, err)
		}
	}
}

func TestHPKEAgainstStandardLibrary(t *testing.T) {
	for _, s := range bothSuites {
		ikm := secret(pattern(32))
		priv, pub, err := s.deriveKeyPair(&ikm)
		if err != nil {
			t.Fatal(err)
		}
		if len(priv) != s.privateSize || len(pub) != s.publicSize {
			t.Errorf("suite %d: key sizes %d and %d", s.id, len(priv), len(pub))
		}
		want, err := s.kem.DeriveKeyPair(ikm[:])
		if err != nil || !bytes.Equal(pub, want.PublicKey().Bytes()) {
			t.Errorf("suite %d: derived key differs", s.id)
		}
		// EncryptContext spelled out, so that appendLabelled is not its own judge.
		info := "\x0dMLS 1.0 label\x07context"
		sealed, err := hpke.Seal(want.PublicKey(), hpke.HKDFSHA256(), hpke.AES128GCM(), []byte(info), []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.open(priv, "label", []byte("context"), sealed[:s.publicSize], sealed[s.publicSize:])
		if err != nil || string(got) != "hello" {
			t.Errorf("suite %d: opens as %q: %v", s.id, got, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, s := range bothSuites {
		priv, pub, _ := s.deriveKeyPair(&secret{1})
		other, _, _ := s.deriveKeyPair(&secret{2})
		key, _ := s.parsePublic(pub)
		enc, ct, err := s.seal(key, "label", []byte("context"), []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		flip := func(b []byte, i int) []byte { b = slices.Clone(b); b[i] ^= 1; return b }
		for _, c := range []struct {
			name           string
			priv           []byte
			label, context string
			enc, ct        []byte
		}{
			{"another key", other, "label", "context", enc, ct},
			{"no key", nil, "label", "context", enc, ct},
			{"short key", priv[1:], "label", "context", enc, ct},
			{"another label", priv, "labe", "context", enc, ct},
			{"another context", priv, "label", "contex", enc, ct},
			{"no enc", priv, "label", "context", nil, ct},
			{"short enc", priv, "label", "context", enc[:len(enc)-1], ct},
			{"long enc", priv, "label", "context", append(slices.Clone(enc), 0), ct},
			{"altered enc", priv, "label", "context", flip(enc, len(enc)-1), ct},
			{"zero enc", priv, "label", "context", make([]byte, len(enc)), ct},
			{"altered ciphertext", priv, "label", "context", enc, flip(ct, 0)},
			{"short ciphertext", priv, "label", "context", enc, ct[:15]},
			{"no ciphertext", priv, "label", "context", enc, nil},
		} {
			if got, err := s.open(c.priv, c.label, []byte(c.context), c.enc, c.ct); err != errOpen || got != nil {
				t.Errorf("suite %d, %s: %q, %v", s.id, c.name, got, err)
			}
		}
	}
}

func TestKeysRefused(t *testing.T) {
	_, p256, _ := suiteP256.deriveKeyPair(&secret{1})
	x, y := elliptic.P256().Params().Gx, elliptic.P256().Params().Gy
	compressed := append([]byte{2 + byte(y.Bit(0))}, x.FillBytes(make([]byte, 32))...)
	offCurve := slices.Clone(p256)
	offCurve[64] ^= 1
	tooLarge := append([]byte{4}, bytes.Repeat([]byte{0xff}, 64)...)
	order := elliptic.P256().Params().N.FillBytes(make([]byte, 32))

	for name, b := range map[string][]byte{
		"nothing": nil, "infinity": {0}, "long infinity": make([]byte, 65), "compressed": compressed,
		"hybrid": append([]byte{6}, p256[1:]...), "short": p256[:64], "long": append(slices.Clone(p256), 0),
		"off the curve": offCurve, "not reduced": tooLarge,
	} {
		if k, err := suiteP256.parsePublic(b); err != errBadKey || k != nil {
			t.Errorf("P-256 HPKE key %s: %v", name, err)
		}
		if k, err := suiteP256.parseVerifyKey(b); err != errBadKey || k != nil {
			t.Errorf("P-256 signature key %s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"zero": make([]byte, 32), "order": order, "short": order[:31], "long": make([]byte, 33)} {
		if _, err := suiteP256.parsePrivate(b); err != errBadKey {
			t.Errorf("P-256 private key %s: %v", name, err)
		}
	}
	for _, n := range []int{0, 31, 33, 65} {
		b := pattern(n)
		if _, err := suiteX25519.parsePublic(b); err != errBadKey {
			t.Errorf("X25519 key of %d bytes: %v", n, err)
		}
		if _, err := suiteX25519.parseVerifyKey(b); err != errBadKey {
			t.Errorf("Ed25519 key of %d bytes: %v", n, err)
		}
		if _, err := suiteX25519.parsePrivate(b); err != errBadKey {
			t.Errorf("X25519 private key of %d bytes: %v", n, err)
		}
	}
	if suiteOf(0) != nil || suiteOf(3) != nil {
		t.Error("an unsupported suite is found")
	}
}

// TestSmallOrder lets crypto/ecdh decide which X25519 keys give a zero secret.
// The candidates are the listed ones with either top bit and their neighbours.
func TestSmallOrder(t *testing.T) {
	scalar, err := ecdh.X25519().NewPrivateKey(pattern(32))
	if err != nil {
		t.Fatal(err)
	}
	zero := 0
	for _, p := range smallOrderPoints {
		for _, low := range []int{-1, 0, 1} {
			for _, top := range []byte{0, 0x80} {
				b := slices.Clone(p[:])
				b[0] += byte(low)
				b[31] |= top
				key, err := ecdh.X25519().NewPublicKey(b)
				if err != nil {
					t.Fatal(err)
				}
				_, dhErr := scalar.ECDH(key)
				if dhErr != nil {
					zero++
				}
				if _, err := suiteX25519.parsePublic(b); (err != nil) != (dhErr != nil) {
					t.Errorf("%x: import %v, use %v", b, err, dhErr)
				}
			}
		}
	}
	if zero < 2*len(smallOrderPoints) {
		t.Errorf("only %d candidates are of small order", zero)
	}
}

func TestStrictSignatures(t *testing.T) {
	content := []byte("content")
	for _, s := range bothSuites {
		priv, err := NewSignatureKey(s.id, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := NewSigner(s.id, priv)
		if err != nil {
			t.Fatal(err)
		}
		key, err := s.parseVerifyKey(signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		sig, err := sign(signer, "label", content)
		if err != nil || !key.verify(signContent(nil, "label", content[:3], content[3:]), sig) {
			t.Fatalf("suite %d: own signature: %v", s.id, err)
		}
		bad := map[string][]byte{
			"none": nil, "cut": sig[:len(sig)-1], "byte left over": append(slices.Clone(sig), 0),
			"zeros": make([]byte, len(sig)),
		}
		if s.id == P256 {
			// The same numbers with the outer length in the long form of BER.
			bad["long form"] = slices.Concat([]byte{0x30, 0x81}, sig[1:])
		}
		for name, b := range bad {
			if key.verifyLabel("label", content, b) {
				t.Errorf("suite %d: %s verifies", s.id, name)
			}
		}
	}
}

// TestHighS: peers do not normalise S, so both forms must verify.
func TestHighS(t *testing.T) {
	priv, _ := NewSignatureKey(P256, rand.Reader)
	signer, _ := NewSigner(P256, priv)
	key, _ := suiteP256.parseVerifyKey(signer.Public())
	sig, err := sign(signer, "label", nil)
	if err != nil {
		t.Fatal(err)
	}
	rLen := int(sig[3])
	s := new(big.Int).SetBytes(sig[4+rLen+2:])
	s.Sub(elliptic.P256().Params().N, s)
	raw := s.Bytes()
	if raw[0]&0x80 != 0 {
		raw = append([]byte{0}, raw...)
	}
	other := slices.Concat(sig[:4+rLen], []byte{2, byte(len(raw))}, raw)
	other[1] = byte(len(other) - 2)
	if !key.verifyLabel("label", nil, other) {
		t.Error("the other S is refused")
	}
}

func TestSignatureKeyFromReader(t *testing.T) {
	for _, s := range bothSuites {
		// P-256 must pass over the first 32 bytes, which are no scalar.
		stream := slices.Concat(bytes.Repeat([]byte{0xff}, 32), pattern(32))
		priv, err := NewSignatureKey(s.id, bytes.NewReader(stream))
		want := stream[:32]
		if s.id == P256 {
			want = stream[32:]
		}
		if err != nil || !bytes.Equal(priv, want) {
			t.Errorf("suite %d: %x, %v", s.id, priv, err)
		}
		if _, err := NewSignatureKey(s.id, bytes.NewReader(stream[:31])); !errors.Is(err, ErrUnsupported) {
			t.Errorf("suite %d: short random source: %v", s.id, err)
		}
	}
	if _, err := NewSignatureKey(3, rand.Reader); !errors.Is(err, ErrUnsupported) {
		t.Errorf("suite 3: %v", err)
	}
	if _, err := NewSignatureKey(P256, bytes.NewReader(make([]byte, 1024))); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a constant random source: %v", err)
	}
}

func TestSignerForms(t *testing.T) {
	seed := pattern(32)
	short, err := NewSigner(X25519, seed)
	if err != nil {
		t.Fatal(err)
	}
	full := slices.Concat(seed, short.Public())
	long, err := NewSigner(X25519, full)
	if err != nil || !bytes.Equal(long.Public(), short.Public()) {
		t.Errorf("seed and public key: %v", err)
	}
	full[63] ^= 1
	for name, c := range map[string]struct {
		suite Suite
		priv  []byte
		want  error
	}{
		"public key of another seed": {X25519, full, ErrMalformed},
		"33 bytes":                   {X25519, full[:33], ErrMalformed},
		"no bytes":                   {X25519, nil, ErrMalformed},
		"P-256 of 31 bytes":          {P256, seed[:31], ErrMalformed},
		"P-256 zero":                 {P256, make([]byte, 32), ErrMalformed},
		"suite 3":                    {3, seed, ErrUnsupported},
	} {
		if s, err := NewSigner(c.suite, c.priv); !errors.Is(err, c.want) || s != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type brokenSigner struct{ Signer }

var errBroken = errors.New("no key card")

func (brokenSigner) Sign([]byte) ([]byte, error) { return nil, errBroken }

func TestSignerFails(t *testing.T) {
	_, err := sign(brokenSigner{}, "label", nil)
	if !errors.Is(err, errBroken) || !errors.Is(err, ErrUnsupported) {
		t.Errorf("error %v", err)
	}
}
