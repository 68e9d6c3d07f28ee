package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

// refuseByCaller: what Verify and Subject say is final, in every place where
// they are asked.
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
