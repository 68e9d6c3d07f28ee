package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"
)

func TestLengths(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want int // -1: refused
	}{
		{"one byte", []byte{0x25}, 0x25},
		{"two bytes", []byte{0x7b, 0xbd}, 15293},
		{"four bytes", []byte{0x9d, 0x7f, 0x3e, 0x7d}, 494878333},
		{"smallest of two", []byte{0x40, 0x40}, 64},
		{"smallest of four", []byte{0x80, 0, 0x40, 0}, 16384},
		{"not the shortest, two", []byte{0x40, 0x3f}, -1},
		{"not the shortest, four", []byte{0x80, 0, 0x3f, 0xff}, -1},
		{"prefix 3", []byte{0xc0, 0, 0, 0, 0, 0, 0, 0}, -1},
		{"cut", []byte{0x80, 0, 0x40}, -1},
		{"empty", nil, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &reader{b: tt.in}
			got := r.length()
			if r.bad != (tt.want < 0) || !r.bad && (got != tt.want || !bytes.Equal(appendLength(nil, got), tt.in)) {
				t.Errorf("got %d, bad %t", got, r.bad)
			}
		})
	}
}

func TestReaderBounds(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		read func(*reader)
		ok   bool
	}{
		{"vector", []byte{2, 1, 2}, func(r *reader) { r.vec(2) }, true},
		{"vector beyond input", []byte{3, 1, 2}, func(r *reader) { r.vec(9) }, false},
		{"vector over limit", []byte{2, 1, 2}, func(r *reader) { r.vec(1) }, false},
		{"trailing byte", []byte{1, 1, 2}, func(r *reader) { r.vec(9) }, false},
		{"two elements", []byte{4, 0, 1, 0, 2}, func(r *reader) { r.u16s(2) }, true},
		{"too many elements", []byte{4, 0, 1, 0, 2}, func(r *reader) { r.u16s(1) }, false},
		{"half an element", []byte{3, 0, 1, 0}, func(r *reader) { r.u16s(9) }, false},
		{"nested overrun", []byte{2, 5, 1}, func(r *reader) { r.each(9, func(in *reader) { in.vec(9) }) }, false},
		{"presence 1", []byte{1}, func(r *reader) { r.optional() }, true},
		{"presence 2", []byte{2}, func(r *reader) { r.optional() }, false},
		{"duplicate extension", []byte{6, 9, 9, 0, 9, 9, 0}, func(r *reader) { r.extensions(nil) }, false},
		{"extensions", []byte{6, 9, 9, 0, 9, 8, 0}, func(r *reader) { r.extensions(nil) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &reader{b: tt.in}
			tt.read(r)
			if r.done() != tt.ok {
				t.Errorf("accepted: %t", r.done())
			}
		})
	}
}

// TestForeignProposals rewrites the first proposal of a real commit.
func TestForeignProposals(t *testing.T) {
	a, b, _ := three(t)
	commit, _, err := a.g.Commit(Change{Remove: []uint32{2}}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// sender type, leaf, no AAD, content commit, 7 bytes of proposals: by
	// value, type 3, leaf 2
	head := []byte{1, 0, 0, 0, 0, 0, 3, 7, 1, 0, 3, 0, 0, 0, 2}
	i := bytes.Index(commit, head)
	if i < 0 {
		t.Fatal("commit has another form")
	}
	edit := func(offset int, to byte) []byte {
		out := bytes.Clone(commit)
		out[i+offset] = to
		return out
	}
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"external sender", edit(0, 2), ErrUnsupported},
		{"new member", edit(0, 4), ErrUnsupported},
		{"content application", edit(6, 1), ErrUnsupported},
		{"content proposal", edit(6, 2), ErrUnsupported},
		{"by reference", edit(8, 2), ErrUnsupported},
		{"update", edit(10, 2), ErrUnsupported},
		{"pre-shared key", edit(10, 4), ErrUnsupported},
		{"reinit", edit(10, 5), ErrUnsupported},
		{"external init", edit(10, 6), ErrUnsupported},
		{"context extensions", edit(10, 7), ErrUnsupported},
		{"grease", edit(9, 0x0a), ErrUnsupported},
		{"committer is us", edit(4, 1), ErrInvalidCommit},
		{"committer is nobody", edit(4, 9), ErrInvalidCommit},
		{"other leaf removed", edit(14, 1), ErrSignature},
	}
	for _, tt := range tests {
		b.unchanged(tt.name, tt.want, func() error { _, err := b.g.Process(tt.in); return err })
	}
	if _, err := b.g.Process(commit); err != nil {
		t.Error(err)
	}
	if _, err := open([]byte{0, 1, 0, 4}, formatPublic); !errors.Is(err, ErrUnsupported) {
		t.Errorf("wire format 4: %v", err)
	}
}
