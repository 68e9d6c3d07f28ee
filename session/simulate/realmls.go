package simulate

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/session/internal/mls"
)

// signer is the identity of an app: its subject is in every leaf, and its key
// belongs to the subject.
type signer struct {
	mls.Signer // nil with the stand-in
	public     []byte
}

func (w *world) newSigner(subject string) signer {
	if !w.cfg.RealMLS {
		return signer{public: []byte("key of " + subject)}
	}
	private, err := mls.NewSignatureKey(mls.P256, w.bytes)
	if err != nil {
		panic(err) // the reader never ends
	}
	s, err := mls.NewSigner(mls.P256, private)
	if err != nil {
		panic(err)
	}
	return signer{s, s.Public()}
}

// newEngine makes the MLS of a session of a.
func (w *world) newEngine(a *app) engine {
	if !w.cfg.RealMLS {
		return &standIn{
			vault: &w.vault, bug: w.cfg.Bug, subject: a.subject, key: a.identity.public, foreign: a.foreign,
			mint: a.provider.token, serial: w.vault.secret(), issued: a.provider.token(a.clock.at(w.now)),
		}
	}
	c := &realCore{w: w, app: a, serial: w.vault.secret()}
	c.cfg = mls.Config{Suite: mls.P256, Signer: a.identity, Verify: c.verify, Subject: subjectOf}
	c.mint(a.clock.at(w.now))
	return c
}

// realCore lets a machine use the real MLS core. A token is the subject and the
// time of issue, and whether the app checks the age of others; nobody forges tokens
// here.
type realCore struct {
	w       *world
	app     *app
	serial  uint64 // tells its tokens from those of other sessions
	cfg     mls.Config
	issued  time.Time
	group   *mls.Group
	pending *mls.Pending
	want    control.Change // whom the call under way may add
}

func (c *realCore) mint(now time.Time) []byte {
	c.issued = c.app.provider.token(now)
	c.cfg.Credential = fmt.Appendf(nil, "%s %d %d %t", c.app.subject, c.issued.UnixNano(), c.serial, c.app.foreign)
	return c.cfg.Credential
}

var errCredential = errors.New("not a token of the simulation")

func subjectOf(m mls.Member) (string, error) {
	subject, _, ok := strings.Cut(string(m.Credential), " ")
	if !ok {
		return "", errCredential
	}
	return subject, nil
}

func (c *realCore) verify(m mls.Member, why mls.Reason) error {
	member := memberOf(m)
	switch {
	case member.Subject == "":
		return errCredential
	case why != mls.Adding && why != mls.Rejoining:
		return nil
	case member.Subject != c.want.Subject || !bytes.Equal(m.SignatureKey, c.want.Key):
		return errLeaf
	case c.want.Check != nil:
		return c.want.Check(member)
	}
	return nil
}

func memberOf(m mls.Member) control.Member {
	fields := strings.Fields(string(m.Credential))
	if len(fields) != 4 {
		return control.Member{}
	}
	ns, _ := strconv.ParseInt(fields[1], 10, 64)
	return control.Member{
		Leaf: m.Leaf, Subject: fields[0], Key: m.SignatureKey, IssuedAt: time.Unix(0, ns), Token: sha256.Sum256(m.Credential),
		ChecksAge: fields[3] == "true",
	}
}

func (c *realCore) KeyPackage(now time.Time) ([]byte, error) {
	if now.Sub(c.issued) > control.TokenRenewal {
		c.mint(now)
	}
	if c.app.foreign { // the real library does not date it back
		now = now.Add(mls.LifetimeMargin)
	}
	kp, pending, err := mls.NewKeyPackage(c.cfg, now, c.w.bytes)
	if err == nil {
		c.pending = pending
	}
	return kp, err
}

func (c *realCore) Create(now time.Time) error {
	c.mint(now)
	group, err := mls.Create(c.cfg, nil, now, c.w.bytes)
	if err == nil {
		c.replace(group)
	}
	return err
}

func (c *realCore) replace(group *mls.Group) {
	if c.group != nil {
		c.group.Wipe()
	}
	c.group = group
}

func (c *realCore) Commit(change control.Change, now time.Time) (commit, welcome []byte, err error) {
	if c.group == nil {
		return nil, nil, errNoGroup
	}
	c.want = change
	ch := mls.Change{Remove: change.Remove, Add: change.Add}
	if change.Refresh {
		ch.Credential, ch.Path = c.mint(now), true
	}
	commit, welcome, err = c.group.Commit(ch, now, c.w.bytes)
	if e := (*mls.Error)(nil); errors.As(err, &e) && e.RetryAt.After(now) {
		err = &control.NotYetError{At: e.RetryAt, Err: err}
	}
	return commit, welcome, err
}

func (c *realCore) Join(welcome []byte, _ time.Time) error {
	if c.pending == nil {
		return errLeaf
	}
	group, err := mls.Join(c.cfg, c.pending, welcome)
	if err == nil {
		c.replace(group)
		c.pending = nil
	}
	return err
}

func (c *realCore) Process(commit []byte, _ time.Time) error {
	if c.group == nil {
		return errNoGroup
	}
	_, err := c.group.Process(commit)
	return err
}

func (c *realCore) Encrypt(p, aad []byte) ([]byte, error) {
	if c.group == nil {
		return nil, errNoGroup
	}
	return c.group.Protect(nil, p, aad, c.w.bytes)
}

func (c *realCore) Decrypt(b []byte) (control.Plain, error) {
	if c.group == nil {
		return control.Plain{}, errNoGroup
	}
	m, err := c.group.Unprotect(b)
	if errors.Is(err, mls.ErrTooFar) {
		err = fmt.Errorf("%w: %w", control.ErrTooFarAhead, err)
	}
	if err != nil {
		return control.Plain{}, err
	}
	return control.Plain{Payload: m.Plaintext, AAD: m.AAD, Subject: memberOf(m.Sender).Subject, Epoch: m.Epoch}, nil
}

func (c *realCore) Epoch() uint64 {
	if c.group == nil {
		return 0
	}
	return c.group.Epoch()
}

func (c *realCore) Members() []control.Member {
	if c.group == nil {
		return nil
	}
	var members []control.Member
	for _, m := range c.group.Members() {
		member := memberOf(m)
		member.Own = m.Leaf == c.group.Self()
		members = append(members, member)
	}
	return members
}

func (c *realCore) ForgetBefore(epoch uint64) {
	if c.group != nil {
		c.group.ForgetBefore(epoch)
	}
}

func (c *realCore) Save() ([]byte, error) {
	if c.group == nil {
		return nil, errNoGroup
	}
	group, err := c.group.Save(nil)
	if err != nil {
		return nil, err
	}
	state := append(binary.BigEndian.AppendUint32(nil, uint32(len(group))), group...)
	if c.pending == nil {
		return state, nil
	}
	return c.pending.Save(state)
}

func (c *realCore) Load(state []byte) error {
	n := 4 + binary.BigEndian.Uint32(state)
	group, err := mls.Load(state[4:n], c.cfg)
	if err != nil {
		return err
	}
	c.replace(group)
	if rest := state[n:]; len(rest) > 0 {
		c.pending, err = mls.LoadPending(rest, c.cfg)
	}
	return err
}

func (c *realCore) Skip(n int) error {
	if c.group == nil {
		return errNoGroup
	}
	return c.group.Skip(uint32(n))
}

func (c *realCore) Wipe() {
	if c.group != nil {
		c.group.Wipe()
	}
	c.pending = nil
}

func (c *realCore) state() (group, secret string) {
	if c.group == nil {
		return "", ""
	}
	return string(c.group.ID()), string(c.group.Authenticator())
}
