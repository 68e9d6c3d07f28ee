package mls

import (
	"bytes"
	"crypto/rand"
	"testing"
)

// scene is a group of four in which the third, from, breaks the rules and the
// second, to, is to refuse that.
type scene struct {
	*club
	from, to *Group
	newcomer person // not in the group
}

func newScene(t testing.TB, s Suite) *scene {
	t.Helper()
	c := newClub(t, s, 4)
	return &scene{club: c, from: c.groups[2], to: c.groups[1], newcomer: newPerson(t, s, "newcomer")}
}

// draftPath is a commit of from that only renews its keys.
func (s *scene) draftPath(t testing.TB) *commitDraft {
	t.Helper()
	return draftCommit(t, s.from, Change{Path: true}, nil)
}

func (s *scene) refuseCommit(t *testing.T, kind error, reason string, message []byte) {
	t.Helper()
	refuse(t, s.to, kind, reason, func() error {
		_, err := s.to.Process(message)
		return err
	})
}

// draftText is a message of from.
func (s *scene) draftText(t testing.TB) *messageDraft {
	t.Helper()
	return draftMessage(t, s.from, "text", 0)
}

func (s *scene) refuseMessage(t *testing.T, kind error, reason string, message []byte) {
	t.Helper()
	refuse(t, s.to, kind, reason, func() error {
		_, err := s.to.Unprotect(message)
		return err
	})
}

// refuseAdding offers a key package to the parser and to somebody who adds it.
func (s *scene) refuseAdding(t *testing.T, kind error, reason string, pack []byte) {
	t.Helper()
	refuse(t, nil, kind, reason, func() error {
		_, _, err := ParseKeyPackage(pack)
		return err
	})
	s.refuseCommitting(t, kind, reason, Change{Add: [][]byte{pack}})
}

func (s *scene) refuseCommitting(t *testing.T, kind error, reason string, ch Change) {
	t.Helper()
	refuse(t, s.from, kind, reason, func() error {
		_, _, err := s.from.Commit(ch, testNow, rand.Reader)
		return err
	})
}

// refuseAdded lets from add a key package all the same.
func (s *scene) refuseAdded(t *testing.T, kind error, reason string, pack []byte) {
	t.Helper()
	if _, err := parseKeyPackage(pack); err == nil {
		s.refuseCommit(t, kind, reason, draftCommit(t, s.from, Change{Add: [][]byte{pack}}, nil).encode(t))
		return
	}
	d := draftCommit(t, s.from, Change{}, nil)
	d.content = append(appendVec(nil, append([]byte{1, 0, proposalAdd}, pack[headerSize:]...)), 0)
	s.refuseCommit(t, kind, reason, d.encode(t))
}

// refusePack is for key packages that nobody may accept.
func (s *scene) refusePack(t *testing.T, kind error, reason string, pack []byte) {
	t.Helper()
	s.refuseAdding(t, kind, reason, pack)
	s.refuseAdded(t, kind, reason, pack)
}

// refuseMalformedPack is for those that cannot even be decoded.
func (s *scene) refuseMalformedPack(t *testing.T, pack []byte) {
	t.Helper()
	s.refuseAdding(t, ErrMalformed, "key package", pack)
	s.refuseAdded(t, ErrMalformed, "public message", pack)
}

// goesOn fails unless the group works as if nothing had happened.
func (s *scene) goesOn(t testing.TB) {
	t.Helper()
	s.talk(t)
	commit, _, err := s.from.Commit(Change{Path: true}, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.process(t, 2, commit)
	s.agree(t)
	s.talk(t)
}

// guest is somebody who is invited to a group.
type guest struct {
	person
	hosts []person
	pack  *packDraft
	wire  []byte // of pack
}

func newGuest(t testing.TB, s Suite) *guest {
	t.Helper()
	g := &guest{person: newPerson(t, s, "guest"), hosts: []person{newPerson(t, s, "host"), newPerson(t, s, "other")}}
	g.pack = g.draftPack(t)
	g.wire = g.pack.encode(t)
	return g
}

// draft is a Welcome to the group of the hosts and the guest.
func (g *guest) draft(t testing.TB) *welcomeDraft {
	t.Helper()
	return draftWelcome(t, g.hosts, g.wire)
}

// otherLeaf is the leaf of the host that has not signed the Welcome.
func (g *guest) otherLeaf(d *welcomeDraft) leafDraft {
	return draftLeaf(d.tree.leaf(1), g.hosts[1].Signer, d.context.groupID, 1)
}

func (g *guest) refuseJoin(t *testing.T, kind error, reason string, welcome []byte) {
	t.Helper()
	p := g.pack.pending
	initKey, enc := bytes.Clone(p.init), bytes.Clone(p.enc)
	refuse(t, nil, kind, reason, func() error {
		_, err := Join(g.Config, p, welcome)
		return err
	})
	if p.pack == nil || !bytes.Equal(initKey, p.init) || !bytes.Equal(enc, p.enc) {
		t.Error("the refused join has used up the keys")
	}
}

// joins fails unless a valid Welcome is still good for the guest.
func (g *guest) joins(t testing.TB) {
	t.Helper()
	if _, err := Join(g.Config, g.pack.pending, g.draft(t).encode(t)); err != nil {
		t.Error(err)
	}
}
