package mls

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"
)

// States and secrets (RFC 9420 sections 9.2 and 14 to 16).
var refusalsState = []refusal{
	{117, "used message keys are gone", usedKeysAreGone},
	{118, "secrets of the old epoch are gone", oldSecretsAreGone},
	{119, "saved state is not as it was", refuseStates},
	{120, "replay after loading", refuseReplayAfterLoad},
	{121, "errors tell nothing", errorsTellNothing},
	{122, "groups share nothing but the input", groupsShareNothing},
	{123, "first epoch is not derived from public data", firstEpochIsSecret},
	{124, "guards and nonces differ", noncesDiffer},
}

// holds reports which secrets are in the group's saved state.
func holds(t testing.TB, g *Group, secrets ...[]byte) (there []bool) {
	t.Helper()
	state := stateOf(t, g)
	for _, s := range secrets {
		if len(s) < 12 || bytes.Equal(s, make([]byte, len(s))) {
			t.Fatal("no secret to look for")
		}
		there = append(there, bytes.Contains(state, s))
	}
	return there
}

func wantHeld(t testing.TB, g *Group, want bool, secrets ...[]byte) {
	t.Helper()
	for i, there := range holds(t, g, secrets...) {
		if there != want {
			t.Errorf("secret %d: in the state: %v", i, there)
		}
	}
}

// keysOf are the first n message keys of a leaf and the secrets they came from.
func keysOf(t testing.TB, g *Group, leaf uint32, n int) (keys [][]byte, ratchets [][]byte) {
	t.Helper()
	s, err := twin(t, g).now.messages.claim(leaf)
	if err != nil {
		t.Fatal(err)
	}
	r := s[applicationRatchet]
	for range n {
		ratchets = append(ratchets, bytes.Clone(r.secret[:]))
		k := r.advance()
		keys = append(keys, append(bytes.Clone(k.key[:]), k.nonce[:]...))
	}
	return keys, ratchets
}

func usedKeysAreGone(t *testing.T) {
	h := newHall(t)
	from, to := h.group(t, 5), h.group(t, 1)
	keys, ratchets := keysOf(t, to, 5, 4)
	top := bytes.Clone(to.now.messages.frontier[root(8)][:])
	wantHeld(t, to, true, top)
	var blobs [][]byte
	for i := range 4 {
		blob, err := from.Protect(nil, []byte("text"), nil, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, blob)
		wantHeld(t, from, false, keys[i][:aeadKeySize], keys[i][aeadKeySize:], ratchets[i], top)
	}
	read := func(i int) {
		t.Helper()
		if _, err := to.Unprotect(blobs[i]); err != nil {
			t.Fatal(err)
		}
	}
	read(2)
	wantHeld(t, to, true, keys[0], keys[1], ratchets[3]) // skipped, and the next one
	wantHeld(t, to, false, keys[2][:aeadKeySize], keys[2][aeadKeySize:], ratchets[0], ratchets[1], ratchets[2], top)
	read(0)
	wantHeld(t, to, true, keys[1])
	wantHeld(t, to, false, keys[0][:aeadKeySize], keys[0][aeadKeySize:])
	// In a past epoch it is the same.
	if _, err := to.Process(h.good); err != nil {
		t.Fatal(err)
	}
	wantHeld(t, to, true, keys[1], ratchets[3])
	read(1)
	read(3)
	for i := range keys {
		wantHeld(t, to, false, keys[i][:aeadKeySize], keys[i][aeadKeySize:], ratchets[i])
	}
}

func oldSecretsAreGone(t *testing.T) {
	h := newHall(t)
	for _, pathless := range []bool{false, true} {
		newcomer := newPerson(t, P256, "newcomer")
		wire := newcomer.packOf(t, nil, nil)
		to := h.group(t, 1)
		old := to.now
		oldInit, membership := bytes.Clone(old.secrets.init[:]), bytes.Clone(old.secrets.membership[:])
		replaced := [][]byte{bytes.Clone(old.keys[1]), bytes.Clone(old.keys[3]), bytes.Clone(old.keys[7])}
		wantHeld(t, to, true, append(replaced, oldInit, membership)...)
		d := bentCommit{from: h.group(t, 0), list: []*proposal{adding(t, wire)}, pathless: pathless}
		if _, err := to.Process(d.encode(t)); err != nil {
			t.Fatal(err)
		}
		wantHeld(t, to, false, oldInit, membership, d.joiner[:], d.epochSecrets.confirmation[:])
		wantHeld(t, to, true, d.epochSecrets.init[:]) // or nobody could follow
		if old.secrets != (epochSecrets{}) {
			t.Error("the old epoch's secrets were not overwritten")
		}
		wantHeld(t, to, pathless, replaced...)
		if !pathless {
			for _, s := range d.secrets {
				next := deriveSecret(&s, "path") // of the last one: the commit secret
				wantHeld(t, to, false, s[:], next[:])
			}
		}
	}
	from := h.group(t, 0)
	old := from.now
	secrets := [][]byte{bytes.Clone(old.secrets.init[:])}
	for _, x := range []uint32{0, 1, 3, 7} {
		secrets = append(secrets, bytes.Clone(old.keys[x]))
	}
	wantHeld(t, from, true, secrets...)
	if _, _, err := from.Commit(Change{Path: true}, testNow, rand.Reader); err != nil {
		t.Fatal(err)
	}
	wantHeld(t, from, false, secrets...)
	// A joiner keeps neither the joiner secret nor its init key.
	v := h.invite(t, true)
	initKey := bytes.Clone(v.pending.init)
	g := v.join(t)
	path := v.commit.secrets[2]
	wantHeld(t, g, false, initKey, v.commit.joiner[:], path[:], v.commit.epochSecrets.confirmation[:])
}

// resum gives a saved state that was changed its checksum.
func resum(state []byte) []byte {
	sum := sha256.Sum256(state)
	return append(bytes.Clone(state), sum[:]...)
}

func refuseStates(t *testing.T) {
	h := newHall(t)
	g := h.group(t, 1)
	if _, err := g.Process(h.good); err != nil { // so that there is a past epoch
		t.Fatal(err)
	}
	state := stateOf(t, g)
	body := state[:len(state)-sha256.Size]
	config := h.people[1].Config
	refuseLoad := func(kind error, reason string, b []byte, c Config) {
		t.Helper()
		refuse(t, nil, kind, reason, func() error { _, err := Load(b, c); return err })
	}
	for n := 0; n < len(state); n += 97 {
		reason := "saved group is damaged"
		if n < sha256.Size {
			reason = "saved group of another version"
		}
		refuseLoad(ErrMalformed, reason, state[:n], config)
		refuseLoad(ErrMalformed, "saved group is damaged", flip(state, max(n, 1)), config)
	}
	refuseLoad(ErrMalformed, "saved group is damaged", append(bytes.Clone(state), 0), config)
	for _, version := range []byte{0, 2, 255} {
		b := bytes.Clone(body)
		b[0] = version
		refuseLoad(ErrMalformed, "saved group of another version", resum(b), config)
	}
	refuseLoad(ErrMalformed, "saved group", resum(append(bytes.Clone(body), 0)), config)
	for _, self := range []uint32{7, 8, 1 << 31, 2} { // blank, beyond, overflow, not ours
		b := bytes.Clone(body)
		binary.BigEndian.PutUint32(b[1:], self)
		refuseLoad(ErrMalformed, "saved group", resum(b), config)
	}
	refuseLoad(ErrUnsupported, "saved group of another signer", state, h.people[2].Config)
	refuseLoad(ErrUnsupported, "saved group of another suite", state, newPerson(t, X25519, "p1").Config)
	refuseResummed(t, body, config)
	if back, err := Load(state, config); err != nil || !bytes.Equal(stateOf(t, back), state) {
		t.Errorf("the state itself: %v", err)
	}
}

// refuseResummed: with a right checksum a state that ends early is refused too,
// and one that was altered is refused or is a state like any other, since no
// checksum can tell one secret from another.
func refuseResummed(t *testing.T, body []byte, config Config) {
	for n := 1; n < len(body); n += 61 {
		_, err := Load(resum(body[:n]), config)
		if e := (*Error)(nil); !errors.As(err, &e) {
			t.Errorf("%d of %d bytes: %v", n, len(body), err)
		}
	}
	for at := 1; at < len(body); at += 61 {
		g, err := Load(resum(flip(body, at)), config)
		if err == nil {
			twin(t, g)
		} else if e := (*Error)(nil); !errors.As(err, &e) {
			t.Errorf("byte %d altered: %v", at, err)
		}
	}
}

func refuseReplayAfterLoad(t *testing.T) {
	h := newHall(t)
	from, to := h.group(t, 5), h.group(t, 1)
	var blobs [][]byte
	for range 3 {
		blob, err := from.Protect(nil, []byte("text"), nil, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, blob)
	}
	read := func(i int) {
		t.Helper()
		if _, err := to.Unprotect(blobs[i]); err != nil {
			t.Fatal(err)
		}
		to = twin(t, to)
		refuse(t, to, ErrReplay, "", func() error { _, err := to.Unprotect(blobs[i]); return err })
	}
	read(0)
	read(2) // the last one
	if _, err := to.Process(h.good); err != nil {
		t.Fatal(err)
	}
	read(1) // skipped, and now of a past epoch
	for _, blob := range blobs {
		refuse(t, to, ErrReplay, "", func() error { _, err := to.Unprotect(blob); return err })
	}
	to.ForgetBefore(to.Epoch())
	refuse(t, twin(t, to), ErrWrongEpoch, "message", func() error { _, err := twin(t, to).Unprotect(blobs[2]); return err })
}
