package mls

import (
	"bytes"
	"io"
	"slices"
	"time"

	"github.com/thomas-vilte/mls-go/ciphersuite"
	"github.com/thomas-vilte/mls-go/credentials"
	"github.com/thomas-vilte/mls-go/framing"
	"github.com/thomas-vilte/mls-go/group"
	"github.com/thomas-vilte/mls-go/keypackages"
)

// Commit changes the group and enters the new epoch. It returns the commit for
// the other members and, if somebody was added, the Welcome for all of those.
// The removed leaves' owners need not, and cannot, process the commit.
//
// Replacing a member is a Remove and an Add in one Change; the new leaf may
// then have the old one's subject and signature key.
//
// A commit has a path whenever the group had another member before, so that a
// leaf's renewal alone is Change{Path: true}. With nobody else in the group
// that, and Credential, is ErrUnsupported: create a new group instead. If a
// key package begins a little in the future, the error has RetryAt set.
// Randomness is the runtime's, not rnd's.
func (g *Group) Commit(ch Change, now time.Time, _ io.Reader) (commit, welcome []byte, err error) {
	if err := g.alive(); err != nil {
		return nil, nil, err
	}
	key, err := signingKey(g.cfg.Signer)
	if err != nil {
		return nil, nil, err
	}
	adds, err := g.checkChange(ch, now)
	if err != nil {
		return nil, nil, err
	}
	lib, err := g.now.copy()
	if err != nil {
		return nil, nil, err
	}
	if ch.Credential != nil {
		if err := setCredential(lib, ch.Credential); err != nil {
			return nil, nil, err
		}
	}
	maskReplaced(lib, ch.Remove, adds)
	err = guard(ErrInvalidCommit, "refused", func() (err error) {
		commit, welcome, err = change(lib, key, ch.Remove, adds)
		return err
	})
	if err != nil {
		return nil, nil, notYet(adds, err)
	}
	next, err := newEpoch(lib)
	if err != nil {
		return nil, nil, err
	}
	if _, err := next.roster(g.cfg.Subject); err != nil {
		return nil, nil, err
	}
	if ch.Credential != nil {
		g.cfg.Credential = slices.Clone(ch.Credential)
	}
	g.advance(next)
	return commit, welcome, nil
}

// change makes and applies a commit.
func change(
	lib *group.Group, key *ciphersuite.SignaturePrivateKey, removes []uint32, adds []wireKeyPackage,
) (commit, welcome []byte, err error) {
	packages, err := propose(lib, removes, adds)
	if err != nil {
		return nil, nil, err
	}
	staged, err := lib.Commit(key, key.PublicKey(), nil)
	if err != nil {
		return nil, nil, err
	}
	joiner := staged.JoinerSecret()
	if err := lib.MergeCommit(staged); err != nil {
		return nil, nil, err
	}
	ac := staged.AuthenticatedContent()
	commit = framing.NewMLSMessagePublic(&framing.PublicMessage{
		Content: ac.Content, Auth: ac.Auth, MembershipTag: staged.MembershipTag(),
	}).Marshal()
	if len(packages) == 0 {
		return commit, nil, nil
	}
	w, err := lib.CreateWelcomeWithOpts(packages, key, group.WithJoinerSecret(joiner),
		group.WithPSKIDs(staged.PskIDs()), group.WithPSKSecret(staged.RawPskSecret()), group.WithStagedCommit(staged))
	if err != nil {
		return nil, nil, err
	}
	return commit, (&framing.MLSMessage{Welcome: w.Marshal()}).Marshal(), nil
}

func propose(lib *group.Group, removes []uint32, adds []wireKeyPackage) (packages []*keypackages.KeyPackage, err error) {
	for _, leaf := range removes {
		if _, err := lib.RemoveMember(group.LeafNodeIndex(leaf)); err != nil {
			return nil, err
		}
	}
	for _, k := range adds {
		kp, err := keypackages.UnmarshalKeyPackage(k.raw)
		if err != nil {
			return nil, err
		}
		if _, err := lib.AddMember(kp); err != nil {
			return nil, err
		}
		packages = append(packages, kp)
	}
	return packages, nil
}

// setCredential replaces our credential in the leaf that the next path makes.
func setCredential(lib *group.Group, credential []byte) error {
	return guard(ErrUnsupported, "own credential", func() error {
		m, ok := lib.GetMember(lib.OwnLeafIndex())
		if !ok {
			return ErrInvalidTree
		}
		m.Credential = credentials.NewBasicCredential(slices.Clone(credential))
		return nil
	})
}

// maskReplaced hides from the library's duplicate check the signature key of a
// leaf that goes in the same commit as a new leaf with that key comes: the
// library does not apply removals before it checks. Only for a copy that is
// thrown away on error.
func maskReplaced(lib *group.Group, removes []uint32, adds []wireKeyPackage) {
	for _, i := range removes {
		node := lib.GetTreeLeaf(group.LeafNodeIndex(i))
		if node == nil || node.LeafData == nil {
			continue
		}
		same := func(k wireKeyPackage) bool {
			return bytes.Equal(k.leaf.member.SignatureKey, node.LeafData.SigKeyBytes())
		}
		if slices.ContainsFunc(adds, same) {
			masked := *node.LeafData
			masked.SignatureKeyRaw = []byte{0}
			node.LeafData = &masked
		}
	}
}

func (g *Group) checkChange(ch Change, now time.Time) ([]wireKeyPackage, error) {
	if err := g.checkShape(ch); err != nil {
		return nil, err
	}
	removed := map[uint32]bool{}
	for _, leaf := range ch.Remove {
		if g.now.leaf(leaf) == nil || leaf == g.now.self || removed[leaf] {
			return nil, fail(ErrInvalidCommit, "removal of ourselves, of nobody or twice")
		}
		removed[leaf] = true
	}
	if ch.Credential != nil {
		if err := g.checkOwnCredential(ch.Credential); err != nil {
			return nil, err
		}
	}
	adds := make([]wireKeyPackage, 0, len(ch.Add))
	for _, wire := range ch.Add {
		k, err := parseKeyPackage(wire)
		if err != nil {
			return nil, err
		}
		if err := k.leaf.lifetime.check(now); err != nil {
			return nil, err
		}
		adds = append(adds, k)
	}
	for i := range adds {
		if err := g.checkAdd(adds, i, removed, true); err != nil {
			return nil, err
		}
	}
	return adds, nil
}

func (g *Group) checkShape(ch Change) error {
	alone := len(g.now.members()) == 1
	renewal := ch.Path || ch.Credential != nil
	switch {
	case len(ch.Remove)+len(ch.Add) == 0 && !renewal:
		return fail(ErrInvalidCommit, "nothing to change")
	case renewal && alone:
		return fail(ErrUnsupported, "renewal with nobody else in the group")
	case len(ch.Remove)+len(ch.Add) > maxProposals:
		return fail(ErrInvalidCommit, "too many changes")
	case len(g.now.members())+len(ch.Add)-len(ch.Remove) > maxLeaves:
		return fail(ErrInvalidCommit, "too many members")
	}
	return nil
}

func (g *Group) checkOwnCredential(credential []byte) error {
	if err := checkCredential(credential); err != nil {
		return err
	}
	old, _ := g.now.member(g.now.self)
	renewed := old
	renewed.Credential = credential
	return g.checkSuccessor(old, renewed)
}

// checkSuccessor checks a new leaf of a member that stays.
func (g *Group) checkSuccessor(old, renewed Member) error {
	before, errOld := g.cfg.Subject(old)
	after, errNew := g.cfg.Subject(renewed)
	switch {
	case errOld != nil:
		return &Error{Kind: ErrInvalidLeaf, Reason: "subject", Cause: errOld}
	case errNew != nil:
		return &Error{Kind: ErrInvalidLeaf, Reason: "subject", Cause: errNew}
	case before != after:
		return fail(ErrInvalidLeaf, "new leaf has another subject")
	}
	return verifyLeaf(g.cfg, renewed, Path)
}

// checkAdd checks adds[i] against the members that stay and the adds before
// it, then shows it to the caller.
func (g *Group) checkAdd(adds []wireKeyPackage, i int, removed map[uint32]bool, ours bool) error {
	k := adds[i]
	subject, err := g.cfg.Subject(k.leaf.member)
	if err != nil {
		return &Error{Kind: ErrInvalidLeaf, Reason: "subject", Cause: err}
	}
	why := Added
	if ours {
		why = Adding
	}
	clash := func(m Member, encryptionKey []byte) (key, owner bool, err error) {
		s, err := g.cfg.Subject(m)
		key = bytes.Equal(m.SignatureKey, k.leaf.member.SignatureKey) || bytes.Equal(encryptionKey, k.leaf.encryptionKey)
		return key, s == subject, err
	}
	for _, m := range g.now.members() {
		sameKey, sameOwner, err := clash(m, g.now.leaf(m.Leaf).EncryptionKey)
		switch {
		case err != nil:
			return &Error{Kind: ErrInvalidLeaf, Reason: "subject", Cause: err}
		case removed[m.Leaf]:
			if ours && sameOwner && bytes.Equal(m.SignatureKey, k.leaf.member.SignatureKey) {
				why = Rejoining
			}
		case sameKey, sameOwner:
			return fail(ErrDuplicate, "new member is in the group")
		}
	}
	for _, other := range adds[:i] {
		sameKey, sameOwner, err := clash(other.leaf.member, other.leaf.encryptionKey)
		if err != nil || sameKey || sameOwner || bytes.Equal(other.initKey, k.initKey) {
			return fail(ErrDuplicate, "two new members are one")
		}
	}
	return verifyLeaf(g.cfg, cloneMember(k.leaf.member), why)
}
