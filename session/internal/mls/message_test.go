package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
)

// TestSizes: the sizes are those of mls-rs 0.54, suite 2, without AAD.
func TestSizes(t *testing.T) {
	a, b := two(t)
	for plain, want := range map[int]int{1: 190, 200: 414, 4096: 5214, 65536: 82016} {
		blob := a.protect(strings.Repeat("x", plain), "")
		if len(blob) != want {
			t.Errorf("%d bytes: %d on the wire, want %d", plain, len(blob), want)
		}
		b.reads(blob, strings.Repeat("x", plain), "", 0)
	}
}

func TestPaddedSize(t *testing.T) {
	for n, want := range map[int]int{0: 32, 31: 32, 32: 64, 64: 96, 255: 256, 256: 320, 511: 512, 512: 640} {
		if got := paddedSize(n); got != want {
			t.Errorf("paddedSize(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestProtectAppends(t *testing.T) {
	a, b := two(t)
	out, err := a.g.Protect([]byte("head"), []byte("x"), nil, rand.Reader)
	if err != nil || !bytes.HasPrefix(out, []byte("head")) {
		t.Fatalf("%q, %v", out[:4], err)
	}
	b.reads(out[4:], "x", "", 0)
}

func TestMessageSharesNoMemory(t *testing.T) {
	a, b := two(t)
	blob := a.protect("text", "aad")
	m, err := b.g.Unprotect(blob)
	if err != nil {
		t.Fatal(err)
	}
	clear(blob)
	if string(m.Plaintext) != "text" || string(m.AAD) != "aad" {
		t.Errorf("%q %q", m.Plaintext, m.AAD)
	}
}

func TestUnprotectOrder(t *testing.T) {
	a, b := two(t)
	var blobs [][]byte
	for range 6 {
		blobs = append(blobs, a.protect("x", ""))
	}
	for _, i := range []int{5, 0, 3, 1, 4, 2} {
		m, err := b.g.Unprotect(blobs[i])
		if err != nil || m.Generation != uint32(i) {
			t.Fatalf("message %d: generation %d, %v", i, m.Generation, err)
		}
	}
	for i, blob := range blobs {
		if _, err := b.g.Unprotect(blob); !errors.Is(err, ErrReplay) {
			t.Errorf("message %d again: %v", i, err)
		}
	}
}

// TestUnprotectTampered flips every byte in turn; the original must survive.
func TestUnprotectTampered(t *testing.T) {
	a, b := two(t)
	blob := a.protect("text", "authenticated")
	for i := range blob {
		bad := bytes.Clone(blob)
		bad[i] ^= 1
		if m, err := b.g.Unprotect(bad); err == nil {
			t.Errorf("byte %d: accepted as %q", i, m.Plaintext)
		}
	}
	for i := range blob {
		if _, err := b.g.Unprotect(blob[:i]); err == nil {
			t.Errorf("cut to %d bytes: accepted", i)
		}
	}
	if _, err := b.g.Unprotect(append(bytes.Clone(blob), 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("trailing byte: %v", err)
	}
	b.reads(blob, "text", "authenticated", 0)
}

func TestUnprotectKinds(t *testing.T) {
	a, b := two(t)
	other, _ := two(t)
	blob := a.protect("text", "aad")
	wrongAAD := bytes.Replace(blob, []byte("\x03aad"), []byte("\x03dad"), 1)
	kp, _ := b.keyPackage()
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"empty", nil, ErrMalformed},
		{"other group", other.protect("x", ""), ErrWrongGroup},
		{"own message", b.protect("x", ""), ErrDecrypt},
		{"wrong AAD", wrongAAD, ErrDecrypt},
		{"key package", kp, ErrUnsupported},
		{"version 2", append([]byte{0, 2}, blob[2:]...), ErrUnsupported},
		{"huge", make([]byte, maxMessage+1), ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := b.g.Unprotect(tt.in); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	b.reads(blob, "text", "aad", 0)
}

func TestProtectRefuses(t *testing.T) {
	alone := newApp(t, "alone").create()
	if _, err := alone.g.Protect(nil, nil, nil, rand.Reader); !errors.Is(err, ErrWrongEpoch) {
		t.Errorf("epoch 0: %v", err)
	}
	a, b := two(t)
	if _, err := a.g.Protect(nil, nil, make([]byte, maxAAD+1), rand.Reader); !errors.Is(err, ErrUnsupported) {
		t.Errorf("AAD too long: %v", err)
	}
	if _, err := a.g.Protect(nil, make([]byte, maxMessage), nil, rand.Reader); !errors.Is(err, ErrUnsupported) {
		t.Errorf("text too long: %v", err)
	}
	b.reads(a.protect("", ""), "", "", 0)
}

func TestJump(t *testing.T) {
	a, b := two(t)
	blobs := make([][]byte, 2*MaxAhead+4)
	for i := range blobs {
		blobs[i] = a.protect("x", "")
	}
	if _, err := b.g.Unprotect(blobs[MaxAhead+1]); !errors.Is(err, ErrTooFar) {
		t.Errorf("jump of 1025: %v", err)
	}
	b.reads(blobs[MaxAhead], "x", "", 0)
	for i := range MaxAhead {
		b.reads(blobs[i], "x", "", 0)
	}
	b.reads(blobs[MaxAhead+1], "x", "", 0)
	if _, err := b.g.Unprotect(blobs[0]); !errors.Is(err, ErrReplay) {
		t.Errorf("first again: %v", err)
	}
	b.reads(blobs[2*MaxAhead+2], "x", "", 0)
	b.reads(blobs[2*MaxAhead+1], "x", "", 0)
}

// TestLongEpoch goes past the 2048 generations after which the library alone
// would lose every message that arrives out of order.
func TestLongEpoch(t *testing.T) {
	a, b := two(t)
	for i := range 2200 {
		first, second := a.protect("first", ""), a.protect("second", "")
		b.reads(second, "second", "", 0)
		b.reads(first, "first", "", 0)
		if i%1000 == 0 {
			if _, err := b.g.Unprotect(first); !errors.Is(err, ErrReplay) {
				t.Fatalf("round %d: replay: %v", i, err)
			}
		}
	}
}

func TestWindowBound(t *testing.T) {
	w := &window{}
	for _, g := range []uint32{MaxAhead, 2*MaxAhead + 1, 3*MaxAhead + 2} {
		if err := w.check(g); err != nil {
			t.Fatal(err)
		}
		w.accept(g)
		if len(w.missing) > MaxAhead {
			t.Fatalf("%d missing", len(w.missing))
		}
	}
	if err := w.check(5); !errors.Is(err, ErrReplay) {
		t.Errorf("evicted: %v", err)
	}
	if err := w.check(3 * MaxAhead); err != nil {
		t.Errorf("recent: %v", err)
	}
}

func TestSendersDoNotShareWindows(t *testing.T) {
	a, b, c := three(t)
	for range 5 {
		c.reads(a.protect("a", ""), "a", "", 0)
	}
	c.reads(b.protect("b", ""), "b", "", 1)
}

func BenchmarkProtect256(b *testing.B)   { benchmarkProtect(b, 256) }
func BenchmarkProtect64K(b *testing.B)   { benchmarkProtect(b, 64<<10) }
func BenchmarkUnprotect256(b *testing.B) { benchmarkUnprotect(b, 256) }
func BenchmarkUnprotect64K(b *testing.B) { benchmarkUnprotect(b, 64<<10) }

func benchmarkProtect(b *testing.B, size int) {
	alice, _ := two(b)
	text, aad := make([]byte, size), make([]byte, 400)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := alice.g.Protect(nil, text, aad, rand.Reader); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkUnprotect(b *testing.B, size int) {
	alice, bob := two(b)
	text, aad := make([]byte, size), make([]byte, 400)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		blob, err := alice.g.Protect(nil, text, aad, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := bob.g.Unprotect(blob); err != nil {
			b.Fatal(err)
		}
	}
}
