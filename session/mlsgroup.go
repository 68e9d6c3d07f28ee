package session

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/session/internal/mls"
)

// suiteName is the cipher suite of all sessions.
const suiteName = "MLS_128_DHKEMP256_AES128GCM_SHA256_P256"

var (
	errNoGroup      = errors.New("no MLS group yet")
	errNoKeyPackage = errors.New("no key package is waiting for a welcome")
	errLeafKey      = errors.New("leaf key is not the key of its token")
	errLeafSubject  = errors.New("leaf belongs to another subject")
	errCommitter    = errors.New("commit is not the moderator's")
	errOtherPeer    = errors.New("group is not that of the session's peer and ourselves")
)

// mlsGroup lets a control machine use package mls with the app's identity: it
// checks the token in every leaf.
type mlsGroup struct {
	provider  identity.Provider
	verifier  identity.Verifier
	moderator string // subject of who alone commits; empty: we do
	pair      bool   // of a 1:1 session
	cfg       mls.Config
	group     *mls.Group
	pending   *mls.Pending

	minted time.Time     // when the token for our next leaf was made
	life   time.Duration // of that token, zero if unknown

	now  time.Time      // of the call under way
	want control.Change // whom the call under way may add
}

func newMLSGroup(p identity.Provider, v identity.Verifier, moderator string, now time.Time) (*mlsGroup, error) {
	g := &mlsGroup{provider: p, verifier: v, moderator: moderator}
	g.cfg = mls.Config{Suite: mls.P256, Signer: p.Signer(), Verify: g.verify, Subject: g.subject}
	return g, g.mint(now)
}

// mint renews the token that goes into our next leaf. Its age counts from when
// it was issued: a provider may hand out one that it has had for a while.
func (g *mlsGroup) mint(now time.Time) error {
	token, err := g.provider.Token(now)
	if err == nil {
		g.carry(token, now)
	}
	return err
}

// carry puts a token into our next leaf, made now unless it tells otherwise.
func (g *mlsGroup) carry(token string, now time.Time) {
	g.cfg.Credential, g.minted, g.life = []byte(token), now, 0
	own, unknown := g.verifier.VerifyAdmitted(token)
	if unknown == nil && !own.IssuedAt.IsZero() && own.IssuedAt.Before(now.Truncate(time.Second)) {
		g.minted = own.IssuedAt
	}
	if unknown == nil && !own.Expires.IsZero() {
		g.life = own.Expires.Sub(g.minted)
	}
}

// verify checks a leaf: its token is good and names the leaf's key. Age counts
// only for newcomers that we add ourselves, since tokens in leaves are not
// renewed and a member must not be lost to the passing of time.
func (g *mlsGroup) verify(m mls.Member, why mls.Reason) error {
	var claims identity.Claims
	var err error
	if why == mls.Adding {
		claims, err = g.verifier.Verify(string(m.Credential), g.now)
	} else {
		claims, err = g.verifier.VerifyAdmitted(string(m.Credential))
	}
	switch {
	case err != nil:
		return err
	case !bytes.Equal(claims.PublicKey, m.SignatureKey):
		return errLeafKey
	case why != mls.Adding && why != mls.Rejoining:
		return nil
	case claims.Subject != g.want.Subject || !bytes.Equal(m.SignatureKey, g.want.Key):
		return errLeafSubject
	case g.want.Check != nil:
		return g.want.Check(g.member(m, claims))
	}
	return nil
}

func (g *mlsGroup) member(m mls.Member, claims identity.Claims) control.Member {
	return control.Member{
		Leaf: m.Leaf, Subject: claims.Subject, Key: m.SignatureKey, IssuedAt: claims.IssuedAt, Expires: claims.Expires,
		Token:     sha256.Sum256(m.Credential),
		ChecksAge: len(m.Suites) != 1, // ours name the suite of the group alone
	}
}

func (g *mlsGroup) subject(m mls.Member) (string, error) {
	claims, err := g.verifier.VerifyAdmitted(string(m.Credential))
	return claims.Subject, err
}

func (g *mlsGroup) KeyPackage(now time.Time) ([]byte, error) {
	// A member that missed changes tells by the token whether another was
	// invited anew or let in again.
	age := now.Sub(g.minted)
	if age > control.TokenRenewal || g.life > 0 && age > g.life/2 {
		if err := g.mint(now); err != nil {
			return nil, err
		}
	}
	wire, pending, err := mls.NewKeyPackage(g.cfg, now, rand.Reader)
	if err == nil {
		g.forgetPending()
		g.pending = pending
	}
	return wire, err
}

func (g *mlsGroup) Create(now time.Time) error {
	if err := g.mint(now); err != nil {
		return err
	}
	g.now = now
	group, err := mls.Create(g.cfg, nil, now, rand.Reader)
	if err != nil {
		return err
	}
	g.replace(group)
	return nil
}

// replace drops the group we were in, and its keys.
func (g *mlsGroup) replace(group *mls.Group) {
	if g.group != nil {
		g.group.Wipe()
	}
	g.group = group
}

func (g *mlsGroup) Commit(c control.Change, now time.Time) (commit, welcome []byte, err error) {
	commit, welcome, err = g.commit(c, now)
	if e := (*mls.Error)(nil); errors.As(err, &e) && e.RetryAt.After(now) && e.RetryAt.Sub(now) <= mls.ClockSkew {
		// The peer's clock is ahead of ours.
		err = &control.NotYetError{At: e.RetryAt, Err: err}
	}
	return commit, welcome, err
}

func (g *mlsGroup) commit(c control.Change, now time.Time) (commit, welcome []byte, err error) {
	if g.group == nil {
		return nil, nil, errNoGroup
	}
	g.now, g.want = now, c
	ch := mls.Change{Remove: c.Remove, Add: c.Add}
	if c.Refresh {
		token, err := g.provider.Token(now)
		if err != nil {
			return nil, nil, err
		}
		ch.Credential, ch.Path = []byte(token), true
	}
	return g.group.Commit(ch, now, rand.Reader)
}

func (g *mlsGroup) Join(welcome []byte, now time.Time) error {
	if g.pending == nil {
		return errNoKeyPackage
	}
	g.now = now
	group, err := mls.Join(g.cfg, g.pending, welcome)
	if err != nil {
		return err
	}
	g.pending = nil // used up
	if g.pair && g.group != nil && !g.keepsPair(group) {
		group.Wipe() // the session goes on in the group it is in
		return errOtherPeer
	}
	g.replace(group)
	return nil
}

// keepsPair reports whether is has two members, we and who is with us now.
func (g *mlsGroup) keepsPair(is *mls.Group) bool {
	was, now := g.group.Members(), is.Members()
	if len(was) != 2 || len(now) != 2 {
		return false
	}
	before, after := was[0], now[0]
	if before.Leaf == g.group.Self() {
		before = was[1]
	}
	if after.Leaf == is.Self() {
		after = now[1]
	}
	subject, err := g.subject(before)
	same, err2 := g.subject(after)
	return err == nil && err2 == nil && subject == same && bytes.Equal(before.SignatureKey, after.SignatureKey)
}

// inPair says that m is that of a 1:1 session. It may be nil.
func inPair(m control.MLS) {
	if g, ok := m.(*mlsGroup); ok {
		g.pair = true
	}
}

func (g *mlsGroup) Process(commit []byte, now time.Time) error {
	if g.group == nil {
		return errNoGroup
	}
	g.now = now
	committer, err := g.group.Committer(commit)
	if err != nil {
		return err
	}
	// What the moderator of SLIM 2.2 sends as a command signs the header only:
	// a node together with a member could put another commit into it.
	if subject, err := g.subject(committer); err != nil || subject != g.moderator {
		return errCommitter
	}
	_, err = g.group.Process(commit)
	return err
}

func (g *mlsGroup) Encrypt(plaintext, aad []byte) ([]byte, error) {
	if g.group == nil {
		return nil, errNoGroup
	}
	return g.group.Protect(nil, plaintext, aad, rand.Reader)
}

func (g *mlsGroup) Decrypt(message []byte) (control.Plain, error) {
	if g.group == nil {
		return control.Plain{}, errNoGroup
	}
	m, err := g.group.Unprotect(message)
	if errors.Is(err, mls.ErrTooFar) {
		err = fmt.Errorf("%w: %w", control.ErrTooFarAhead, err)
	}
	if err != nil {
		return control.Plain{}, err
	}
	subject, err := g.subject(m.Sender)
	if err != nil {
		return control.Plain{}, err
	}
	return control.Plain{Payload: m.Plaintext, AAD: m.AAD, Subject: subject, Epoch: m.Epoch}, nil
}

func (g *mlsGroup) Epoch() uint64 {
	if g.group == nil {
		return 0
	}
	return g.group.Epoch()
}

func (g *mlsGroup) Members() []control.Member {
	if g.group == nil {
		return nil
	}
	var members []control.Member
	for _, m := range g.group.Members() {
		claims, err := g.verifier.VerifyAdmitted(string(m.Credential))
		if err != nil {
			claims = identity.Claims{} // no peer has the empty subject
		}
		member := g.member(m, claims)
		member.Own = m.Leaf == g.group.Self()
		members = append(members, member)
	}
	return members
}

func (g *mlsGroup) ForgetBefore(epoch uint64) {
	if g.group != nil {
		g.group.ForgetBefore(epoch)
	}
}

// Save writes the group, its length in front, and the key package that waits for
// a Welcome, if one does.
func (g *mlsGroup) Save() ([]byte, error) {
	if g.group == nil {
		return nil, errNoGroup
	}
	group, err := g.group.Save(nil)
	if err != nil {
		return nil, err
	}
	state := append(binary.BigEndian.AppendUint32(nil, uint32(len(group))), group...)
	if g.pending == nil {
		return state, nil
	}
	return g.pending.Save(state)
}

var errState = errors.New("saved MLS group does not fit together")

func (g *mlsGroup) Load(state []byte) error {
	if len(state) < 4 || uint64(len(state)-4) < uint64(binary.BigEndian.Uint32(state)) {
		return errState
	}
	n := 4 + binary.BigEndian.Uint32(state)
	group, err := mls.Load(state[4:n], g.cfg)
	if err != nil {
		return err
	}
	var pending *mls.Pending
	if rest := state[n:]; len(rest) > 0 {
		if pending, err = mls.LoadPending(rest, g.cfg); err != nil {
			return err
		}
	}
	g.replace(group)
	g.forgetPending()
	g.pending = pending
	if own, ok := group.Member(group.Self()); ok { // by which others know this session
		g.carry(string(own.Credential), g.minted)
	}
	return nil
}

func (g *mlsGroup) Skip(n int) error {
	if g.group == nil {
		return errNoGroup
	}
	return g.group.Skip(uint32(n))
}

func (g *mlsGroup) Wipe() {
	if g.group != nil {
		g.group.Wipe()
	}
	g.forgetPending()
}

func (g *mlsGroup) forgetPending() {
	if g.pending != nil {
		g.pending.Wipe()
		g.pending = nil
	}
}
