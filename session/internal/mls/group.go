package mls

import (
	"bytes"
	"io"
	"slices"
	"time"

	"github.com/thomas-vilte/mls-go/ciphersuite"
	"github.com/thomas-vilte/mls-go/group"
	"github.com/thomas-vilte/mls-go/keypackages"
	"github.com/thomas-vilte/mls-go/treesync"
)

// Group is our membership in one group. It is not safe for concurrent use.
//
// Every change works on a copy that replaces the current epoch at the end, so
// a refused call changes nothing. The replaced epoch stays, by itself, to
// decrypt what is still on its way.
type Group struct {
	cfg  Config
	now  *epoch   // nil after Wipe
	past []*epoch // ascending, at most PastEpochs
}

// Create makes a group of which we are the only member, in epoch 0. A nil
// groupID means 32 random bytes.
func Create(c Config, groupID []byte, now time.Time, rnd io.Reader) (*Group, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if len(groupID) > maxGroupID {
		return nil, fail(ErrUnsupported, "group id is too long")
	}
	var err error
	if groupID == nil {
		if groupID, err = read32(rnd); err != nil {
			return nil, err
		}
	}
	initSecret, err := read32(rnd)
	if err != nil {
		return nil, err
	}
	p, err := newPending(c, now, rnd)
	if err != nil {
		return nil, err
	}
	var lib *group.Group
	err = guard(ErrUnsupported, "create", func() error {
		keys := &keypackages.KeyPackagePrivateKeys{InitKey: p.init, EncryptionKey: p.enc}
		if lib, err = group.NewGroup(group.NewGroupID(slices.Clone(groupID)), suite, p.kp, keys); err != nil {
			return err
		}
		randomise(lib, initSecret)
		return nil
	})
	if err != nil {
		return nil, err
	}
	e, err := newEpoch(lib)
	if err != nil {
		return nil, err
	}
	return &Group{cfg: c, now: e}, nil
}

// randomise puts the randomness into a new group that RFC 9420 section 11 asks
// for. The library starts its key schedule from zeros, and the first commit
// has no path: without this, anybody could compute the secrets of epoch 1.
func randomise(lib *group.Group, initSecret []byte) {
	lib.EpochSecrets().InitSecret = ciphersuite.NewSecretForCS(suite, initSecret)
}

// ID is the group's id.
func (g *Group) ID() []byte {
	if g.now == nil {
		return nil
	}
	return slices.Clone(g.now.id)
}

// Epoch is the number of the current epoch.
func (g *Group) Epoch() uint64 {
	if g.now == nil {
		return 0
	}
	return g.now.number
}

// Self is our leaf.
func (g *Group) Self() uint32 {
	if g.now == nil {
		return 0
	}
	return g.now.self
}

// Authenticator is equal at two members exactly if they agree on everything
// that happened (RFC 9420 section 8.7).
func (g *Group) Authenticator() []byte {
	if g.now == nil {
		return nil
	}
	return slices.Clone(g.now.lib.EpochAuthenticator())
}

// Members lists the group, ascending by leaf.
func (g *Group) Members() []Member {
	if g.now == nil {
		return nil
	}
	return g.now.members()
}

// Member returns the member at a leaf.
func (g *Group) Member(leaf uint32) (Member, bool) {
	if g.now == nil {
		return Member{}, false
	}
	return g.now.member(leaf)
}

// ForgetBefore drops the keys of all epochs before the given one; their
// messages are then ErrWrongEpoch. The current epoch stays.
func (g *Group) ForgetBefore(number uint64) {
	keep := slices.IndexFunc(g.past, func(e *epoch) bool { return e.number >= number })
	if keep < 0 {
		keep = len(g.past)
	}
	for _, e := range g.past[:keep] {
		e.wipe()
	}
	g.past = slices.Clone(g.past[keep:])
}

// Wipe forgets all keys. Every later call fails or returns a zero value.
// Copies that the runtime or the library made are beyond reach.
func (g *Group) Wipe() {
	g.ForgetBefore(^uint64(0))
	if g.now != nil {
		g.now.wipe()
	}
	g.now = nil
}

// advance makes next the current epoch.
func (g *Group) advance(next *epoch) {
	g.now.retire()
	g.past = append(g.past, g.now)
	if len(g.past) > PastEpochs {
		g.past[0].wipe()
		g.past = slices.Clone(g.past[1:])
	}
	g.now = next
}

func (g *Group) alive() error {
	if g.now == nil {
		return fail(ErrWrongEpoch, "group was wiped")
	}
	return nil
}

// epoch is the library's group at one epoch, and what we add to it.
type epoch struct {
	lib     *group.Group
	id      []byte
	number  uint64
	self    uint32
	leaves  uint32
	context []byte // encoded GroupContext
	windows map[uint32]*window
	used    int // ratchet steps since the last purge
}

func newEpoch(lib *group.Group) (e *epoch, err error) {
	err = guard(ErrInvalidTree, "", func() error {
		e = &epoch{
			lib:     lib,
			id:      slices.Clone(lib.ID().AsSlice()),
			number:  lib.Epoch().AsUint64(),
			self:    uint32(lib.OwnLeafIndex()),
			leaves:  lib.SecretTree().LeafCount(),
			context: lib.GroupContext().Marshal(),
			windows: map[uint32]*window{},
		}
		return nil
	})
	return e, err
}

func (e *epoch) leaf(i uint32) *treesync.LeafNodeData {
	if i >= e.leaves {
		return nil
	}
	node := e.lib.GetTreeLeaf(group.LeafNodeIndex(i))
	if node == nil || node.State != treesync.NodeStatePresent || node.LeafData == nil || node.LeafData.Credential == nil {
		return nil
	}
	return node.LeafData
}

func (e *epoch) member(i uint32) (Member, bool) {
	l := e.leaf(i)
	if l == nil {
		return Member{}, false
	}
	return Member{Leaf: i, Credential: slices.Clone(l.Credential.Identity), SignatureKey: slices.Clone(l.SigKeyBytes())}, true
}

func (e *epoch) members() (all []Member) {
	for i := range e.leaves {
		if m, ok := e.member(i); ok {
			all = append(all, m)
		}
	}
	return all
}

// state is the library's state without its cache of pre-shared keys, where it
// keeps a secret of every epoch for a use that SLIM does not have.
func (e *epoch) state() ([]byte, error) {
	blob, err := e.lib.MarshalState()
	if err != nil {
		return nil, err
	}
	// A quote inside a JSON string is escaped: neither text can be in one.
	head, rest, ok := bytes.Cut(blob, []byte(`"cached_psks":`))
	i := bytes.Index(rest, []byte(`,"my_leaf_encryption_key":`))
	if !ok || i < 0 {
		clear(blob)
		return nil, fail(ErrUnsupported, "state of the library")
	}
	out := slices.Concat(head, []byte(`"cached_psks":null`), rest[i:])
	clear(blob)
	return out, nil
}

// copy returns an independent copy of the library's group.
func (e *epoch) copy() (lib *group.Group, err error) {
	err = guard(ErrUnsupported, "copy of the group", func() error {
		blob, err := e.state()
		if err != nil {
			return err
		}
		defer clear(blob)
		lib, err = group.UnmarshalGroupState(blob)
		return err
	})
	return lib, err
}

// retire drops what a past epoch does not need to decrypt.
func (e *epoch) retire() {
	s := e.lib.EpochSecrets()
	for _, secret := range []*ciphersuite.Secret{
		s.InitSecret, s.MembershipKey, s.ExporterSecret, s.ExternalSecret, s.ResumptionSecret,
	} {
		secret.SecureZero()
	}
	clear(e.lib.MyLeafEncryptionKey())
}

func (e *epoch) wipe() {
	e.retire()
	s := e.lib.EpochSecrets()
	for _, secret := range []*ciphersuite.Secret{s.SenderDataSecret, s.EncryptionSecret, s.AuthenticationSecret, s.ConfirmationKey} {
		secret.SecureZero()
	}
}

// roster checks that the leaves have distinct keys and distinct subjects and
// are well-formed, and returns the subjects by leaf.
func (e *epoch) roster(subject Subject) (map[uint32]string, error) {
	subjects := map[uint32]string{}
	unique := map[string]bool{}
	claim := func(kind, value string) error {
		if unique[kind+value] {
			return fail(ErrDuplicate, kind)
		}
		unique[kind+value] = true
		return nil
	}
	for i := range e.leaves {
		l := e.leaf(i)
		if l == nil {
			continue
		}
		m, _ := e.member(i)
		if l.Credential.CredentialType != credBasic || !validPoint(m.SignatureKey) || !validPoint(l.EncryptionKey) {
			return nil, fail(ErrInvalidLeaf, "credential type or key")
		}
		s, err := subject(m)
		if err != nil {
			return nil, &Error{Kind: ErrInvalidLeaf, Reason: "subject", Cause: err}
		}
		for _, c := range [][2]string{
			{"signature key", string(m.SignatureKey)}, {"encryption key", string(l.EncryptionKey)}, {"subject", s},
		} {
			if err := claim(c[0], c[1]); err != nil {
				return nil, err
			}
		}
		subjects[i] = s
	}
	if len(subjects) > maxLeaves || e.leaves > maxLeaves {
		return nil, fail(ErrInvalidTree, "too many members")
	}
	if m, ok := e.member(e.self); !ok || len(m.SignatureKey) == 0 {
		return nil, fail(ErrInvalidTree, "own leaf is missing")
	}
	return subjects, nil
}

// own checks that our leaf has our key.
func (e *epoch) own(c Config) error {
	m, ok := e.member(e.self)
	if !ok || !bytes.Equal(m.SignatureKey, c.Signer.Public()) {
		return fail(ErrInvalidTree, "own leaf has another signature key")
	}
	return nil
}

func verifyLeaf(c Config, m Member, why Reason) error {
	if err := c.Verify(m, why); err != nil {
		return &Error{Kind: ErrInvalidLeaf, Reason: why.String(), Cause: err}
	}
	return nil
}
