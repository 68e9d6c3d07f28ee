package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
)

// Attacks of a node that has got hold of a state, or of memory.

// opens counts the path secrets of a commit that somebody's keys open. The
// tree after the commit is public.
func opens(t testing.TB, g *Group, message []byte) (n int) {
	t.Helper()
	f, err := readPublic(message)
	if err != nil {
		t.Fatal(err)
	}
	list, err := resolve(f.commit.proposals, f.sender, nil)
	if err != nil {
		t.Fatal(err)
	}
	tree := g.now.tree.clone()
	change, err := tree.apply(list, g.now.context.groupID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.applyPath(f.sender, f.commit.path, change.added); err != nil {
		t.Fatal(err)
	}
	context := g.now.nextContext(tree)
	for _, key := range g.now.keys {
		for _, node := range f.commit.path.nodes {
			for _, s := range node.secrets {
				if _, err := g.suite.open(key, "UpdatePathNode", context.encode(), s.enc, s.ciphertext); err == nil {
					n++
				}
			}
		}
	}
	return n
}

func readAfterRemoval(t *testing.T) {
	h := newHall(t)
	from, gone, stays := h.group(t, 0), h.group(t, 4), h.group(t, 5)
	commit, _, err := from.Commit(Change{Remove: []uint32{4}}, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if opens(t, stays, commit) != 1 {
		t.Error("who stays cannot open the path")
	}
	if n := opens(t, gone, commit); n != 0 {
		t.Errorf("who was removed opens %d path secrets", n)
	}
	if _, err := stays.Process(commit); err != nil {
		t.Fatal(err)
	}
	// It cannot go on as if there had been no path, nor speak.
	bare := bentCommit{from: gone, pathless: true}
	for _, forged := range [][]byte{draftCommit(t, gone, Change{Path: true}, nil).encode(t), bare.encode(t)} {
		refuseCommit(t, stays, ErrWrongEpoch, "commit", forged)
	}
	blob, err := gone.Protect(nil, []byte("text"), nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	refuse(t, stays, ErrWrongEpoch, "sender has left since", func() error { _, err := stays.Unprotect(blob); return err })
	secret, err := from.Protect(nil, []byte("text"), nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	refuse(t, gone, ErrWrongEpoch, "message", func() error { _, err := gone.Unprotect(secret); return err })
	if _, err := stays.Unprotect(secret); err != nil {
		t.Error(err)
	}
}

// readAfterUpdate: whoever has stolen a member's state reads along until that
// member renews its keys. An Add without a path, and paths of others, end
// nothing.
func readAfterUpdate(t *testing.T) {
	h := newHall(t)
	victim := h.group(t, 2)
	thief := twin(t, victim)
	if opens(t, thief, h.good) == 0 {
		t.Error("the thief does not even have the victim's keys")
	}
	commit, _, err := victim.Commit(Change{Path: true}, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if n := opens(t, thief, commit); n != 0 {
		t.Errorf("the thief opens %d path secrets", n)
	}
	// Nor does it help that the epoch before is known.
	f, err := readPublic(commit)
	if err != nil {
		t.Fatal(err)
	}
	context := victim.now.context
	s := thief.now.advance(&secret{}, &secret{}, &context)
	if bytes.Equal(s.tag[:], f.confirmation) {
		t.Error("the thief is in the next epoch")
	}
	blob, err := victim.Protect(nil, []byte("text"), nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p, err := readPrivate(blob)
	if err != nil {
		t.Fatal(err)
	}
	if found := find(stateOf(t, thief), hashSize, func(w []byte) bool {
		_, _, _, ok := p.openSender((*secret)(w))
		return ok
	}); found {
		t.Error("the thief sees who speaks")
	}
}

// find tries every run of n bytes of a state.
func find(state []byte, n int, try func(window []byte) bool) bool {
	for i := 0; i+n <= len(state); i++ {
		if try(state[i : i+n]) {
			return true
		}
	}
	return false
}

// readBack: nothing in a state opens what its owner was done with before: the
// Welcome, the commit that led here, a message that was read.
func readBack(t *testing.T) {
	h := newHall(t)
	v := h.invite(t, true)
	w, err := readWelcome(v.good)
	if err != nil {
		t.Fatal(err)
	}
	sealed := w.entries[0].secrets
	openWelcome := func(key []byte) bool {
		_, err := suiteP256.open(key, "Welcome", w.info, sealed.enc, sealed.ciphertext)
		return err == nil
	}
	if !find(v.pending.bytes()[:2*hashSize], hashSize, openWelcome) {
		t.Error("not even the init key opens the welcome")
	}
	if find(stateOf(t, v.join(t)), hashSize, openWelcome) {
		t.Error("the welcome can be opened after the join")
	}

	to := h.group(t, 1)
	before := twin(t, to)
	if _, err := to.Process(h.good); err != nil {
		t.Fatal(err)
	}
	f, err := readPublic(h.good)
	if err != nil {
		t.Fatal(err)
	}
	commitSecret := commitSecretOf(t, before, f)
	context := to.now.context
	next := func(init []byte) bool {
		s := schedule{joiner: joinerSecret((*secret)(init), &commitSecret, context.encode())}
		s.derive(&secret{}, &context)
		return bytes.Equal(s.tag[:], f.confirmation)
	}
	if !find(stateOf(t, before), hashSize, next) {
		t.Error("not even the state before leads to the next epoch")
	}
	if find(stateOf(t, to), hashSize, next) {
		t.Error("the commit can be followed again")
	}
	readBackMessage(t, h)
}

// commitSecretOf follows a path as far as its end.
func commitSecretOf(t testing.TB, g *Group, f *framed) secret {
	t.Helper()
	tree := g.now.tree.clone()
	if err := f.commit.path.leaf.check(g.suite); err != nil {
		t.Fatal(err)
	}
	steps, err := tree.applyPath(f.sender, f.commit.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	context := g.now.nextContext(tree)
	s, err := tree.openPath(f.commit.path, steps, g.self, g.now.copyKeys(), context.encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readBackMessage(t *testing.T, h *hall) {
	t.Helper()
	from, to := h.group(t, 5), h.group(t, 1)
	for range 2 { // so that the ratchet is there before the message that counts
		blob, err := from.Protect(nil, []byte("text"), nil, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		p, err := readPrivate(blob)
		if err != nil {
			t.Fatal(err)
		}
		_, generation, guard, _ := p.openSender(&to.now.secrets.senderData)
		open := func(k messageKey) bool {
			k.guard(guard)
			_, ok := aeadOpen(nil, &k.key, &k.nonce, p.ciphertext, p.contentAAD)
			return ok
		}
		asKey := func(w []byte) bool {
			return open(messageKey{key: [aeadKeySize]byte(w), nonce: [aeadNonceSize]byte(w[aeadKeySize:])})
		}
		asSecret := func(w []byte) bool {
			r := ratchet{secret: secret(w), next: uint64(generation)}
			return open(r.advance())
		}
		if generation == 1 && !find(stateOf(t, to), hashSize, asSecret) {
			t.Error("not even the receiver can open the message")
		}
		if _, err := to.Unprotect(blob); err != nil {
			t.Fatal(err)
		}
		for who, g := range map[string]*Group{"receiver": to, "sender": from} {
			state := stateOf(t, g)
			if find(state, aeadKeySize+aeadNonceSize, asKey) || find(state, hashSize, asSecret) {
				t.Errorf("the %s's state opens message %d", who, generation)
			}
		}
	}
}

// lookBehind: a call that fails late leaves no private key in memory.
func lookBehind(t *testing.T) {
	h := newHall(t)
	gone := errors.New("the key is gone")
	from := h.group(t, 0)
	m := making{Group: from, tree: from.now.tree.clone(), rnd: rand.Reader}
	if err := m.makePath(nil); err != nil {
		t.Fatal(err)
	}
	from.config.Signer = signerFunc{from.config.Signer, func([]byte) ([]byte, error) { return nil, gone }}
	if err := m.finish(); !errors.Is(err, gone) {
		t.Error(err)
	}
	m.wipe()
	for x, key := range m.path.keys {
		if !bytes.Equal(key, make([]byte, len(key))) {
			t.Errorf("key of node %d is left", x)
		}
	}

	text := []byte("a text that is nowhere else")
	to := h.group(t, 5)
	small := make([]byte, 200) // holds the text, but not all that is signed
	to.scratch = small[:0]
	if _, err := to.Protect(nil, text, nil, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(small, text) {
		t.Error("the text is in a buffer that was too small")
	}
	_, step, err := to.now.messages.peek(3, 10)
	if err != nil {
		t.Fatal(err)
	}
	skipped := step.head.skipped
	step.wipe()
	if len(skipped) != 10 || slices.ContainsFunc(skipped, func(k messageKey) bool { return k != messageKey{} }) {
		t.Error("keys that were tried in vain are left")
	}
}
