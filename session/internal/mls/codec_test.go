package mls

import (
	"bytes"
	"errors"
	"testing"
)

func TestOfficialDeserialization(t *testing.T) {
	var vectors []struct {
		Header hexBytes `json:"vlbytes_header"`
		Length int      `json:"length"`
	}
	official(t, "deserialization", &vectors)
	for _, v := range vectors {
		r := &reader{b: v.Header}
		if n := r.length(); n != v.Length || !r.done() {
			t.Errorf("%x reads as %d, want %d", v.Header, n, v.Length)
		}
		if b := appendLength(nil, v.Length); !bytes.Equal(b, v.Header) {
			t.Errorf("%d is written as %x, want %x", v.Length, b, v.Header)
		}
	}
	t.Logf("%d vectors", len(vectors))
}

func TestReaderRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		read func(*reader)
	}{
		{"length of nothing", nil, func(r *reader) { r.length() }},
		{"length in two bytes that fits in one", []byte{0x40, 0x3f}, func(r *reader) { r.length() }},
		{"length in four bytes that fits in two", []byte{0x80, 0, 0x3f, 0xff}, func(r *reader) { r.length() }},
		{"length with prefix 3", []byte{0xc0, 0, 0, 0, 0, 0, 0, 0}, func(r *reader) { r.length() }},
		{"length cut off", []byte{0x80, 0, 0x40}, func(r *reader) { r.length() }},
		{"vector beyond the input", []byte{3, 1, 2}, func(r *reader) { r.vec(9) }},
		{"vector beyond its limit", []byte{3, 1, 2, 3}, func(r *reader) { r.vec(2) }},
		{"presence byte 2", []byte{2}, func(r *reader) { r.optional() }},
		{"integer cut off", []byte{1, 2, 3}, func(r *reader) { r.u32() }},
		{"too many elements", []byte{3, 1, 2, 3}, func(r *reader) { r.each(2, func(r *reader) { r.u8() }) }},
		{"element cut off", []byte{3, 1, 2, 3}, func(r *reader) { r.each(9, func(r *reader) { r.u16() }) }},
		{"byte left over", []byte{1, 2}, func(r *reader) { r.u8() }},
		{"negative size", []byte{1}, func(r *reader) { r.take(-1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &reader{b: c.in}
			if c.read(r); r.done() {
				t.Error("accepted")
			}
		})
	}
}

func TestReaderFaultSticks(t *testing.T) {
	r := &reader{b: []byte{9, 1, 2, 3}}
	r.vec(9)
	if r.u8() != 0 || r.optional() || r.sub(9).done() || r.done() {
		t.Error("reads on after a fault")
	}
}

func TestOpenHeader(t *testing.T) {
	for _, c := range []struct {
		name string
		msg  []byte
		want error
	}{
		{"right", []byte{0, 1, 0, formatWelcome, 7}, nil},
		{"short", []byte{0, 1, 0}, ErrMalformed},
		{"long", make([]byte, maxMessage+1), ErrMalformed},
		{"version", []byte{0, 2, 0, formatWelcome, 7}, ErrUnsupported},
		{"format", []byte{0, 1, 0, formatGroupInfo, 7}, ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := open(c.msg, formatWelcome)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err == nil && (r.u8() != 7 || !r.done()) {
				t.Error("reader is not behind the header")
			}
		})
	}
}

// FuzzVector holds the reader to one encoding for each value.
func FuzzVector(f *testing.F) {
	f.Add([]byte{3, 1, 2, 3})
	f.Add(appendVec(nil, make([]byte, 64)))
	f.Add(appendVec(nil, make([]byte, 1<<14)))
	f.Add([]byte{0x40, 1, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := &reader{b: in}
		v := r.vec(maxMessage)
		if !r.done() {
			return
		}
		if out := appendVec(nil, v); !bytes.Equal(out, in) || vecSize(len(v)) != len(in) {
			t.Errorf("%x reads as %x, which is written as %x", in, v, out)
		}
	})
}
