package mls

import (
	"bytes"
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
		refuseLeafEverywhere(t, ErrUnsupported, "credential type", func(l *leafDraft) {
			l.credType, l.caps.credentials = credX509, []uint16{credBasic, credX509}
		})
	}},
	{53, "credential type not in the capabilities", func(t *testing.T) {
		for _, list := range [][]uint16{nil, {credX509}, {0x0a0a, 2, 3}} {
			refuseLeafEverywhere(t, ErrInvalidLeaf, "credential type is not in the capabilities", func(l *leafDraft) {
				l.caps.credentials = list
			})
		}
	}},
	{54, "capabilities without version or suite, by the adder only", refuseCapabilities},
	{55, "leaf extension not in the capabilities", func(t *testing.T) {
		for _, list := range [][]uint16{nil, {0xff02}} {
			refuseLeafEverywhere(t, ErrInvalidLeaf, "extension is not in the capabilities", func(l *leafDraft) {
				l.caps.extensions = list
				l.extensions = append(l.extensions, extension{kind: 0xff01})
			})
		}
	}},
	{56, "default type in the capabilities", func(t *testing.T) {
		for kind := range uint16(extExternalSenders + 1) {
			refuseLeafEverywhere(t, ErrInvalidLeaf, "default extension in the capabilities", func(l *leafDraft) {
				l.caps.extensions = []uint16{0xff01, kind}
			})
		}
		for kind := uint16(proposalAdd); kind <= 7; kind++ {
			refuseLeafEverywhere(t, ErrInvalidLeaf, "default proposal in the capabilities", func(l *leafDraft) {
				l.caps.proposals = []uint16{0xff01, kind}
			})
		}
		acceptLeafEverywhere(t, func(l *leafDraft) {
			l.caps.extensions, l.caps.proposals = []uint16{6, 0x0a0a, 0xffff}, []uint16{8, 0x0a0a, 0xffff}
		})
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

func refuseLeafEverywhere(t *testing.T, kind error, reason string, bend func(*leafDraft)) {
	t.Helper()
	s, g := newScene(t, X25519), newGuest(t, X25519)
	pack, path, welcomes := s.leafSources(t, g, bend)
	s.refusePack(t, kind, reason, pack)
	s.refuseCommit(t, kind, reason, path)
	g.refuseJoin(t, kind, reason, welcomes[0])
	g.refuseJoin(t, kind, reason, welcomes[1])
	s.goesOn(t)
	g.joins(t)
}

func acceptLeafEverywhere(t *testing.T, bend func(*leafDraft)) {
	t.Helper()
	s, g := newScene(t, X25519), newGuest(t, X25519)
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

func refuseByCaller(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	no := errors.New("the token is no good")
	refusing := func(reason Reason, leaf uint32) Verify {
		return func(m Member, why Reason) error {
			if why != reason || m.Leaf != leaf {
				return nil
			}
			return no
		}
	}
	expect := func(t *testing.T, group *Group, reason string, call func() error) {
		t.Helper()
		refuse(t, group, ErrInvalidLeaf, reason, func() error {
			err := call()
			if !errors.Is(err, no) {
				t.Errorf("%v does not wrap the caller's error", err)
			}
			return err
		})
	}
	committing := func(ch Change) func() error {
		return func() error { _, _, err := s.from.Commit(ch, testNow, rand.Reader); return err }
	}
	pack := s.newcomer.draftPack(t).encode(t)
	added := draftCommit(t, s.from, Change{Add: [][]byte{pack}}, nil).encode(t)
	path := s.draftPath(t).encode(t)
	processing := func(message []byte) func() error {
		return func() error { _, err := s.to.Process(message); return err }
	}
	joining := func(c Config) func() error {
		return func() error { _, err := Join(c, g.pack.pending, g.draft(t).encode(t)); return err }
	}

	s.from.config.Verify = refusing(Adding, 0)
	expect(t, s.from, "adding", committing(Change{Add: [][]byte{pack}}))
	s.from.config.Verify = refusing(Rejoining, 0)
	back, _ := s.people[3].keyPackage(t)
	expect(t, s.from, "rejoining", committing(Change{Add: [][]byte{back}, Remove: []uint32{3}}))
	s.from.config.Verify = refusing(Path, 2)
	expect(t, s.from, "path", committing(Change{Credential: bytes.Clone(s.people[2].Credential)}))
	s.to.config.Verify = refusing(Added, 4)
	expect(t, s.to, "added", processing(added))
	s.to.config.Verify = refusing(Path, 2)
	expect(t, s.to, "path", processing(path))
	for leaf := range uint32(3) {
		c := g.Config
		c.Verify = refusing(Joining, leaf)
		expect(t, nil, "joining", joining(c))
	}

	yes, subject := s.people[1].Verify, s.people[1].Subject
	s.from.config.Verify, s.to.config.Verify = yes, yes
	c := g.Config
	c.Subject = func(Member) (string, error) { return "", no }
	s.from.config.Subject, s.to.config.Subject = c.Subject, c.Subject
	expect(t, s.from, "subject", committing(Change{Add: [][]byte{pack}}))
	expect(t, s.from, "subject", committing(Change{Credential: bytes.Clone(s.people[2].Credential)}))
	expect(t, s.to, "subject", processing(added))
	expect(t, s.to, "subject", processing(path))
	expect(t, nil, "subject", joining(c))
	expect(t, nil, "subject", func() error { _, err := Create(c, nil, testNow, rand.Reader); return err })
	s.from.config.Subject, s.to.config.Subject = subject, subject
	s.goesOn(t)
	g.joins(t)
}
