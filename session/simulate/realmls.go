package simulate

import (
	"bytes"
	"crypto/sha256"
	"errors"
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
		return &standIn{vault: &w.vault, bug: w.cfg.Bug, subject: a.subject, key: a.identity.public, issued: a.clock.at(w.now)}
	}
	c := &realCore{w: w, subject: a.subject}
	c.cfg = mls.Config{Suite: mls.P256, Signer: a.identity, Verify: c.verify, Subject: subjectOf}
	c.mint(a.clock.at(w.now))
	return c
}

// realCore lets a machine use the real MLS core. A token is the subject and the
// time of issue; nobody forges tokens here.
type realCore struct {
	w       *world
	subject string
	cfg     mls.Config
	issued  time.Time
	group   *mls.Group
	pending *mls.Pending
	want    control.Change // whom the call under way may add
}

func (c *realCore) mint(now time.Time) []byte {
	c.issued = now
	c.cfg.Credential = []byte(c.subject + " " + strconv.FormatInt(now.UnixNano(), 10))
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
	subject, at, _ := strings.Cut(string(m.Credential), " ")
	ns, _ := strconv.ParseInt(at, 10, 64)
	return control.Member{
		Leaf: m.Leaf, Subject: subject, Key: m.SignatureKey, IssuedAt: time.Unix(0, ns), Token: sha256.Sum256(m.Credential),
	}
}

func (c *realCore) KeyPackage(now time.Time) ([]byte, error) {
	if now.Sub(c.issued) > control.TokenRenewal {
		c.mint(now)
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
	return c.group.Commit(ch, now, c.w.bytes)
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

func (c *realCore) Save() ([]byte, error) { return nil, errNoGroup }
func (c *realCore) Load([]byte) error     { return errNoGroup }
func (c *realCore) Skip(int) error        { return errNoGroup }

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
