package mls

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// usedTree has all a saved tree can have.
func usedTree(t testing.TB) *secretTree {
	tree := testTree(8)
	for _, g := range [][2]uint32{{5, 3}, {5, 1}, {2, 0}, {3, 1}} {
		_, step, err := tree.peek(g[0], g[1])
		if err != nil {
			t.Fatal(err)
		}
		tree.commit(step)
	}
	return tree
}

func TestSecretTreeSaves(t *testing.T) {
	for name, tree := range map[string]*secretTree{"new": testTree(1024), "one leaf": testTree(1), "used": usedTree(t)} {
		saved := tree.append([]byte("before"))[len("before"):]
		r := &reader{b: saved}
		again := readSecretTree(r, tree.leaves)
		if !r.done() || again == nil {
			t.Errorf("%s: not read back", name)
			continue
		}
		if !bytes.Equal(again.append(nil), saved) {
			t.Errorf("%s: saved differently after reading", name)
		}
		clear(saved) // the tree must not alias what it was read from
		for leaf := range min(tree.leaves, 8) {
			want, _ := tree.next(leaf)
			if got, err := again.next(leaf); err != nil || got != want {
				t.Errorf("%s: next key of leaf %d differs: %v", name, leaf, err)
			}
		}
	}
}

func TestSecretTreeReadRefuses(t *testing.T) {
	node := func(x uint32) []byte { return append(binary.BigEndian.AppendUint32(nil, x), make([]byte, hashSize)...) }
	ratchet := func(next uint64, generations ...uint32) []byte {
		r := ratchet{next: next}
		for _, g := range generations {
			r.skipped = append(r.skipped, messageKey{generation: g})
		}
		return r.append(nil)
	}
	sender := func(leaf uint32, app []byte) []byte {
		return slices.Concat(binary.BigEndian.AppendUint32(nil, leaf), ratchet(0), app)
	}
	tree := func(nodes, senders [][]byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(nodes)))
		b = append(b, slices.Concat(nodes...)...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(senders)))
		return append(b, slices.Concat(senders...)...)
	}
	type list = [][]byte
	many := make([]uint32, MaxAhead+1)
	for i := range many {
		many[i] = uint32(i)
	}
	good := tree(list{node(1)}, list{sender(2, ratchet(5, 1, 3)), sender(3, ratchet(1<<32))})
	if r := (&reader{b: good}); readSecretTree(r, 4) == nil || !r.done() {
		t.Fatal("the good tree is refused")
	}
	for _, c := range []struct {
		name   string
		leaves uint32
		in     []byte
	}{
		{"no leaves", 0, tree(nil, nil)},
		{"three leaves", 3, tree(list{node(1)}, list{sender(2, ratchet(0))})},
		{"too many leaves", 2048, tree(list{node(2047)}, nil)},
		{"wiped", 4, tree(nil, nil)},
		{"other width", 8, good},
		{"node outside", 4, tree(list{node(3), node(7)}, nil)},
		{"node repeated", 4, tree(list{node(3), node(3)}, nil)},
		{"nodes out of order", 4, tree(list{node(5), node(1)}, nil)},
		{"node below another", 4, tree(list{node(1), node(3)}, nil)},
		{"leaf without keys", 4, tree(list{node(1)}, list{sender(2, ratchet(0))})},
		{"sender below a node", 4, tree(list{node(1), node(5)}, list{sender(2, ratchet(0))})},
		{"sender repeated", 1, tree(nil, list{sender(0, ratchet(0)), sender(0, ratchet(0))})},
		{"senders out of order", 2, tree(nil, list{sender(1, ratchet(0)), sender(0, ratchet(0))})},
		{"sender outside", 2, tree(list{node(1)}, list{sender(2, ratchet(0))})},
		{"sender that wraps around", 1, tree(nil, list{sender(1<<31, ratchet(0))})},
		{"generation beyond the last", 1, tree(nil, list{sender(0, ratchet(1<<32+1))})},
		{"skipped key not passed yet", 1, tree(nil, list{sender(0, ratchet(5, 5))})},
		{"skipped keys out of order", 1, tree(nil, list{sender(0, ratchet(5, 3, 1))})},
		{"skipped key repeated", 1, tree(nil, list{sender(0, ratchet(5, 3, 3))})},
		{"too many skipped keys", 1, tree(nil, list{sender(0, ratchet(2000, many...))})},
		{"cut off", 4, good[:len(good)-1]},
		{"count of nodes beyond the input", 4, []byte{0xff, 0xff, 0xff, 0xff}},
		{"empty", 4, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &reader{b: c.in}
			if readSecretTree(r, c.leaves) != nil || r.done() {
				t.Error("accepted")
			}
		})
	}
	for n := range good {
		r := &reader{b: good[:n]}
		if readSecretTree(r, 4) != nil || r.done() {
			t.Errorf("the first %d bytes are accepted", n)
		}
	}
}

func FuzzSecretTree(f *testing.F) {
	f.Add(usedTree(f).append(nil), uint32(8))
	f.Add(testTree(1).append(nil), uint32(1))
	f.Fuzz(func(t *testing.T, in []byte, leaves uint32) {
		r := &reader{b: in}
		tree := readSecretTree(r, leaves)
		if (tree == nil) != r.bad {
			t.Fatal("a tree is returned if and only if the reader fails")
		}
		if !r.done() {
			return
		}
		if !bytes.Equal(tree.append(nil), in) {
			t.Errorf("%x is written as %x", in, tree.append(nil))
		}
		for leaf := range leaves {
			if _, err := tree.next(leaf); err != nil && !errors.Is(err, ErrTooFar) {
				t.Errorf("leaf %d: %v", leaf, err)
			}
		}
	})
}
