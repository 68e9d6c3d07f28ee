package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math"
	"slices"
	"testing"
)

// What a member can try that knows all secrets of its group, has a key of its
// own to sign with, and does not keep to the rules.

// TestMemberAttacks runs each attack by itself.
func TestMemberAttacks(t *testing.T) {
	for name, attack := range map[string]func(t *testing.T){
		"bloat the tree with a leaf":                bloatLeaf,
		"bloat the tree with many leaves":           bloatTree,
		"speak as a member that left, with its key": speakAsPredecessor,
		"speak as another member":                   speakAsAnother,
		"commit as another member":                  commitAsAnother,
		"remove a member from its own view only":    removeInOneView,
		"leave a member out of a path":              leaveOut,
		"two commits for one epoch":                 fork,
		"lead into the last epoch":                  lastEpoch,
		"invite into the first epoch":               firstEpoch,
		"pass for a member that rejoins":            passAsRejoining,
		"take over a subject":                       takeSubject,
		"one key package 512 times":                 addManyTimes,
		"largest and most tangled tree":             tangledTree,
		"graft a node that nobody made":             graft,
		"run a ratchet to its end":                  lastGeneration,
	} {
		t.Run(name, attack)
	}
}

// speakAsPredecessor: the owner of a key comes back under another subject, at
// the leaf that the first one had.
func speakAsPredecessor(t *testing.T) {
	s := newScene(t, P256)
	gone := s.people[3]
	old := s.groups[3]
	blob := s.protect(t, old, "text")
	alias := gone
	alias.name, alias.Credential = "alias", []byte("alias")
	pack, pending := alias.keyPackage(t)
	commit, welcome, err := s.from.Commit(Change{Remove: []uint32{3}, Add: [][]byte{pack}}, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.groups, s.people = s.groups[:3], s.people[:3]
	s.process(t, 2, commit)
	g, err := Join(alias.Config, pending, welcome)
	if err != nil || g.Self() != 3 {
		t.Fatal(err)
	}
	s.groups, s.people = append(s.groups, g), append(s.people, alias)
	s.refuseMessage(t, ErrWrongEpoch, "sender has left since", blob)
	// A new token of the same subject is no reason to refuse what came before.
	late := s.protect(t, g, "late")
	s.to.config.Subject = func(m Member) (string, error) { // "alias" and "alias, renewed" are one
		name, _, _ := bytes.Cut(m.Credential, []byte(","))
		return string(name), nil
	}
	g.config.Subject = s.to.config.Subject
	commit, _, err = g.Commit(Change{Credential: []byte("alias, renewed")}, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.to.Process(commit); err != nil {
		t.Fatal(err)
	}
	m, err := s.to.Unprotect(late)
	if err != nil || string(m.Sender.Credential) != "alias" {
		t.Errorf("message of the old credential: %v", err)
	}
	blob = s.protect(t, g, "now")
	s.to.config.Subject = func(Member) (string, error) { return "", errors.New("no subject") }
	if _, err := s.to.Unprotect(blob); err != nil {
		t.Error("the current epoch asks for subjects:", err)
	}
}

// speakAsAnother: every member can derive everybody's message keys. What it
// cannot do is sign, and a signature is good in one place only.
func speakAsAnother(t *testing.T) {
	s := newScene(t, P256)
	victim := s.groups[3]
	genuine := s.protect(t, victim, "text")
	signature := signatureIn(t, s.groups[0], genuine)
	draft := func() *messageDraft {
		d := draftMessage(t, victim, "text", 4)
		d.aad, d.signature = nil, signature
		return d
	}
	for name, bend := range map[string]func(d *messageDraft){
		"own signature":  func(d *messageDraft) { d.signature, d.signer = nil, s.from.config.Signer },
		"other text":     func(d *messageDraft) { d.content = appendVec(nil, []byte("tex")) },
		"other aad":      func(d *messageDraft) { d.aad = []byte("a") },
		"own name":       func(d *messageDraft) { *d = *draftMessage(t, s.from, "text", 4); d.signature = signature },
		"as a handshake": func(d *messageDraft) { d.kind = contentProposal },
	} {
		t.Run(name, func(t *testing.T) {
			d := draft()
			bend(d)
			before := stateOf(t, s.to)
			if _, err := s.to.Unprotect(d.encode(t)); err == nil {
				t.Error("accepted")
			}
			if !bytes.Equal(stateOf(t, s.to), before) {
				t.Error("the refused message has changed the state")
			}
		})
	}
	s.accept(t, genuine, "text")
	s.goesOn(t)
	d := draftMessage(t, victim, "text", 0) // in the next epoch
	d.aad, d.signature = nil, signature
	s.refuseMessage(t, ErrSignature, "message", d.encode(t))
}

// signatureIn is the signature in a message, which every receiver gets to see.
func signatureIn(t testing.TB, g *Group, blob []byte) []byte {
	t.Helper()
	p, err := readPrivate(blob)
	if err != nil {
		t.Fatal(err)
	}
	leaf, generation, guard, _ := p.openSender(&g.now.secrets.senderData)
	key, _, err := g.now.messages.peek(leaf, generation)
	if err != nil {
		t.Fatal(err)
	}
	key.guard(guard)
	plain, ok := aeadOpen(nil, &key.key, &key.nonce, p.ciphertext, p.contentAAD)
	if !ok {
		t.Fatal("the message cannot be opened")
	}
	r := &reader{b: plain}
	r.vec(maxMessage)
	return r.vec(maxMessage)
}

func commitAsAnother(t *testing.T) {
	s := newScene(t, P256)
	genuine, err := readPublic(draftCommit(t, s.groups[3], Change{Path: true}, nil).encode(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, bend := range map[string]func(d *commitDraft){
		"own signature":              func(d *commitDraft) {},
		"signature of other content": func(d *commitDraft) { d.signature = genuine.signature },
		"signature of nobody":        func(d *commitDraft) { d.signature = []byte{} },
	} {
		t.Run(name, func(t *testing.T) {
			d := draftCommit(t, s.from, Change{Remove: []uint32{0}, Path: true}, nil)
			d.sender = 3
			bend(d)
			s.refuseCommit(t, ErrSignature, "message", d.encode(t))
		})
	}
	// Not even as the receiver itself.
	d := draftCommit(t, s.from, Change{Path: true}, nil)
	d.sender = s.to.self
	s.refuseCommit(t, ErrInvalidCommit, "commit of our own", d.encode(t))
	s.goesOn(t)
}

// removeInOneView: a removal that nobody else would accept is not the end for
// the one that gets it.
func removeInOneView(t *testing.T) {
	s := newScene(t, P256)
	d := draftCommit(t, s.from, Change{Remove: []uint32{1}, Path: true}, nil)
	d.tag = make([]byte, hashSize)
	message := d.encode(t)
	s.refuseCommit(t, ErrRemoved, "", message)
	refuse(t, s.groups[0], ErrSignature, "confirmation tag", func() error { _, err := s.groups[0].Process(message); return err })
	s.refuseCommit(t, ErrRemoved, "", message)
	// With what is not even that, it learns of no removal.
	d = draftCommit(t, s.from, Change{Remove: []uint32{1}}, nil)
	s.refuseCommit(t, ErrInvalidCommit, "path is missing", d.encode(t))
	d = draftCommit(t, s.from, Change{Remove: []uint32{1}, Path: true}, nil)
	d.signature = make([]byte, 70)
	s.refuseCommit(t, ErrSignature, "message", d.encode(t))
	s.goesOn(t)
}

// leaveOut: a path without a ciphertext for somebody, or with one more for
// somebody who is just let in.
func leaveOut(t *testing.T) {
	h := newHall(t)
	newcomer := newPerson(t, P256, "newcomer")
	wire, _ := newcomer.keyPackage(t)
	const reason = "path has the wrong number of ciphertexts"
	for step := range 3 {
		d := bentCommit{from: h.group(t, 0), bendUpdate: func(u *updatePath) { u.nodes[step].secrets = nil }}
		h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 1, 6)
	}
	d := bentCommit{from: h.group(t, 6), list: []*proposal{adding(t, wire)}}
	d.bendUpdate = func(u *updatePath) {
		if len(u.nodes[0].secrets) != 0 {
			t.Error("there is somebody else below the lowest node")
		}
		u.nodes[0].secrets = u.nodes[1].secrets[:1]
	}
	h.refuse(t, ErrInvalidCommit, reason, d.encode(t), 1)
	d.bendUpdate = nil
	h.accept(t, &d, 0, 1, 5)
	// Nor can a node be left out because only a newcomer is below it.
	d.bendSteps = func(steps []pathStep) []pathStep { return steps[1:] }
	h.refuse(t, ErrInvalidCommit, "path has the wrong length", d.encode(t), 1)
}

// fork: whoever gets the one commit refuses the other, and the authenticators
// tell who has which.
func fork(t *testing.T) {
	h := newHall(t)
	one, other := bentCommit{from: h.group(t, 2)}, bentCommit{from: h.group(t, 2)}
	first, second := one.encode(t), other.encode(t)
	a, b := h.group(t, 1), h.group(t, 5)
	for _, c := range []struct {
		g              *Group
		commit, refuse []byte
	}{{a, first, second}, {b, second, first}} {
		if _, err := c.g.Process(c.commit); err != nil {
			t.Fatal(err)
		}
		refuseCommit(t, c.g, ErrWrongEpoch, "commit", c.refuse)
	}
	if a.Epoch() != b.Epoch() || bytes.Equal(a.Authenticator(), b.Authenticator()) {
		t.Error("the fork does not show")
	}
	blob, err := a.Protect(nil, []byte("text"), nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	refuse(t, b, ErrDecrypt, "", func() error { _, err := b.Unprotect(blob); return err })
}

// lastEpoch: epochs are numbered up to 2^64-1, and a Welcome can name any.
func lastEpoch(t *testing.T) {
	g := newGuest(t, P256)
	d := g.draft(t)
	d.context.epoch = math.MaxUint64
	to, err := Join(g.Config, g.pack.pending, d.encode(t))
	if err != nil {
		t.Fatal(err)
	}
	from := twin(t, to)
	from.self, from.config = 0, g.hosts[0].Config
	blob, err := from.Protect(nil, []byte("text"), nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const reason = "no epoch is left"
	refuseCommit(t, to, ErrInvalidCommit, reason, draftCommit(t, from, Change{Path: true}, nil).encode(t))
	refuse(t, to, ErrInvalidCommit, reason, func() error {
		_, _, err := to.Commit(Change{Path: true}, testNow, rand.Reader)
		return err
	})
	to.ForgetBefore(math.MaxUint64)
	if m, err := to.Unprotect(blob); err != nil || m.Epoch != math.MaxUint64 {
		t.Error("message of the last epoch:", err)
	}
}

// firstEpoch: nobody is invited into epoch 0, in which nothing can be said.
func firstEpoch(t *testing.T) {
	g := newGuest(t, P256)
	d := g.draft(t)
	d.context.epoch = 0
	g.refuseJoin(t, ErrInvalidTree, "welcome to the first epoch", d.encode(t))
	g.joins(t)
}

// passAsRejoining: only the owner of subject and key is shown as [Rejoining],
// for whom the age of a token does not count, and only in place of itself.
func passAsRejoining(t *testing.T) {
	h := newHall(t)
	seen := func(ch Change) (list []Reason, err error) {
		g := h.group(t, 0)
		g.config.Verify = func(_ Member, why Reason) error {
			list = append(list, why)
			return nil
		}
		_, _, err = g.Commit(ch, testNow, rand.Reader)
		return list, err
	}
	victim := h.people[3]
	thief := newPerson(t, P256, victim.name) // the subject without the key
	alias := victim                          // the key without the subject
	alias.Credential = []byte("alias")
	for name, c := range map[string]struct {
		pack   []byte
		remove []uint32
		want   []Reason
		ok     bool
	}{
		"itself":                   {victim.packOf(t, nil, nil), []uint32{3}, []Reason{Rejoining}, true},
		"beside itself":            {victim.packOf(t, nil, nil), nil, []Reason{Adding}, false},
		"in place of another":      {victim.packOf(t, nil, nil), []uint32{4}, []Reason{Adding}, false},
		"the subject alone":        {thief.packOf(t, nil, nil), []uint32{3}, []Reason{Adding}, true},
		"the subject, with both":   {thief.packOf(t, nil, nil), nil, []Reason{Adding}, false},
		"the key alone":            {alias.packOf(t, nil, nil), []uint32{3}, []Reason{Adding}, true},
		"the key, with both there": {alias.packOf(t, nil, nil), nil, []Reason{Adding}, false},
	} {
		list, err := seen(Change{Add: [][]byte{c.pack}, Remove: c.remove})
		if !slices.Equal(list, c.want) || (err == nil) != c.ok || err != nil && !errors.Is(err, ErrDuplicate) {
			t.Errorf("%s: shown as %v, %v", name, list, err)
		}
	}
	// Two at once take the place of one.
	twice := Change{Add: [][]byte{victim.packOf(t, nil, nil), victim.packOf(t, nil, nil)}, Remove: []uint32{3}}
	if _, err := seen(twice); !errors.Is(err, ErrDuplicate) {
		t.Error("twice:", err)
	}
}

// takeSubject: a leaf may not change hands, nor may two leaves have one owner.
func takeSubject(t *testing.T) {
	h := newHall(t)
	for name, credential := range map[string]string{"of a member": "p3", "of nobody": "somebody", "of the receiver": "p1"} {
		t.Run(name, func(t *testing.T) {
			d := bentCommit{from: h.group(t, 2), bendLeaf: func(d *leafDraft) { d.credential = []byte(credential) }}
			h.refuse(t, ErrInvalidLeaf, "subject is not the old one", d.encode(t), 1)
			// Not even when the owner goes in the same commit.
			d.list = []*proposal{removing(3)}
			h.refuse(t, ErrInvalidLeaf, "subject is not the old one", d.encode(t), 1)
		})
	}
	d := bentCommit{from: h.group(t, 2), bendLeaf: func(d *leafDraft) {
		d.signatureKey, d.signer = h.people[3].Signer.Public(), h.people[3].Signer
	}}
	h.refuse(t, ErrDuplicate, "signature key", d.encode(t), 1)
	// The subject of a removed member goes to one newcomer only.
	one, other := newPerson(t, P256, "p3"), newPerson(t, P256, "p3")
	d = bentCommit{from: h.group(t, 2), list: []*proposal{
		adding(t, one.packOf(t, nil, nil)), adding(t, other.packOf(t, nil, nil)), removing(3),
	}}
	h.refuse(t, ErrDuplicate, "subject", d.encode(t), 1)
}

// lastGeneration: at the end of a ratchet there is no way back to its beginning.
func lastGeneration(t *testing.T) {
	s := newScene(t, P256)
	d := s.draftText(t)
	for _, g := range []*Group{s.from, s.to, s.groups[0]} {
		sender, err := g.now.messages.claim(s.from.self)
		if err != nil {
			t.Fatal(err)
		}
		sender[applicationRatchet].next = math.MaxUint32
	}
	refuse(t, s.from, ErrTooFar, "all generations are used", func() error {
		_, err := s.from.Protect(nil, []byte("text"), nil, rand.Reader)
		return err
	})
	key, _, err := s.groups[0].now.messages.peek(s.from.self, math.MaxUint32)
	if err != nil {
		t.Fatal(err)
	}
	d.key, d.generation = key, math.MaxUint32
	last := d.encode(t)
	s.accept(t, last, "text")
	s.refuseMessage(t, ErrReplay, "", last)
	for _, generation := range []uint32{0, 1, math.MaxUint32 - 1} {
		d.generation = generation
		s.refuseMessage(t, ErrReplay, "", d.encode(t))
	}
	s.to = twin(t, s.to)
	s.refuseMessage(t, ErrReplay, "", last)
}
