package mls

import (
	"bytes"
	"crypto/rand"
	"slices"
	"testing"
)

// refuseBounds tries each limit of types.go and, where something that large can
// be valid, its last allowed value.
func refuseBounds(t *testing.T) {
	for _, limit := range [][2]int{
		{maxMessage, 16 << 20}, {maxCredential, 32 << 10}, {maxAAD, 64 << 10}, {maxExtensions, 64}, {maxCapability, 256},
		{maxGroupID, 255}, {maxLeaves, 1024}, {1 << maxDepth, maxLeaves}, {maxProposals, 512}, {maxSecrets, 512},
	} {
		if limit[0] != limit[1] {
			t.Errorf("a limit is %d instead of %d", limit[0], limit[1])
		}
	}
	s, g := newScene(t, P256), newGuest(t, P256)
	t.Run("message", func(t *testing.T) {
		long := make([]byte, maxMessage+1)
		at := func(format uint16) []byte { copy(long, header(version10, format)); return long }
		s.refuseCommit(t, ErrMalformed, "message is too long", at(formatPublic))
		s.refuseMessage(t, ErrMalformed, "message is too long", at(formatPrivate))
		s.refuseAdding(t, ErrMalformed, "message is too long", at(formatKey))
		g.refuseJoin(t, ErrMalformed, "message is too long", at(formatWelcome))
		s.refuseCommit(t, ErrMalformed, "public message", at(formatPublic)[:maxMessage])
	})
	t.Run("plaintext", func(t *testing.T) {
		refuse(t, s.from, ErrMalformed, "message is too long", func() error {
			_, err := s.from.Protect(nil, make([]byte, maxPlaintext+1), nil, rand.Reader)
			return err
		})
	})
	t.Run("credential", func(t *testing.T) { refuseCredentialSizes(t, s) })
	t.Run("authenticated data", func(t *testing.T) { refuseAADSizes(t, s) })
	t.Run("extensions", func(t *testing.T) { refuseManyExtensions(t, s, g) })
	t.Run("capabilities", func(t *testing.T) { refuseManyCapabilities(t, s) })
	t.Run("group id", func(t *testing.T) { refuseGroupIDSizes(t, s, g) })
	t.Run("leaves", func(t *testing.T) {
		w := g.draft(t)
		last := append([]byte{1, nodeLeaf}, w.tree.leaf(0).raw...)
		w.list = appendVec(nil, append(make([]byte, 2*maxLeaves), last...))
		g.refuseJoin(t, ErrMalformed, "ratchet tree", w.encode(t))
		w.list = appendVec(nil, append(make([]byte, 2*maxLeaves-2), last...))
		g.refuseJoin(t, ErrInvalidTree, "signer of the group info is nobody", w.encode(t))
	})
	t.Run("unmerged leaves", func(t *testing.T) {
		w := g.draft(t)
		list := func(n int) []byte { return append([]byte{1, nodeParent, 0, 0}, appendVec(nil, make([]byte, 4*n))...) }
		w.list = nodeList(w.tree, 1, list(maxLeaves+1))
		g.refuseJoin(t, ErrMalformed, "ratchet tree", w.encode(t))
		w.list = nodeList(w.tree, 1, list(maxLeaves))
		g.refuseJoin(t, ErrInvalidTree, "tree hash", w.encode(t))
	})
	t.Run("proposals", func(t *testing.T) {
		d := draftCommit(t, s.from, Change{Remove: make([]uint32, maxProposals+1), Path: true}, nil)
		s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))
		d.proposals = d.proposals[1:]
		s.refuseCommit(t, ErrInvalidCommit, "remove of nobody", d.encode(t))
		s.refuseCommitting(t, ErrInvalidCommit, "too many proposals", Change{Remove: make([]uint32, maxProposals+1)})
	})
	t.Run("path", func(t *testing.T) {
		d := s.draftPath(t)
		nodes := d.update.nodes
		d.update.nodes = slices.Repeat(nodes[:1], maxDepth+1)
		s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))
		d.update.nodes = d.update.nodes[1:]
		s.refuseCommit(t, ErrInvalidCommit, "path has the wrong length", d.encode(t))
		d.update.nodes = nodes
		nodes[0].secrets = make([]sealed, maxLeaves+1)
		s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))
		nodes[0].secrets = nodes[0].secrets[1:]
		s.refuseCommit(t, ErrInvalidCommit, "path has the wrong number of ciphertexts", d.encode(t))
	})
	s.goesOn(t)
	t.Run("welcome entries", func(t *testing.T) { // the last: the guest joins
		w := g.draft(t)
		info := w.sealedInfo(t)
		own := w.entry(t, info)
		other := append(appendVec(nil, make([]byte, hashSize)), 0, 0)
		g.refuseJoin(t, ErrMalformed, "welcome", w.encodeWith(append(bytes.Repeat(other, maxSecrets), own...), info))
		welcome := w.encodeWith(append(bytes.Repeat(other, maxSecrets-1), own...), info)
		if _, err := Join(g.Config, g.pack.pending, welcome); err != nil {
			t.Error(err)
		}
	})
}

func refuseCredentialSizes(t *testing.T, s *scene) {
	p := s.newcomer.draftPack(t)
	p.leaf.credential = make([]byte, maxCredential+1)
	s.refuseMalformedPack(t, p.encode(t))
	p.leaf.credential = nil
	s.refusePack(t, ErrInvalidLeaf, "credential is empty or too long", p.encode(t))
	p.leaf.credential = make([]byte, maxCredential)
	if _, _, err := ParseKeyPackage(p.encode(t)); err != nil {
		t.Error(err)
	}
	for _, size := range []int{0, maxCredential + 1} {
		c := s.newcomer.Config
		c.Credential = make([]byte, size)
		refuse(t, nil, ErrInvalidLeaf, "credential is empty or too long", func() error {
			_, _, err := NewKeyPackage(c, testNow, rand.Reader)
			return err
		})
		s.refuseCommitting(t, ErrInvalidLeaf, "credential is empty or too long", Change{Credential: c.Credential})
	}
}

func refuseAADSizes(t *testing.T, s *scene) {
	d, m := s.draftPath(t), s.draftText(t)
	d.aad, m.aad = make([]byte, maxAAD+1), make([]byte, maxAAD+1)
	s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))
	s.refuseMessage(t, ErrMalformed, "private message", m.encode(t))
	refuse(t, s.from, ErrMalformed, "authenticated data is too long", func() error {
		_, err := s.from.Protect(nil, nil, m.aad, rand.Reader)
		return err
	})
	d.aad, m.aad = d.aad[1:], m.aad[1:]
	if _, err := twin(t, s.to).Process(d.encode(t)); err != nil {
		t.Error(err)
	}
	if _, err := twin(t, s.to).Unprotect(m.encode(t)); err != nil {
		t.Error(err)
	}
}

func refuseManyExtensions(t *testing.T, s *scene, g *guest) {
	many := make([]extension, maxExtensions+1)
	kinds := make([]uint16, len(many))
	for i := range many {
		kinds[i] = uint16(0xff00 + i)
		many[i].kind = kinds[i]
	}
	p := s.newcomer.draftPack(t)
	p.leaf.caps.extensions = kinds
	p.leaf.extensions, p.extensions = many, many[1:]
	s.refuseMalformedPack(t, p.encode(t))
	p.leaf.extensions, p.extensions = many[1:], many
	s.refuseMalformedPack(t, p.encode(t))
	p.extensions = many[1:]
	if _, _, err := ParseKeyPackage(p.encode(t)); err != nil {
		t.Error(err)
	}
	w := g.draft(t)
	w.extensions = many[1:] // and ratchet_tree
	g.refuseJoin(t, ErrMalformed, "group info", w.encode(t))
	w.extensions, w.noTree = many[1:], true
	g.refuseJoin(t, ErrUnsupported, "welcome without a tree", w.encode(t))
}

func refuseManyCapabilities(t *testing.T, s *scene) {
	for i := range 5 {
		p := s.newcomer.draftPack(t)
		c := &p.leaf.caps
		list := [...]*[]uint16{&c.versions, &c.suites, &c.extensions, &c.proposals, &c.credentials}[i]
		for n := len(*list); n <= maxCapability; n++ {
			*list = append(*list, uint16(0x7000+n))
		}
		s.refuseMalformedPack(t, p.encode(t))
		*list = (*list)[:maxCapability]
		if _, _, err := ParseKeyPackage(p.encode(t)); err != nil {
			t.Errorf("list %d: %v", i, err)
		}
	}
}

func refuseGroupIDSizes(t *testing.T, s *scene, g *guest) {
	create := func(size int) error {
		_, err := Create(s.newcomer.Config, make([]byte, size), testNow, rand.Reader)
		return err
	}
	for _, size := range []int{0, maxGroupID + 1} {
		refuse(t, nil, ErrMalformed, "group id is empty or too long", func() error { return create(size) })
		w := g.draft(t)
		w.context.groupID = make([]byte, size)
		g.refuseJoin(t, ErrMalformed, "group info", w.encode(t))
	}
	if err := create(maxGroupID); err != nil {
		t.Error(err)
	}
	for size, want := range map[int]struct {
		kind            error
		commit, message string
	}{
		0:              {ErrWrongGroup, "", ""},
		maxGroupID:     {ErrWrongGroup, "", ""},
		maxGroupID + 1: {ErrMalformed, "public message", "private message"},
	} {
		d, m := s.draftPath(t), s.draftText(t)
		d.groupID, m.groupID = make([]byte, size), make([]byte, size)
		s.refuseCommit(t, want.kind, want.commit, d.encode(t))
		s.refuseMessage(t, want.kind, want.message, m.encode(t))
	}
}
