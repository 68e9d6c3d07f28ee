package mlsdiff

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	mls "github.com/slimbridge/slimbridge/session/internal/mls"
)

// party is one member of a mixed group: of the core, or of the library.
type party interface {
	name() string  // for messages of tests
	owner() string // the subject of its credential
	// keyPackage makes one, as MLSMessage; the next join is by it.
	keyPackage() ([]byte, error)
	create() error
	join(welcome []byte) error
	commit(change) (commit, welcome []byte, err error)
	// process enters the epoch of somebody else's commit. replaced are the
	// leaves that it removes while it adds the same signature key again.
	process(commit []byte, replaced []uint32) error
	protect(text, aad []byte) ([]byte, error)
	unprotect(message []byte) (received, error)
	save() ([]byte, error)
	// reload goes on from the saved state and reports whether past epochs
	// survive that.
	reload() (past bool, err error)
	view() view
}

// change is what a commit does. A commit that does nothing else has a path.
type change struct {
	remove     []uint32
	add        [][]byte
	credential []byte
	replaced   []uint32 // those of remove that one of add replaces
}

type received struct {
	text, aad []byte
	sender    uint32
}

// view is what all members of a group must agree on, and the own leaf.
type view struct {
	epoch         uint64
	authenticator string
	roster        string // leaves, credentials and signature keys
	self          uint32
}

func describe(leaf uint32, credential, key []byte) string {
	return fmt.Sprintf("%d %s %x\n", leaf, credential, key)
}

// tokenSize is the length of a credential: about that of a token.
const tokenSize = 230

// token is a credential: a subject, and something that changes.
func token(subject string, serial int) []byte {
	head := fmt.Sprintf("%s:%d:", subject, serial)
	return []byte(head + strings.Repeat("t", tokenSize-len(head)))
}

func subjectOf(credential []byte) string {
	subject, _, _ := bytes.Cut(credential, []byte(":"))
	return string(subject)
}

// coreParty is a member by the core.
type coreParty struct {
	subject string
	config  mls.Config
	pending *mls.Pending
	g       *mls.Group
}

func newCore(subject string) (*coreParty, error) {
	key, err := mls.NewSignatureKey(mls.P256, rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := mls.NewSigner(mls.P256, key)
	if err != nil {
		return nil, err
	}
	return &coreParty{subject: subject, config: mls.Config{
		Suite: mls.P256, Signer: signer, Credential: token(subject, 0),
		Verify:  func(mls.Member, mls.Reason) error { return nil },
		Subject: func(m mls.Member) (string, error) { return subjectOf(m.Credential), nil },
	}}, nil
}

func (c *coreParty) name() string { return "core " + c.subject }

func (c *coreParty) owner() string { return c.subject }

func (c *coreParty) keyPackage() (pack []byte, err error) {
	pack, c.pending, err = mls.NewKeyPackage(c.config, time.Now(), rand.Reader)
	return pack, err
}

func (c *coreParty) create() (err error) {
	c.g, err = mls.Create(c.config, nil, time.Now(), rand.Reader)
	return err
}

func (c *coreParty) join(welcome []byte) (err error) {
	c.g, err = mls.Join(c.config, c.pending, welcome)
	return err
}

func (c *coreParty) commit(ch change) (commit, welcome []byte, err error) {
	return c.g.Commit(mls.Change{
		Remove: ch.remove, Add: ch.add, Credential: ch.credential, Path: len(ch.remove)+len(ch.add) == 0,
	}, time.Now(), rand.Reader)
}

func (c *coreParty) process(commit []byte, _ []uint32) error {
	_, err := c.g.Process(commit)
	return err
}

// knowsRemoval reports whether a commit of the current epoch is found to remove
// us, and to change nothing.
func (c *coreParty) knowsRemoval(commit []byte) bool {
	before, err := c.save()
	if err != nil {
		return false
	}
	_, err = c.g.Process(commit)
	after, err2 := c.save()
	return errors.Is(err, mls.ErrRemoved) && err2 == nil && bytes.Equal(before, after)
}

func (c *coreParty) protect(text, aad []byte) ([]byte, error) {
	return c.g.Protect(nil, text, aad, rand.Reader)
}

func (c *coreParty) unprotect(message []byte) (received, error) {
	m, err := c.g.Unprotect(message)
	return received{m.Plaintext, m.AAD, m.Sender.Leaf}, err
}

func (c *coreParty) save() ([]byte, error) { return c.g.Save(nil) }

func (c *coreParty) reload() (past bool, err error) {
	state, err := c.save()
	if err != nil {
		return false, err
	}
	g, err := mls.Load(state, c.config)
	if err != nil {
		return false, err
	}
	again, err := g.Save(nil)
	if err != nil {
		return false, err
	}
	if !bytes.Equal(state, again) {
		return false, errors.New("state is another one after loading")
	}
	c.g = g
	return true, nil
}

func (c *coreParty) view() view {
	v := view{epoch: c.g.Epoch(), authenticator: string(c.g.Authenticator()), self: c.g.Self()}
	var roster strings.Builder
	for _, m := range c.g.Members() {
		roster.WriteString(describe(m.Leaf, m.Credential, m.SignatureKey))
	}
	v.roster = roster.String()
	return v
}
