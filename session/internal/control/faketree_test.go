package control

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// fakeTree stands in for MLS in groups. It encrypts nothing, but it has what
// the machines depend on: epochs with secrets that only members learn, key
// packages that open one Welcome, leaves with tokens of an age, and messages
// that are accepted once. With strict it refuses old tokens as the real library
// does.
type fakeTree struct {
	subject string
	strict  bool
	keeps   bool          // puts the token of its first join into every leaf
	life    time.Duration // of all tokens, zero: they do not tell
	issued  time.Time
	serial  int    // of the last key package
	pending string // it, as JSON

	group  string
	epoch  uint64
	leaf   uint32
	leaves map[uint32]fakeLeaf
	secret map[uint64]string // of the epochs that are kept
	sent   int
	seen   map[string]bool // messages accepted
	count  *int            // makes secrets differ
	used   map[string]bool // keys used by anybody; nil: not looked at
}

type fakeLeaf struct {
	Subject string
	Serial  int
	Issued  time.Time
	Strict  bool
}

type fakeCommit struct {
	Group     string
	From      uint64
	Committer uint32
	Remove    []uint32
	Add       []fakeLeaf
	At        []uint32
	Refresh   *time.Time
	Secret    string
}

type fakeWelcome struct {
	For    fakeLeaf
	Group  string
	Epoch  uint64
	Secret string
	Leaf   uint32
	Leaves map[uint32]fakeLeaf
}

type fakeMessage struct {
	Group, Secret string
	Epoch         uint64
	Leaf          uint32
	N             int
	Text, AAD     []byte
}

func (f *fakeTree) own() fakeLeaf {
	return fakeLeaf{Subject: f.subject, Serial: f.serial, Issued: f.issued, Strict: f.strict}
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func (f *fakeTree) KeyPackage(now time.Time) ([]byte, error) {
	f.serial++
	if age := now.Sub(f.issued); !f.keeps && (age > TokenRenewal || f.life > 0 && age > f.life/2) {
		f.issued = now
	}
	kp := marshal(f.own())
	f.pending = string(kp)
	return kp, nil
}

func (f *fakeTree) newSecret() string {
	*f.count++
	return fmt.Sprint("secret ", *f.count)
}

func (f *fakeTree) Create(now time.Time) error {
	f.issued = now
	f.group, f.epoch, f.leaf = f.newSecret(), 0, 0
	f.leaves = map[uint32]fakeLeaf{0: f.own()}
	f.secret, f.seen = map[uint64]string{0: f.newSecret()}, map[string]bool{}
	return nil
}

func (f *fakeTree) Commit(c Change, now time.Time) (commit, welcome []byte, err error) {
	m := fakeCommit{Group: f.group, From: f.epoch, Committer: f.leaf, Remove: c.Remove, Secret: f.newSecret()}
	free := func(i uint32) bool {
		_, taken := f.leaves[i]
		return !taken || slices.Contains(c.Remove, i)
	}
	var added fakeLeaf
	for _, kp := range c.Add {
		if json.Unmarshal(kp, &added) != nil || added.Subject != c.Subject || string(c.Key) != c.Subject {
			return nil, nil, errFake
		}
		if c.Check != nil {
			if err := c.Check(Member{Subject: added.Subject, Key: []byte(added.Subject), IssuedAt: added.Issued, ChecksAge: added.Strict}); err != nil {
				return nil, nil, err
			}
		}
		at := uint32(0)
		for !free(at) {
			at++
		}
		m.Add, m.At = append(m.Add, added), append(m.At, at)
	}
	if c.Refresh {
		m.Refresh = &now
	}
	f.apply(m)
	if len(m.Add) > 0 {
		welcome = marshal(fakeWelcome{For: added, Group: f.group, Epoch: f.epoch, Secret: m.Secret, Leaf: m.At[0], Leaves: f.leaves})
	}
	return marshal(m), welcome, nil
}

func (f *fakeTree) apply(m fakeCommit) {
	next := map[uint32]fakeLeaf{}
	for i, l := range f.leaves {
		next[i] = l
	}
	for _, i := range m.Remove {
		delete(next, i)
	}
	for k, l := range m.Add {
		next[m.At[k]] = l
	}
	if m.Refresh != nil {
		l := next[m.Committer]
		l.Issued = *m.Refresh
		next[m.Committer] = l
	}
	f.leaves = next
	f.epoch++
	f.secret[f.epoch] = m.Secret
}

func (f *fakeTree) old(l fakeLeaf, now time.Time) bool {
	return f.strict && now.Sub(l.Issued) > TokenLife
}

func (f *fakeTree) Process(c []byte, now time.Time) error {
	var m fakeCommit
	if json.Unmarshal(c, &m) != nil || f.group == "" || m.Group != f.group || m.From != f.epoch {
		return errFake
	}
	path := len(m.Remove) > 0 || m.Refresh != nil
	if path && f.old(f.leaves[m.Committer], now) {
		return errFake
	}
	for _, i := range m.Remove {
		if i == f.leaf || f.old(f.leaves[i], now) {
			return errFake
		}
	}
	f.apply(m)
	return nil
}

func (f *fakeTree) Join(b []byte, now time.Time) error {
	var w fakeWelcome
	if json.Unmarshal(b, &w) != nil || f.pending == "" || string(marshal(w.For)) != f.pending {
		return errFake
	}
	for _, l := range w.Leaves {
		if f.old(l, now) {
			return errFake
		}
	}
	f.pending = ""
	f.group, f.epoch, f.leaf, f.leaves = w.Group, w.Epoch, w.Leaf, w.Leaves
	f.secret, f.seen = map[uint64]string{w.Epoch: w.Secret}, map[string]bool{}
	return nil
}

func (f *fakeTree) Encrypt(p, aad []byte) ([]byte, error) {
	if f.group == "" {
		return nil, errFake
	}
	f.sent++
	if key := fmt.Sprint(f.group, f.epoch, f.leaf, f.sent); f.used != nil {
		if f.used[key] {
			return nil, errTwice
		}
		f.used[key] = true
	}
	return marshal(fakeMessage{Group: f.group, Secret: f.secret[f.epoch], Epoch: f.epoch, Leaf: f.leaf, N: f.sent, Text: p, AAD: aad}), nil
}

func (f *fakeTree) Decrypt(b []byte) (Plain, error) {
	var m fakeMessage
	if json.Unmarshal(b, &m) != nil || f.group == "" || m.Group != f.group || m.Secret == "" || f.secret[m.Epoch] != m.Secret {
		return Plain{}, errFake
	}
	sender, ok := f.leaves[m.Leaf]
	id := fmt.Sprint(m.Epoch, m.Leaf, m.N)
	if !ok || m.Leaf == f.leaf || f.seen[id] {
		return Plain{}, errFake
	}
	f.seen[id] = true
	return Plain{Payload: m.Text, AAD: m.AAD, Subject: sender.Subject, Epoch: m.Epoch}, nil
}

func (f *fakeTree) Epoch() uint64 { return f.epoch }

func (f *fakeTree) Members() []Member {
	var members []Member
	for i := range uint32(len(f.leaves) + 16) {
		if l, ok := f.leaves[i]; ok {
			m := Member{
				Leaf: i, Subject: l.Subject, Key: []byte(l.Subject), Own: i == f.leaf, IssuedAt: l.Issued, ChecksAge: l.Strict,
				Token: sha256.Sum256(fmt.Append(nil, l.Subject, l.Issued.UnixNano())),
			}
			if f.life > 0 {
				m.Expires = l.Issued.Add(f.life)
			}
			members = append(members, m)
		}
	}
	return members
}

func (f *fakeTree) ForgetBefore(e uint64) {
	for k := range f.secret {
		if k < e {
			delete(f.secret, k)
		}
	}
}

func (f *fakeTree) Wipe()            { f.group = "" }
func (f *fakeTree) Skip(n int) error { f.sent += n; return nil }

type fakeTreeState struct {
	Issued  time.Time
	Serial  int
	Group   string
	Epoch   uint64
	Leaf    uint32
	Leaves  map[uint32]fakeLeaf
	Secret  map[uint64]string
	Sent    int
	Seen    map[string]bool
	Subject string
	Pending string
}

func (f *fakeTree) Save() ([]byte, error) {
	return marshal(fakeTreeState{f.issued, f.serial, f.group, f.epoch, f.leaf, f.leaves, f.secret, f.sent, f.seen, f.subject, f.pending}), nil
}

func (f *fakeTree) Load(b []byte) error {
	var s fakeTreeState
	if json.Unmarshal(b, &s) != nil || s.Subject != f.subject || s.Secret == nil || s.Leaves == nil || s.Seen == nil {
		return errFake
	}
	f.issued, f.serial, f.group, f.epoch, f.leaf = s.Issued, s.Serial, s.Group, s.Epoch, s.Leaf
	f.leaves, f.secret, f.sent, f.seen, f.pending = s.Leaves, s.Secret, s.Sent, s.Seen, s.Pending
	return nil
}
