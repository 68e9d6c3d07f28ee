package wire_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"runtime"
	"testing"

	"github.com/slimbridge/slimbridge/slimnode/wire"
)

var sink [][]byte

func hop(tb testing.TB, in, mac []byte) {
	f, err := wire.Parse(in)
	if err != nil {
		tb.Fatal(err)
	}
	g := f.With(wire.Patch{TTL: wire.Some(f.Header().TTL - 1), IncomingConn: wire.Some(uint64(1))})
	sink = g.With(wire.Patch{MAC: mac}).Segments()
}

// hopCost measures one hop: allocations and allocated bytes.
func hopCost(t *testing.T, payload int) (allocs, size uint64) {
	in, mac := encode(t, publish(make([]byte, payload))), make([]byte, wire.MACSize)
	const runs = 500
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		hop(t, in, mac)
	}
	runtime.ReadMemStats(&after)
	return (after.Mallocs - before.Mallocs) / runs, (after.TotalAlloc - before.TotalAlloc) / runs
}

// The bytes count too: allocation counts alone do not notice a copied payload.
func TestHopCostIsFlat(t *testing.T) {
	hopCost(t, 256) // warm up
	smallN, smallB := hopCost(t, 256)
	bigN, bigB := hopCost(t, 1<<20)
	t.Logf("256 B: %d allocations, %d B; 1 MiB: %d allocations, %d B", smallN, smallB, bigN, bigB)
	const slack = 64 // the runtime itself allocates now and then
	if bigN > smallN+1 || bigB > smallB+slack {
		t.Errorf("256 B: %d allocations, %d B; 1 MiB: %d allocations, %d B", smallN, smallB, bigN, bigB)
	}
	if smallN > 6 || smallB > 2500 {
		t.Errorf("a hop costs %d allocations and %d B", smallN, smallB)
	}
}

func TestHeaderAccessDoesNotAllocate(t *testing.T) {
	f := parse(t, encode(t, publish(nil)))
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		h := f.Header()
		_, _ = h.Destination.Key(), f.SignedSize()
		buf = wire.MACPreimage(buf[:0], "link", h)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var sizes = []struct {
	name string
	n    int
}{{"256B", 256}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}}

func BenchmarkParse(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.name, func(b *testing.B) {
			in := encode(b, publish(make([]byte, s.n)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.Parse(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPatchSign(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.name, func(b *testing.B) {
			f := parse(b, encode(b, publish(make([]byte, s.n))))
			m, buf, mac := hmac.New(sha256.New, make([]byte, 32)), []byte(nil), []byte(nil)
			b.ReportAllocs()
			for b.Loop() {
				g := f.With(wire.Patch{TTL: wire.Some(uint32(7))})
				buf = wire.MACPreimage(buf[:0], "0a1b2c3d-0000-0000-0000-000000000000", g.Header())
				m.Reset()
				m.Write(buf)
				mac = m.Sum(mac[:0])
				sink = g.With(wire.Patch{MAC: mac}).Segments()
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.name, func(b *testing.B) {
			m := publish(bytes.Repeat([]byte("x"), s.n))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.Encode(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHeaderAAD(b *testing.B) {
	p := publish(nil).GetPublish()
	b.ReportAllocs()
	for b.Loop() {
		sink = append(sink[:0], wire.HeaderAAD(p))
	}
}
