package mls

import (
	"bytes"
	"crypto/rand"
	"io"
	"testing"
)

// constantReader is the worst source of randomness.
type constantReader byte

func (c constantReader) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c)
	}
	return len(b), nil
}

// secretsOf are all secrets that a group holds.
func secretsOf(g *Group) map[string]bool {
	all := map[string]bool{}
	for _, s := range g.now.secrets.kept() {
		all[string(s[:])] = true
	}
	for _, key := range g.now.keys {
		all[string(key)] = true
	}
	for _, s := range g.now.messages.frontier {
		all[string(s[:])] = true
	}
	return all
}

func shared(a, b *Group) (n int) {
	others := secretsOf(b)
	for s := range secretsOf(a) {
		if others[s] {
			n++
		}
	}
	return n
}

func groupsShareNothing(t *testing.T) {
	forSuites(t, func(t *testing.T, s Suite) {
		p := newPerson(t, s, "creator")
		create := func(rnd io.Reader) *Group {
			g, err := Create(p.Config, []byte("one id"), testNow, rnd)
			if err != nil {
				t.Fatal(err)
			}
			return g
		}
		one, other := create(constantReader(1)), create(constantReader(2))
		if n := shared(one, other); n != 0 {
			t.Errorf("%d secrets of two groups are equal", n)
		}
		// All of them come from the reader, and there are six.
		if n := shared(one, create(constantReader(1))); n != 6 || len(secretsOf(one)) != 6 {
			t.Errorf("%d of %d secrets are those of the same random bytes; want 6", n, len(secretsOf(one)))
		}
		if n := shared(create(rand.Reader), create(rand.Reader)); n != 0 {
			t.Errorf("%d secrets of two groups are equal", n)
		}
		// Nor do two paths from one state, whose commits differ in nothing else.
		first := newClub(t, s, 2).groups[0]
		enter := func(rnd io.Reader) *Group {
			g := twin(t, first)
			if _, _, err := g.Commit(Change{Path: true}, testNow, rnd); err != nil {
				t.Fatal(err)
			}
			return g
		}
		if n := shared(enter(constantReader(1)), enter(constantReader(2))); n != 0 {
			t.Errorf("%d secrets of two epochs are equal", n)
		}
	})
}

// firstEpochIsSecret: two groups that look alike to everybody, because only the
// random secret of the epoch differs, have no secret of the epoch in common.
func firstEpochIsSecret(t *testing.T) {
	p := newPerson(t, X25519, "creator") // whose signatures are not random
	create := func(last byte) *Group {
		rnd := io.MultiReader(bytes.NewReader(make([]byte, 2*hashSize)), constantReader(last))
		g, err := Create(p.Config, []byte("one id"), testNow, rnd)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	one, other := create(1), create(2)
	if !bytes.Equal(one.now.raw, other.now.raw) || !bytes.Equal(one.now.tree.append(nil), other.now.tree.append(nil)) {
		t.Fatal("the groups do not look alike")
	}
	if n := shared(one, other); n != 1 { // the key of the leaf, to which the tree is bound
		t.Errorf("%d secrets are equal; want the leaf's key only", n)
	}
	// What a library without that random secret would have, in this epoch and in
	// the next one if that adds somebody without a path.
	add := bentCommit{from: one, list: []*proposal{adding(t, newPerson(t, X25519, "newcomer").packOf(t, nil, nil))}, pathless: true}
	add.encode(t)
	zero := secret{}
	fromJoiner := joinerSecret(&zero, &zero, one.now.raw)
	fromMember := memberSecret(&zero, &zero)
	fromBoth := memberSecret(&fromJoiner, &zero)
	for n, top := range []secret{
		zero, extract(&zero, &zero), epochSecret(&zero, one.now.raw), epochSecret(&fromMember, one.now.raw),
		epochSecret(&fromJoiner, one.now.raw), epochSecret(&fromBoth, one.now.raw),
		hashOf(one.now.raw), hashOf([]byte("one id")), hashOf(nil), one.now.context.treeHash,
	} {
		guess := deriveEpoch(&top)
		next := schedule{joiner: joinerSecret(&guess.init, &zero, add.context.encode())}
		next.derive(&zero, &add.context)
		for _, s := range one.now.secrets.kept() {
			for _, g := range guess.kept() {
				if *s == *g {
					t.Errorf("guess %d of epoch 0 is right", n)
				}
			}
		}
		for _, s := range next.secrets.kept() {
			if *s == add.epochSecrets.senderData || *s == add.epochSecrets.init || *s == add.epochSecrets.membership {
				t.Errorf("guess %d of epoch 1 is right", n)
			}
		}
	}
	refuse(t, one, ErrWrongEpoch, "nobody else is in the group", func() error {
		_, err := one.Protect(nil, []byte("text"), nil, rand.Reader)
		return err
	})
}

// opened is how one message was encrypted.
type opened struct {
	generation uint32
	guard      [4]byte
	key        [aeadKeySize]byte
	nonce      [aeadNonceSize]byte
}

// openedBy looks into a message of leaf 5 as its receiver can.
func openedBy(t testing.TB, g *Group, blob []byte) (o opened) {
	t.Helper()
	p, err := readPrivate(blob)
	if err != nil {
		t.Fatal(err)
	}
	var ok bool
	if _, o.generation, o.guard, ok = p.openSender(&g.now.secrets.senderData); !ok {
		t.Fatal("sender data cannot be opened")
	}
	key, _, err := g.now.messages.peek(5, o.generation)
	if err != nil {
		t.Fatal(err)
	}
	key.guard(o.guard)
	o.key, o.nonce = key.key, key.nonce
	if _, ok := aeadOpen(nil, &o.key, &o.nonce, p.ciphertext, p.contentAAD); !ok {
		t.Fatal("not the nonce that was used")
	}
	return o
}

func noncesDiffer(t *testing.T) {
	h := newHall(t)
	to := h.group(t, 1)
	send := func(g *Group, rnd io.Reader) opened {
		t.Helper()
		blob, err := g.Protect(nil, []byte("text"), nil, rnd)
		if err != nil {
			t.Fatal(err)
		}
		return openedBy(t, to, blob)
	}
	// With the same guard, the generation makes the difference.
	from := h.group(t, 5)
	one, other := send(from, constantReader(7)), send(from, constantReader(7))
	if one.guard != [4]byte{7, 7, 7, 7} || other.guard != one.guard || one.generation == other.generation ||
		one.key == other.key || one.nonce == other.nonce {
		t.Errorf("constant reader: %v and %v", one.generation, other.generation)
	}
	// Guards of a good reader differ.
	guards, nonces := map[[4]byte]bool{}, map[[aeadNonceSize]byte]bool{}
	for range 8 {
		o := send(from, rand.Reader)
		guards[o.guard], nonces[o.nonce] = true, true
	}
	if len(guards) != 8 || len(nonces) != 8 {
		t.Errorf("%d guards and %d nonces in 8 messages", len(guards), len(nonces))
	}
	// A state that was loaded twice uses one key twice; only the guard saves it.
	one, other = send(h.group(t, 5), rand.Reader), send(h.group(t, 5), rand.Reader)
	if one.key != other.key || one.generation != other.generation || one.guard == other.guard || one.nonce == other.nonce {
		t.Errorf("the same generation twice: guards %v and %v", one.guard, other.guard)
	}
	if !bytes.Equal(one.nonce[4:], other.nonce[4:]) {
		t.Error("more than the first four bytes differ")
	}
	refuse(t, from, ErrUnsupported, "no randomness", func() error {
		_, err := from.Protect(nil, []byte("text"), nil, bytes.NewReader([]byte{1, 2, 3}))
		return err
	})
}
