package mls

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"
)

var refusalsLeaf = []refusal{
	{45, "leaf with a bad signature", func(t *testing.T) {
		s, g := newScene(t, P256), newGuest(t, P256)
		s.refuseUnsigned(t, g, func(l *leafDraft) {
			l.signer = bendSignatures(l.signer, func(sig []byte) []byte { return flip(sig, -1) })
		})
		s.goesOn(t)
		g.joins(t)
	}},
	{46, "leaf signed for another place", refusePlaces},
	{47, "leaf of another source", refuseSources},
	{48, "lifetime, by the adder only", refuseLifetimes},
	{49, "encryption key of somebody else", refuseEncryptionKeys},
	{50, "signature key of somebody else", refuseSignatureKeys},
	{51, "subject of somebody else", refuseSubjects},
	{52, "credential type 2", func(t *testing.T) {
		s, g := newScene(t, X25519), newGuest(t, X25519)
		s.refuseLeaf(t, g, ErrUnsupported, "credential type", func(l *leafDraft) {
			l.credType, l.caps.credentials = credX509, []uint16{credBasic, credX509}
		})
		s.goesOn(t)
		g.joins(t)
	}},
	{53, "credential type not in the capabilities", func(t *testing.T) {
		s, g := newScene(t, X25519), newGuest(t, X25519)
		for _, list := range [][]uint16{nil, {credX509}, {0x0a0a, 2, 3}} {
			s.refuseLeaf(t, g, ErrInvalidLeaf, "credential type is not in the capabilities", func(l *leafDraft) {
				l.caps.credentials = list
			})
		}
		s.goesOn(t)
		g.joins(t)
	}},
	{54, "capabilities without version or suite, by the adder only", refuseCapabilities},
	{55, "leaf extension not in the capabilities", func(t *testing.T) {
		s, g := newScene(t, X25519), newGuest(t, X25519)
		for _, list := range [][]uint16{nil, {0xff02}} {
			s.refuseLeaf(t, g, ErrInvalidLeaf, "extension is not in the capabilities", func(l *leafDraft) {
				l.caps.extensions = list
				l.extensions = append(l.extensions, extension{kind: 0xff01})
			})
		}
		s.goesOn(t)
		g.joins(t)
	}},
	{56, "default type in the capabilities", func(t *testing.T) {
		s, g := newScene(t, X25519), newGuest(t, X25519)
		for kind := range uint16(extExternalSenders + 1) {
			s.refuseLeaf(t, g, ErrInvalidLeaf, "default extension in the capabilities", func(l *leafDraft) {
				l.caps.extensions = []uint16{0xff01, kind}
			})
		}
		for kind := uint16(proposalAdd); kind <= 7; kind++ {
			s.refuseLeaf(t, g, ErrInvalidLeaf, "default proposal in the capabilities", func(l *leafDraft) {
				l.caps.proposals = []uint16{0xff01, kind}
			})
		}
		s.acceptLeaf(t, g, func(l *leafDraft) {
			l.caps.extensions, l.caps.proposals = []uint16{6, 0x0a0a, 0xffff}, []uint16{8, 0x0a0a, 0xffff}
		})
		s.goesOn(t)
	}},
	{57, "refused by the caller", refuseByCaller},
	{58, "path leaf with another subject or the old key", func(t *testing.T) {
		s := newScene(t, P256)
		for _, name := range []string{"p0", "somebody", "P2"} {
			d := draftCommit(t, s.from, Change{Path: true}, func(l *leafDraft) { l.credential = []byte(name) })
			s.refuseCommit(t, ErrInvalidLeaf, "subject is not the old one", d.encode(t))
			s.refuseCommitting(t, ErrInvalidLeaf, "subject is not the old one", Change{Credential: []byte(name)})
		}
		old := s.from.now.tree.leaf(s.from.self).encryptionKey
		d := draftCommit(t, s.from, Change{Path: true}, func(l *leafDraft) { l.encryptionKey = old })
		s.refuseCommit(t, ErrInvalidLeaf, "encryption key is the old one", d.encode(t))
		s.goesOn(t)
	}},
}

// leafSources puts a bent leaf wherever a leaf can be: into a key package that
// is added, into a path, and into the tree of a Welcome, there as made for a key
// package and as made by a commit.
func (s *scene) leafSources(t testing.TB, g *guest, bend func(*leafDraft)) (pack, path []byte, welcomes [2][]byte) {
	t.Helper()
	p := s.newcomer.draftPack(t)
	bend(&p.leaf)
	path = draftCommit(t, s.from, Change{Path: true}, bend).encode(t)
	for i := range welcomes {
		w := g.draft(t)
		l := g.otherLeaf(w)
		if i == 1 {
			l.source, l.lifetime, l.place = sourceCommit, Lifetime{}, appendPlace(nil, w.context.groupID, 1)
		}
		bend(&l)
		w.setLeaf(t, 1, l)
		welcomes[i] = w.encode(t)
	}
	return p.encode(t), path, welcomes
}

func (s *scene) refuseLeaf(t *testing.T, g *guest, kind error, reason string, bend func(*leafDraft)) {
	t.Helper()
	pack, path, welcomes := s.leafSources(t, g, bend)
	s.refusePack(t, kind, reason, pack)
	s.refuseCommit(t, kind, reason, path)
	g.refuseJoin(t, kind, reason, welcomes[0])
	g.refuseJoin(t, kind, reason, welcomes[1])
}

// acceptLeaf is the opposite; it uses the guest up.
func (s *scene) acceptLeaf(t *testing.T, g *guest, bend func(*leafDraft)) {
	t.Helper()
	pack, path, welcomes := s.leafSources(t, g, bend)
	if _, _, err := ParseKeyPackage(pack); err != nil {
		t.Error("key package:", err)
	}
	if _, _, err := twin(t, s.from).Commit(Change{Add: [][]byte{pack}}, testNow, rand.Reader); err != nil {
		t.Error("adding:", err)
	}
	s.acceptAdded(t, pack)
	if _, err := twin(t, s.to).Process(path); err != nil {
		t.Error("path:", err)
	}
	if _, err := Join(g.Config, g.pack.pending, welcomes[1]); err != nil {
		t.Error("joining:", err)
	}
}

// acceptAdded lets a receiver process a commit that adds the key package.
func (s *scene) acceptAdded(t testing.TB, pack []byte) {
	t.Helper()
	if _, err := twin(t, s.to).Process(draftCommit(t, s.from, Change{Add: [][]byte{pack}}, nil).encode(t)); err != nil {
		t.Error("added:", err)
	}
}

// refuseUnsigned is for leaves whose signature is wrong.
func (s *scene) refuseUnsigned(t *testing.T, g *guest, bend func(*leafDraft)) {
	t.Helper()
	pack, path, welcomes := s.leafSources(t, g, bend)
	s.refusePack(t, ErrSignature, "leaf of a key package", pack)
	s.refuseCommit(t, ErrSignature, "leaf of a commit", path)
	g.refuseJoin(t, ErrSignature, "leaf in the tree", welcomes[0])
	g.refuseJoin(t, ErrSignature, "leaf in the tree", welcomes[1])
}

func refusePlaces(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	for name, place := range map[string][]byte{
		"other group": appendPlace(nil, []byte("another group"), 2),
		"no group":    appendPlace(nil, nil, 2),
		"other leaf":  appendPlace(nil, s.from.ID(), 3),
		"group only":  appendVec(nil, s.from.ID()),
	} {
		t.Run(name, func(t *testing.T) { s.refuseUnsigned(t, g, func(l *leafDraft) { l.place = place }) })
	}
	t.Run("nowhere", func(t *testing.T) {
		s.refuseCommit(t, ErrSignature, "leaf of a commit",
			draftCommit(t, s.from, Change{Path: true}, func(l *leafDraft) { l.place = nil }).encode(t))
		_, _, welcomes := s.leafSources(t, g, func(l *leafDraft) { l.place = nil })
		g.refuseJoin(t, ErrSignature, "leaf in the tree", welcomes[1])
	})
	t.Run("key package with its place", func(t *testing.T) {
		p := s.newcomer.draftPack(t)
		p.leaf.place = appendPlace(nil, s.from.ID(), 4) // where it will be
		s.refusePack(t, ErrSignature, "leaf of a key package", p.encode(t))
		w := g.draft(t)
		l := g.otherLeaf(w)
		l.place = appendPlace(nil, w.context.groupID, 1)
		w.setLeaf(t, 1, l)
		g.refuseJoin(t, ErrSignature, "leaf in the tree", w.encode(t))
	})
	s.goesOn(t)
	g.joins(t)
}

func refuseSources(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	for _, source := range []uint8{sourcePackage, sourceUpdate} {
		d := draftCommit(t, s.from, Change{Path: true}, func(l *leafDraft) {
			if l.source = source; source == sourcePackage {
				l.place, l.lifetime = nil, Lifetime{NotAfter: 1 << 40}
			}
		})
		s.refuseCommit(t, ErrInvalidLeaf, "not a leaf of a commit", d.encode(t))
	}
	for _, source := range []uint8{sourceCommit, sourceUpdate} {
		p := s.newcomer.draftPack(t)
		p.leaf.source = source
		s.refusePack(t, ErrInvalidLeaf, "not a leaf of a key package", p.encode(t))
	}
	w := g.draft(t)
	l := g.otherLeaf(w)
	l.source, l.place = sourceUpdate, appendPlace(nil, w.context.groupID, 1)
	w.setLeaf(t, 1, l)
	g.refuseJoin(t, ErrInvalidLeaf, "leaf of an update", w.encode(t))
	s.goesOn(t)
	g.joins(t)
}

// refuseLifetimes: a receiver must not look at lifetimes, or clocks could split
// a group.
func refuseLifetimes(t *testing.T) {
	s := newScene(t, P256)
	now, skew := uint64(testNow.Unix()), uint64(5*time.Minute/time.Second)
	for _, c := range []struct {
		name   string
		life   Lifetime
		reason string // empty: accepted
	}{
		{"over", Lifetime{0, now - skew - 1}, "over"},
		{"over within the skew", Lifetime{0, now - skew}, ""},
		{"not begun", Lifetime{now + skew + 1, now + 1000}, "not begun: clocks differ"},
		{"not begun within the skew", Lifetime{now + skew, now + 1000}, ""},
		{"never begins", Lifetime{1<<64 - 1, 1<<64 - 1}, "not begun"},
		{"ends before it begins", Lifetime{now + skew + 1, now}, "not begun: clocks differ"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.newcomer.draftPack(t)
			p.leaf.lifetime = c.life
			pack := p.encode(t)
			ch := Change{Add: [][]byte{pack}}
			if c.reason != "" {
				s.refuseCommitting(t, ErrLifetime, c.reason, ch)
			} else if _, _, err := twin(t, s.from).Commit(ch, testNow, rand.Reader); err != nil {
				t.Error("adding:", err)
			}
			_, life, err := ParseKeyPackage(pack)
			if err != nil || life != c.life {
				t.Error("parsing:", life, err)
			}
			s.acceptAdded(t, pack)
			g := newGuest(t, P256)
			w := g.draft(t)
			l := g.otherLeaf(w)
			l.lifetime = c.life
			w.setLeaf(t, 1, l)
			if _, err := Join(g.Config, g.pack.pending, w.encode(t)); err != nil {
				t.Error("joining:", err)
			}
		})
	}
	p := s.newcomer.draftPack(t)
	p.leaf.lifetime.NotBefore = now + 1000
	_, _, err := s.from.Commit(Change{Add: [][]byte{p.encode(t)}}, testNow, rand.Reader)
	var e *Error
	if !errors.As(err, &e) || !e.RetryAt.Equal(testNow.Add(1000*time.Second-ClockSkew)) {
		t.Errorf("%v does not say when to try again", err)
	}
	s.goesOn(t)
}

func refuseEncryptionKeys(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	tree := s.to.now.tree
	parents := 0
	for x, n := range tree.nodes {
		if n.blank() || uint32(x) == 2*s.from.self {
			continue
		}
		if n.parent != nil {
			parents++
		}
		used := n.encryptionKey()
		p := s.newcomer.draftPack(t)
		p.leaf.encryptionKey = used
		pack := p.encode(t)
		s.refuseCommitting(t, ErrDuplicate, "encryption key", Change{Add: [][]byte{pack}})
		s.refuseAdded(t, ErrDuplicate, "encryption key", pack)
		d := draftCommit(t, s.from, Change{Path: true}, func(l *leafDraft) { l.encryptionKey = used })
		s.refuseCommit(t, ErrDuplicate, "encryption key", d.encode(t))
	}
	if parents == 0 {
		t.Error("no parent is there to take the key of")
	}
	d := s.draftPath(t) // the leaf and a node of one path
	d.update.nodes[0].encryptionKey = d.update.leaf.encryptionKey
	s.refuseCommit(t, ErrDuplicate, "encryption key", d.encode(t))
	w := g.draft(t)
	l := g.otherLeaf(w)
	l.encryptionKey = w.tree.leaf(0).encryptionKey
	w.setLeaf(t, 1, l)
	g.refuseJoin(t, ErrDuplicate, "encryption key", w.encode(t))
	// A parent that the first leaf has made, with the key of the second.
	w = g.draft(t)
	above := &parentNode{encryptionKey: w.tree.leaf(1).encryptionKey}
	w.tree.set(1, node{parent: above})
	l = draftLeaf(w.tree.leaf(0), g.hosts[0].Signer, nil, 0)
	hash := w.tree.parentHash(above, 2)
	l.source, l.parentHash, l.place = sourceCommit, hash[:], appendPlace(nil, w.context.groupID, 0)
	w.setLeaf(t, 0, l)
	g.refuseJoin(t, ErrDuplicate, "encryption key", w.encode(t))
	s.goesOn(t)
	g.joins(t)
}

func refuseSignatureKeys(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	thief := s.newcomer
	thief.Signer = s.people[3].Signer
	pack := thief.draftPack(t).encode(t)
	s.refuseCommitting(t, ErrDuplicate, "signature key", Change{Add: [][]byte{pack}})
	s.refuseAdded(t, ErrDuplicate, "signature key", pack)
	d := draftCommit(t, s.from, Change{Path: true}, func(l *leafDraft) { l.signer, l.signatureKey = thief.Signer, thief.Signer.Public() })
	s.refuseCommit(t, ErrDuplicate, "signature key", d.encode(t))
	w := g.draft(t)
	l := g.otherLeaf(w)
	l.signer, l.signatureKey = g.hosts[0].Signer, g.hosts[0].Signer.Public()
	w.setLeaf(t, 1, l)
	g.refuseJoin(t, ErrDuplicate, "signature key", w.encode(t))
	s.goesOn(t)
	g.joins(t)
}

func refuseSubjects(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	for _, name := range []string{"p0", "p2", "p3"} { // p2 commits
		double := newPerson(t, P256, name)
		pack := double.draftPack(t).encode(t)
		s.refuseCommitting(t, ErrDuplicate, "subject", Change{Add: [][]byte{pack}})
		s.refuseAdded(t, ErrDuplicate, "subject", pack)
	}
	for _, name := range []string{"host", "guest"} {
		w := g.draft(t)
		l := g.otherLeaf(w)
		l.credential = []byte(name)
		w.setLeaf(t, 1, l)
		g.refuseJoin(t, ErrDuplicate, "subject", w.encode(t))
	}
	s.goesOn(t)
	g.joins(t)
}

// refuseCapabilities: mls-rs does not look when it receives, so that we must not
// refuse there.
func refuseCapabilities(t *testing.T) {
	for name, bend := range map[string]func(l *leafDraft){
		"no version":    func(l *leafDraft) { l.caps.versions = nil },
		"other version": func(l *leafDraft) { l.caps.versions = []uint16{2} },
		"no suite":      func(l *leafDraft) { l.caps.suites = nil },
		"other suite":   func(l *leafDraft) { l.caps.suites = slices.Concat([]uint16{3}, []uint16{65100}) },
	} {
		t.Run(name, func(t *testing.T) {
			s, g := newScene(t, P256), newGuest(t, P256)
			pack, path, welcomes := s.leafSources(t, g, bend)
			s.refuseAdding(t, ErrInvalidLeaf, "version or suite is not in the capabilities", pack)
			s.acceptAdded(t, pack)
			if _, err := twin(t, s.to).Process(path); err != nil {
				t.Error("path:", err)
			}
			if _, err := Join(g.Config, g.pack.pending, welcomes[1]); err != nil {
				t.Error("joining:", err)
			}
			s.goesOn(t)
		})
	}
}
