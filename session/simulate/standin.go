package simulate

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/session/internal/mls"
)

// standIn takes the place of MLS. It encrypts nothing, but it has what the
// machines depend on: epochs with secrets that only members learn, key packages
// that open one Welcome, leaves with tokens of an age, refusals of commits of
// other epochs, and messages that are accepted once.
//
// What it makes are handles of the world's vault, so that nobody can read or
// make anything without one.
type standIn struct {
	vault   *vault
	bug     Bug
	subject string
	key     []byte
	foreign bool
	mint    func(time.Time) time.Time // when the present token was issued
	serial  uint64                    // tells its tokens from those of other sessions
	issued  time.Time
	standInState
}

// standInState is what a restart keeps. Leaves are never changed.
type standInState struct {
	group   uint64 // 0: none
	epoch   uint64
	leaf    uint32
	leaves  []*standInLeaf       // by number; nil: blank
	keys    []epochSecret        // ascending, of the epochs that are kept
	sent    uint32               // in this epoch
	seen    map[[2]uint64]bool   // messages accepted
	newest  map[[2]uint64]uint32 // generation, by epoch and leaf
	pending *standInLeaf         // of the last key package
}

// vault holds what the handles stand for, and makes secrets.
type vault struct {
	items   []any
	secrets uint64
	used    map[standInKey]bool // to encrypt, by anybody
	reused  bool
}

// standInKey is a generation of the ratchet of a leaf in an epoch.
type standInKey struct {
	secret uint64
	leaf   uint32
	n      uint32
}

type epochSecret struct{ epoch, secret uint64 }

// standInLeaf is a leaf and a key package: the same pointer, the same keys.
type standInLeaf struct {
	subject string
	key     []byte
	issued  time.Time
	from    time.Time // the lifetime of the key package
	foreign bool
	token   [sha256.Size]byte
}

type standInCommit struct {
	group, from, secret uint64
	leaves              []*standInLeaf // afterwards
	removed             []uint32
}

type standInWelcome struct {
	to                   *standInLeaf
	group, epoch, secret uint64
	leaf                 uint32
	leaves               []*standInLeaf
}

type standInMessage struct {
	group, epoch, secret uint64
	sender               *standInLeaf
	n                    uint32
	leaf                 uint32
	text, aad            []byte
}

// Refusals of the stand-in.
var (
	errForeign  = errors.New("not made by the stand-in for MLS")
	errNoGroup  = errors.New("no group")
	errEpoch    = errors.New("of another group or epoch")
	errLeaf     = errors.New("the leaf is not the expected one")
	errReplayed = errors.New("was received before")
	errNotYet   = errors.New("the key package is not valid yet")
	errTooFar   = fmt.Errorf("%w by the stand-in", control.ErrTooFarAhead)
)

// Limits of the real core: how many earlier epochs are kept, and how many
// messages of a sender may be skipped in one.
const (
	pastEpochs = 8
	maxAhead   = 1024
)

func (v *vault) put(x any) []byte {
	v.items = append(v.items, x)
	return binary.BigEndian.AppendUint32([]byte("~"), uint32(len(v.items)-1))
}

// take returns what a handle stands for.
func take[T any](v *vault, b []byte) (x T, ok bool) {
	if len(b) != 5 || b[0] != '~' {
		return x, false
	}
	i := binary.BigEndian.Uint32(b[1:])
	if uint64(i) >= uint64(len(v.items)) {
		return x, false
	}
	x, ok = v.items[i].(T)
	return x, ok
}

func (v *vault) secret() uint64 {
	v.secrets++
	return v.secrets
}

func (f *standIn) KeyPackage(now time.Time) ([]byte, error) {
	if now.Sub(f.issued) > control.TokenRenewal {
		f.issued = f.mint(now)
	}
	f.pending = f.newLeaf()
	f.pending.from = f.begins(now)
	return f.vault.put(f.pending), nil
}

// newLeaf has our present token.
func (f *standIn) newLeaf() *standInLeaf {
	token := fmt.Appendf(nil, "%s %d %d", f.subject, f.issued.UnixNano(), f.serial)
	return &standInLeaf{subject: f.subject, key: f.key, issued: f.issued, foreign: f.foreign, token: sha256.Sum256(token)}
}

func (f *standIn) Create(now time.Time) error {
	f.issued = f.mint(now)
	f.group, f.epoch, f.leaf = f.vault.secret(), 0, 0
	f.leaves = []*standInLeaf{f.newLeaf()}
	f.keys, f.seen = []epochSecret{{0, f.vault.secret()}}, map[[2]uint64]bool{}
	f.sent, f.newest = 0, map[[2]uint64]uint32{}
	return nil
}

func (f *standIn) Commit(c control.Change, now time.Time) (commit, welcome []byte, err error) {
	if f.group == 0 {
		return nil, nil, errNoGroup
	}
	next := slices.Clone(f.leaves)
	for _, i := range c.Remove {
		if uint64(i) >= uint64(len(next)) || next[i] == nil || i == f.leaf {
			return nil, nil, errLeaf
		}
		next[i] = nil
	}
	at := 0
	for _, kp := range c.Add {
		if next, at, err = f.add(next, kp, c, now); err != nil {
			return nil, nil, err
		}
	}
	if c.Refresh {
		f.issued = f.mint(now)
		next[f.leaf] = f.newLeaf()
	}
	m := standInCommit{group: f.group, from: f.epoch, secret: f.vault.secret(), leaves: next, removed: c.Remove}
	f.enter(m)
	if len(c.Add) > 0 {
		welcome = f.vault.put(standInWelcome{
			to: next[at], group: f.group, epoch: f.epoch, secret: m.secret, leaf: uint32(at), leaves: next,
		})
	}
	return f.vault.put(m), welcome, nil
}

// add puts the leaf of a key package into the first blank place.
func (f *standIn) add(leaves []*standInLeaf, kp []byte, c control.Change, now time.Time) ([]*standInLeaf, int, error) {
	leaf, ok := take[*standInLeaf](f.vault, kp)
	if !ok {
		return nil, 0, errForeign
	}
	if leaf.subject != c.Subject || string(leaf.key) != string(c.Key) ||
		slices.ContainsFunc(leaves, func(o *standInLeaf) bool { return o != nil && o.subject == leaf.subject }) {
		return nil, 0, errLeaf
	}
	if at := leaf.from.Add(-mls.ClockSkew); now.Before(at) {
		return nil, 0, &control.NotYetError{At: at, Err: errNotYet}
	}
	if c.Check != nil {
		if err := c.Check(f.member(leaf)); err != nil {
			return nil, 0, err
		}
	}
	at := slices.Index(leaves, nil)
	if at < 0 {
		at, leaves = len(leaves), append(leaves, nil)
	}
	leaves[at] = leaf
	return leaves, at, nil
}

func (f *standIn) enter(m standInCommit) {
	f.leaves = m.leaves
	f.epoch++
	f.sent = 0
	f.keys = append(f.keys, epochSecret{f.epoch, m.secret})
	if len(f.keys) > pastEpochs+1 {
		f.keys = slices.Delete(f.keys, 0, 1)
	}
}

func (f *standIn) Process(b []byte, _ time.Time) error {
	m, ok := take[standInCommit](f.vault, b)
	switch {
	case !ok:
		return errForeign
	case f.group == 0 || m.group != f.group || m.from != f.epoch:
		return errEpoch
	case slices.Contains(m.removed, f.leaf):
		return errLeaf
	}
	f.enter(m)
	if f.bug == CommitTwice && len(f.vault.items)%3 == 0 {
		f.enter(m)
	}
	return nil
}

func (f *standIn) Join(b []byte, _ time.Time) error {
	m, ok := take[standInWelcome](f.vault, b)
	switch {
	case !ok:
		return errForeign
	case f.pending == nil || m.to != f.pending:
		return errLeaf
	}
	f.pending = nil
	f.group, f.epoch, f.leaf, f.leaves = m.group, m.epoch, m.leaf, m.leaves
	f.keys, f.seen = []epochSecret{{m.epoch, m.secret}}, map[[2]uint64]bool{}
	f.sent, f.newest = 0, map[[2]uint64]uint32{}
	return nil
}

func (f *standIn) Encrypt(p, aad []byte) ([]byte, error) {
	if f.group == 0 || f.epoch == 0 {
		return nil, errNoGroup
	}
	f.sent++
	key := standInKey{f.secretOf(f.epoch), f.leaf, f.sent}
	f.vault.reused = f.vault.reused || f.vault.used[key]
	f.vault.used[key] = true
	return f.vault.put(standInMessage{
		group: f.group, epoch: f.epoch, secret: f.secretOf(f.epoch), sender: f.leaves[f.leaf],
		n: f.sent, leaf: f.leaf, text: p, aad: aad,
	}), nil
}

// secretOf an epoch, 0 if it is not kept.
func (f *standIn) secretOf(epoch uint64) uint64 {
	for _, k := range f.keys {
		if k.epoch == epoch {
			return k.secret
		}
	}
	return 0
}

func (f *standIn) Decrypt(b []byte) (control.Plain, error) {
	m, ok := take[standInMessage](f.vault, b)
	if !ok {
		return control.Plain{}, errForeign
	}
	known := f.group != 0 && m.group == f.group && f.secretOf(m.epoch) == m.secret
	if f.bug == StaleEpoch && m.group == f.group && m.epoch < f.epoch {
		known = true
	}
	from := [2]uint64{m.epoch, uint64(m.leaf)}
	id := [2]uint64{m.epoch, uint64(m.leaf)<<32 | uint64(m.n)}
	switch {
	case !known:
		return control.Plain{}, errEpoch
	case m.leaf == f.leaf || !f.hasLeaf(m):
		return control.Plain{}, errLeaf
	case f.seen[id]:
		return control.Plain{}, errReplayed
	case m.n > f.newest[from]+maxAhead:
		return control.Plain{}, errTooFar
	}
	f.seen[id] = true
	f.newest[from] = max(f.newest[from], m.n)
	return control.Plain{Payload: m.text, AAD: m.aad, Subject: m.sender.subject, Epoch: m.epoch}, nil
}

// hasLeaf reports whether the sender of m is in the group now.
func (f *standIn) hasLeaf(m standInMessage) bool {
	return uint64(m.leaf) < uint64(len(f.leaves)) && f.leaves[m.leaf] != nil && f.leaves[m.leaf].subject == m.sender.subject
}

func (f *standIn) Epoch() uint64 { return f.epoch }

func (f *standIn) Members() []control.Member {
	var members []control.Member
	for i, l := range f.leaves {
		if l != nil {
			m := f.member(l)
			m.Leaf, m.Own = uint32(i), uint32(i) == f.leaf
			members = append(members, m)
		}
	}
	return members
}

func (f *standIn) member(l *standInLeaf) control.Member {
	return control.Member{
		Subject: l.subject, Key: l.key, IssuedAt: l.issued, Token: l.token, ChecksAge: l.foreign && f.bug != OldTokens,
	}
}

// begins is when a key package made now begins to be valid. The real library
// does not date it back.
func (f *standIn) begins(now time.Time) time.Time {
	if f.foreign {
		return now
	}
	return now.Add(-mls.LifetimeMargin)
}

func (f *standIn) ForgetBefore(epoch uint64) {
	f.keys = slices.DeleteFunc(f.keys, func(k epochSecret) bool { return k.epoch < min(epoch, f.epoch) })
}

// Save keeps the group. The keys of a key package are not kept, as with the real
// core.
func (f *standIn) Save() ([]byte, error) {
	if f.group == 0 {
		return nil, errNoGroup
	}
	return f.vault.put(f.clone()), nil
}

func (f *standIn) clone() standInState {
	s := f.standInState
	s.keys, s.seen, s.newest = slices.Clone(s.keys), maps.Clone(s.seen), maps.Clone(s.newest)
	return s
}

func (f *standIn) Load(b []byte) error {
	s, ok := take[standInState](f.vault, b)
	if !ok {
		return errForeign
	}
	f.standInState = s
	f.standInState = f.clone() // it may be loaded again
	return nil
}

func (f *standIn) Skip(n int) error {
	if f.bug != KeysAgain {
		f.sent += uint32(n)
	}
	return nil
}

func (f *standIn) Wipe() {
	f.group, f.epoch, f.pending = 0, 0, nil
	f.keys, f.leaves, f.seen, f.newest = nil, nil, nil, nil
}

func (f *standIn) state() (group, secret string) {
	if f.group == 0 {
		return "", ""
	}
	return strconv.FormatUint(f.group, 10), strconv.FormatUint(f.secretOf(f.epoch), 10)
}
