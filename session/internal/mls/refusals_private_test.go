package mls

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"math"
	"testing"
)

var refusalsPrivate = []refusal{
	{30, "altered authenticated data", refuseAAD},
	{31, "altered head of a private message", refuseHeads},
	{32, "sender data", refuseSenderData},
	{33, "ciphertext shorter than a tag", func(t *testing.T) {
		s := newScene(t, P256)
		for size := range aeadTagSize {
			m := s.draftText(t)
			m.ciphertext = make([]byte, size)
			s.refuseMessage(t, ErrDecrypt, "", m.encode(t))
		}
		s.goesOn(t)
	}},
	{34, "tampered body", refuseTamperedBody},
	{35, "padding that is not zero", func(t *testing.T) {
		s := newScene(t, P256)
		for _, size := range []int{1, 16, 1000} {
			for _, at := range []int{0, size / 2, size - 1} {
				m := s.draftText(t)
				m.padding = make([]byte, size)
				m.padding[at] = 1
				s.refuseMessage(t, ErrMalformed, "content of a private message", m.encode(t))
			}
			m := draftMessage(t, s.from, "text", uint32(size))
			m.padding = make([]byte, size)
			s.accept(t, m.encode(t), "text")
		}
		m := s.draftText(t)
		m.padding = nil
		s.accept(t, m.encode(t), "text")
	}},
	{36, "inner content cut off", func(t *testing.T) {
		s := newScene(t, P256)
		m := s.draftText(t)
		whole := appendVec(bytes.Clone(m.content), mustSign(t, m.signer, m.label, m.tbs()))
		for n := range whole {
			m.inner = whole[:n]
			s.refuseMessage(t, ErrMalformed, "content of a private message", m.encode(t))
		}
		m.inner = whole
		s.accept(t, m.encode(t), "text")
	}},
	{37, "wrong signature inside", func(t *testing.T) {
		s := newScene(t, P256)
		m := s.draftText(t)
		right := mustSign(t, m.signer, m.label, m.tbs())
		for _, wrong := range [][]byte{{}, flip(right, -1), right[1:], mustSign(t, s.people[0].Signer, m.label, m.tbs())} {
			m.signature = wrong
			s.refuseMessage(t, ErrSignature, "message", m.encode(t))
		}
		m.signature = right
		s.accept(t, m.encode(t), "text") // of the same generation
	}},
	{38, "replay", refuseReplay},
	{39, "jump of 1025 generations", func(t *testing.T) {
		s := newScene(t, X25519)
		s.refuseMessage(t, ErrTooFar, "", draftMessage(t, s.from, "far", 1025).encode(t))
		s.accept(t, draftMessage(t, s.from, "near", 0).encode(t), "near")
		s.refuseMessage(t, ErrTooFar, "", draftMessage(t, s.from, "far", 1026).encode(t))
		m := s.draftText(t)
		m.generation = math.MaxUint32
		s.refuseMessage(t, ErrTooFar, "", m.encode(t))
		s.accept(t, draftMessage(t, s.from, "edge", 1025).encode(t), "edge")
	}},
	{40, "accepts a jump of 1024 but not the evicted key", refuseEvicted},
	{41, "window of another sender", func(t *testing.T) {
		s := newScene(t, X25519)
		s.accept(t, draftMessage(t, s.from, "far", 1024).encode(t), "far")
		other := s.groups[0]
		s.refuseMessage(t, ErrTooFar, "", draftMessage(t, other, "far", 1025).encode(t))
		s.accept(t, draftMessage(t, other, "first", 0).encode(t), "first")
		s.accept(t, draftMessage(t, s.from, "first", 0).encode(t), "first")
		s.accept(t, draftMessage(t, other, "edge", 1025).encode(t), "edge")
		s.accept(t, draftMessage(t, s.from, "last skipped", 1023).encode(t), "last skipped")
	}},
	{42, "past epochs", refusePast},
	{43, "epoch before our own join", func(t *testing.T) {
		s := newScene(t, P256)
		old := s.protect(t, s.from, "old")
		s.add(t, 2, s.newcomer)
		joined := s.groups[4]
		refuse(t, joined, ErrWrongEpoch, "message", func() error {
			_, err := joined.Unprotect(old)
			return err
		})
		s.accept(t, old, "old")
		s.goesOn(t)
	}},
	{44, "old messages of a leaf that has another key now", refuseReplaced},
}

// accept fails unless to reads the message.
func (s *scene) accept(t testing.TB, message []byte, text string) {
	t.Helper()
	m, err := s.to.Unprotect(message)
	if err != nil || string(m.Plaintext) != text {
		t.Errorf("read %q, %v; want %q", m.Plaintext, err, text)
	}
}

func (s *scene) protect(t testing.TB, from *Group, text string) []byte {
	t.Helper()
	message, err := from.Protect(nil, []byte(text), nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// refuseAAD: both the encryption and the signature cover it.
func refuseAAD(t *testing.T) {
	s := newScene(t, P256)
	sealed := func(m *messageDraft, aad string) []byte { return appendVec(bytes.Clone(m.senderHead()), []byte(aad)) }
	for _, aad := range []string{"", "aae", "aad "} {
		m := s.draftText(t)
		m.sealedAAD, m.signedAAD, m.aad = sealed(m, "aad"), []byte("aad"), []byte(aad)
		s.refuseMessage(t, ErrDecrypt, "", m.encode(t))
		m = s.draftText(t)
		m.sealedAAD = sealed(m, aad)
		s.refuseMessage(t, ErrDecrypt, "", m.encode(t))
		m = s.draftText(t)
		m.signedAAD = []byte(aad)
		s.refuseMessage(t, ErrSignature, "message", m.encode(t))

		d := s.draftPath(t)
		d.aad = []byte("aad")
		d.signature = mustSign(t, d.signer, d.label, append(append(append(header(version10, formatPublic), d.head()...), d.body()...), d.signed...))
		d.aad = []byte(aad)
		s.refuseCommit(t, ErrSignature, "message", d.encode(t))
	}
	s.goesOn(t)
}

// refuseHeads: group, epoch and content type are under both encryptions and the
// signature.
func refuseHeads(t *testing.T) {
	s := newScene(t, P256)
	old := twin(t, s.from)
	s.goesOn(t)
	for _, from := range []*Group{s.from, old} { // in both, generation 0 is used
		for name, bend := range map[string]func(m *messageDraft){
			"group":   func(m *messageDraft) { m.groupID = flip(m.groupID, 0) },
			"epoch":   func(m *messageDraft) { m.epoch++ },
			"content": func(m *messageDraft) { m.kind = contentCommit },
		} {
			t.Run(fmt.Sprint(name, " in epoch ", from.Epoch()), func(t *testing.T) {
				other := draftMessage(t, from, "text", 1)
				bend(other)
				m := draftMessage(t, from, "text", 1)
				m.senderAAD = other.senderHead()
				s.refuseMessage(t, ErrDecrypt, "", m.encode(t))
				m = draftMessage(t, from, "text", 1)
				m.sealedAAD = appendVec(other.senderHead(), m.aad)
				s.refuseMessage(t, ErrDecrypt, "", m.encode(t))
				m = draftMessage(t, from, "text", 1)
				m.signature = mustSign(t, m.signer, m.label, other.tbs())
				s.refuseMessage(t, ErrSignature, "message", m.encode(t))
			})
		}
	}
	// What the node can do by itself: the epoch is one that we know.
	m := draftMessage(t, old, "text", 1)
	m.senderAAD, m.sealedAAD = m.senderHead(), appendVec(m.senderHead(), m.aad)
	m.epoch++
	s.refuseMessage(t, ErrDecrypt, "", m.encode(t))
	s.accept(t, draftMessage(t, old, "text", 1).encode(t), "text")
	s.accept(t, s.draftText(t).encode(t), "text")
}

func refuseSenderData(t *testing.T) {
	s := newScene(t, P256)
	s.remove(t, 3)
	m := s.draftText(t)
	whole := m.encode(t)
	p, err := readPrivate(whole)
	if err != nil {
		t.Fatal(err)
	}
	join := func(senderData []byte) []byte {
		b := append(header(version10, formatPrivate), p.contentAAD...)
		return appendVec(appendVec(b, senderData), p.ciphertext)
	}
	for at := range p.senderData {
		s.refuseMessage(t, ErrDecrypt, "", join(flip(p.senderData, at)))
		s.refuseMessage(t, ErrDecrypt, "", join(p.senderData[:at]))
	}
	for size := range 12 {
		m := s.draftText(t)
		m.senderData = make([]byte, size)
		m.senderData = append(m.senderData[:0], []byte{0, 0, 0, 2, 0, 0, 0, 0, 1, 2, 3, 4}[:size]...)
		s.refuseMessage(t, ErrDecrypt, "", m.encode(t))
	}
	for _, leaf := range []uint32{3, 4, 1 << 30, 1 << 31, math.MaxUint32} {
		m := s.draftText(t)
		m.sender = leaf
		if key, _, err := s.from.now.messages.peek(leaf, 0); err == nil {
			m.key = key
		} else if leaf == 3 {
			t.Fatal(err)
		}
		s.refuseMessage(t, ErrDecrypt, "", m.encode(t))
	}
	t.Run("our own", func(t *testing.T) {
		s.refuseMessage(t, ErrDecrypt, "", draftMessage(t, s.to, "own", 0).encode(t))
		own := s.protect(t, s.to, "own")
		s.refuseMessage(t, ErrDecrypt, "", own)
	})
	s.accept(t, whole, "text")
}

// refuseTamperedBody: unlike with mls-rs, the original is still good.
func refuseTamperedBody(t *testing.T) {
	s := newScene(t, P256)
	original := s.protect(t, s.from, "text")
	p, err := readPrivate(original)
	if err != nil {
		t.Fatal(err)
	}
	first := len(original) - len(p.ciphertext)
	for at := first; at < len(original); at++ {
		s.refuseMessage(t, ErrDecrypt, "", flip(original, at))
	}
	// Tampered by somebody who knows the group's secrets but no signature key:
	// the sender data fits.
	for _, at := range []int{0, 1, 40, len(p.ciphertext) - 1} {
		m := s.draftText(t)
		m.ciphertext = flip(p.ciphertext, at)
		s.refuseMessage(t, ErrDecrypt, "", m.encode(t))
	}
	s.accept(t, original, "text")
}

func refuseReplay(t *testing.T) {
	s := newScene(t, P256)
	var messages [][]byte
	for i := range 4 {
		messages = append(messages, s.protect(t, s.from, fmt.Sprint(i)))
	}
	for _, i := range []int{2, 0, 3, 1} { // the second and the last are late
		s.accept(t, messages[i], fmt.Sprint(i))
		s.refuseMessage(t, ErrReplay, "", messages[i])
	}
	forged := s.draftText(t) // another message of a used generation
	key, _, err := s.groups[0].now.messages.peek(s.from.self, 1)
	if err != nil {
		t.Fatal(err)
	}
	forged.key, forged.generation = key, 1
	s.refuseMessage(t, ErrReplay, "", forged.encode(t))
	s.goesOn(t) // and in the epoch before
	for i := range messages {
		s.refuseMessage(t, ErrReplay, "", messages[i])
	}
}

func refuseEvicted(t *testing.T) {
	s := newScene(t, X25519)
	messages := make([][]byte, 1027)
	for i := range messages {
		messages[i] = s.protect(t, s.from, fmt.Sprint(i))
	}
	s.accept(t, messages[1024], "1024")
	s.accept(t, messages[1026], "1026") // evicts the key of 0
	s.refuseMessage(t, ErrReplay, "", messages[0])
	for i := 1; i <= 1023; i++ {
		s.accept(t, messages[i], fmt.Sprint(i))
	}
	s.accept(t, messages[1025], "1025")
	s.refuseMessage(t, ErrReplay, "", messages[1])
}

func refusePast(t *testing.T) {
	s := newScene(t, X25519)
	gone := s.groups[3]
	stays, leaves := s.protect(t, s.from, "stays"), s.protect(t, gone, "leaves")
	var later [][]byte // messages of the same epoch, for later
	for i := range 9 {
		later = append(later, s.protect(t, s.from, fmt.Sprint(i)))
	}
	s.remove(t, 3)
	s.accept(t, stays, "stays")
	s.refuseMessage(t, ErrWrongEpoch, "sender has left since", leaves)
	s.refuseMessage(t, ErrWrongEpoch, "sender has left since", s.protect(t, gone, "after the removal"))

	forgetful := twin(t, s.to)
	forgetful.ForgetBefore(gone.Epoch())
	if _, err := forgetful.Unprotect(later[0]); err != nil {
		t.Error("the epoch itself was forgotten:", err)
	}
	forgetful.ForgetBefore(gone.Epoch() + 1)
	refuse(t, forgetful, ErrWrongEpoch, "message", func() error {
		_, err := forgetful.Unprotect(later[1])
		return err
	})
	for i := range 8 { // with i+1 epochs since
		s.accept(t, later[i], fmt.Sprint(i))
		s.goesOn(t)
	}
	s.refuseMessage(t, ErrWrongEpoch, "message", later[8])
}

func refuseReplaced(t *testing.T) {
	s := newScene(t, P256)
	old := [][]byte{s.protect(t, s.groups[3], "first"), s.protect(t, s.groups[3], "second")}
	replace := func(p person) {
		pack, pending := p.keyPackage(t)
		commit, welcome, err := s.from.Commit(Change{Remove: []uint32{3}, Add: [][]byte{pack}}, testNow, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.groups, s.people = s.groups[:3], s.people[:3]
		s.process(t, 2, commit)
		g, err := Join(p.Config, pending, welcome)
		if err != nil {
			t.Fatal(err)
		}
		if g.Self() != 3 {
			t.Fatal("the new leaf is", g.Self())
		}
		s.groups, s.people = append(s.groups, g), append(s.people, p)
	}
	same := s.people[3]
	replace(same) // with the same key: a rejoin
	s.accept(t, old[0], "first")
	other := newPerson(t, P256, same.name) // the same subject with another key
	replace(other)
	s.refuseMessage(t, ErrWrongEpoch, "sender has left since", old[1])
	s.goesOn(t)
}
