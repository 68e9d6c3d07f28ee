package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
)

// What a node can try that carries every message, remembers all of them, and
// may get hold of a member's state, before or after.

// TestNodeAttacks runs each attack by itself.
func TestNodeAttacks(t *testing.T) {
	for name, attack := range map[string]func(t *testing.T){
		"alter every byte":                          alterBytes,
		"cut at every byte":                         cutBytes,
		"put messages together from pieces":         splice,
		"say everything again later":                repeatAll,
		"let a message overtake its epoch":          overtake,
		"give a welcome to the wrong key package":   misdirect,
		"flood with altered messages from far off":  flood,
		"use its buffers again":                     reuseBuffers,
		"read on with the keys of a removed member": readAfterRemoval,
		"read on with a state stolen earlier":       readAfterUpdate,
		"read back with a state stolen later":       readBack,
		"look for what a failed call leaves behind": lookBehind,
	} {
		t.Run(name, attack)
	}
}

// traffic is a genuine message of each kind and somebody to take it.
type traffic struct {
	*hall
	*invitation
	to                    *Group
	text, commit, welcome []byte
}

func newTraffic(t testing.TB) *traffic {
	t.Helper()
	h := newHall(t)
	v := h.invite(t, true)
	text, err := h.group(t, 5).Protect(nil, []byte("text"), []byte("aad"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &traffic{hall: h, invitation: v, to: h.group(t, 1), text: text, commit: h.good, welcome: v.good}
}

// refuses gives bent to the call that takes such messages.
func (f *traffic) refuses(t *testing.T, what string, call func(b []byte) error, bent []byte) {
	t.Helper()
	if e := (*Error)(nil); !errors.As(call(bent), &e) {
		t.Errorf("%s: not refused", what)
	}
}

func (f *traffic) unprotect(b []byte) error { _, err := f.to.Unprotect(b); return err }

func (f *traffic) process(b []byte) error { _, err := f.to.Process(b); return err }

func (f *traffic) join(b []byte) error { _, err := Join(f.Config, f.pending, b); return err }

// bend gives all bent forms of each message to who it is for, then the genuine
// one, which must find everything as it was.
func (f *traffic) bend(t *testing.T, forms func(message []byte, each func(bent []byte))) {
	t.Helper()
	state, keys := stateOf(t, f.to), f.pending.bytes()
	for _, m := range []struct {
		what    string
		message []byte
		call    func([]byte) error
	}{{"message", f.text, f.unprotect}, {"commit", f.commit, f.process}, {"welcome", f.welcome, f.join}} {
		before := bytes.Clone(m.message)
		n := 0
		forms(m.message, func(bent []byte) {
			n++
			f.refuses(t, m.what, m.call, bent)
		})
		if n < 100 || !bytes.Equal(before, m.message) {
			t.Errorf("%s: %d forms", m.what, n)
		}
	}
	if !bytes.Equal(state, stateOf(t, f.to)) || !bytes.Equal(keys, f.pending.bytes()) {
		t.Error("something has changed")
	}
	for _, err := range []error{f.unprotect(f.text), f.process(f.commit), f.join(f.welcome)} {
		if err != nil {
			t.Error("the genuine one:", err)
		}
	}
}

// alterBytes: no byte of any message is without protection.
func alterBytes(t *testing.T) {
	newTraffic(t).bend(t, func(message []byte, each func([]byte)) {
		for i := range message {
			bent := bytes.Clone(message)
			bent[i] ^= 1 << (i % 8)
			each(bent)
		}
	})
}

func cutBytes(t *testing.T) {
	newTraffic(t).bend(t, func(message []byte, each func([]byte)) {
		for i := range message {
			each(message[:i])
		}
		for _, tail := range [][]byte{{0}, {255}, message} {
			each(slices.Concat(message, tail))
		}
	})
}

// splice: what belongs to one message is of no use in another one of the same
// sender.
func splice(t *testing.T) {
	h := newHall(t)
	from, to := h.group(t, 5), h.group(t, 1)
	var pieces []*privateMessage
	for _, text := range []string{"one", "two"} {
		blob, err := from.Protect(nil, []byte(text), []byte(text), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		p, err := readPrivate(blob)
		if err != nil {
			t.Fatal(err)
		}
		pieces = append(pieces, p)
	}
	join := func(head, senderData, ciphertext *privateMessage) []byte {
		b := slices.Concat(header(version10, formatPrivate), head.contentAAD)
		return appendVec(appendVec(b, senderData.senderData), ciphertext.ciphertext)
	}
	one, other := pieces[0], pieces[1]
	for _, m := range [][]byte{
		join(other, one, one), join(one, other, one), join(one, one, other),
		join(one, other, other), join(other, one, other), join(other, other, one),
	} {
		refuse(t, to, ErrDecrypt, "", func() error { _, err := to.Unprotect(m); return err })
	}
	for _, p := range pieces {
		if _, err := to.Unprotect(join(p, p, p)); err != nil {
			t.Error(err)
		}
	}
}

// repeatAll: whatever was good once is refused from then on, whoever gets it.
func repeatAll(t *testing.T) {
	c := newClub(t, P256, 3)
	var texts, commits, welcomes [][]byte
	pendings := map[int]*Pending{}
	again := func() {
		for i, g := range c.groups {
			before := stateOf(t, g)
			for _, m := range slices.Concat(texts, commits, welcomes) {
				if _, err := g.Unprotect(m); err == nil {
					t.Errorf("member %d takes a message again", i)
				}
				if _, err := g.Process(m); err == nil {
					t.Errorf("member %d takes a commit again", i)
				}
				if p := pendings[i]; p != nil {
					if _, err := Join(c.people[i].Config, p, m); err == nil {
						t.Errorf("member %d joins again", i)
					}
				}
			}
			if !bytes.Equal(before, stateOf(t, g)) {
				t.Errorf("member %d has changed", i)
			}
		}
	}
	for round := range 4 {
		for _, from := range c.groups {
			var said [2][]byte
			for i := range said {
				var err error
				if said[i], err = from.Protect(nil, []byte("text"), nil, rand.Reader); err != nil {
					t.Fatal(err)
				}
			}
			for _, to := range c.groups {
				if to == from {
					continue
				}
				for _, i := range []int{1, 0} { // the first comes late
					if _, err := to.Unprotect(said[i]); err != nil {
						t.Fatal(err)
					}
				}
			}
			texts = append(texts, said[:]...)
		}
		again()
		ch := Change{Path: true}
		var p person
		var pending *Pending
		if round == 1 {
			p = newPerson(t, P256, "newcomer")
			var pack []byte
			pack, pending = p.keyPackage(t)
			ch.Add = [][]byte{pack}
		}
		commit, welcome, err := c.groups[round%3].Commit(ch, testNow, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c.process(t, round%3, commit)
		commits = append(commits, commit)
		if welcome != nil {
			g, err := Join(p.Config, pending, welcome)
			if err != nil {
				t.Fatal(err)
			}
			pendings[len(c.groups)] = pending
			c.groups, c.people = append(c.groups, g), append(c.people, p)
			welcomes = append(welcomes, welcome)
		}
		again()
	}
	c.agree(t)
	c.talk(t)
}

// overtake: what comes before the commit that it needs can come again later.
func overtake(t *testing.T) {
	h := newHall(t)
	from, to := h.group(t, 5), h.group(t, 1)
	if _, err := from.Process(h.good); err != nil {
		t.Fatal(err)
	}
	early, err := from.Protect(nil, []byte("early"), nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	next, _, err := from.Commit(Change{Path: true}, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	refuse(t, to, ErrWrongEpoch, "message", func() error { _, err := to.Unprotect(early); return err })
	refuseCommit(t, to, ErrWrongEpoch, "commit", next)
	for _, commit := range [][]byte{h.good, next} {
		if _, err := to.Process(commit); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := to.Unprotect(early); err != nil || !bytes.Equal(to.Authenticator(), from.Authenticator()) {
		t.Error(err)
	}
}

// misdirect: two key packages of one person are waiting.
func misdirect(t *testing.T) {
	h := newHall(t)
	v := h.invite(t, true)
	_, other, err := NewKeyPackage(v.Config, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mine := v.pending
	v.pending = other
	v.refuse(t, ErrInvalidTree, "welcome is not for our key package", v.good)
	// The node knows the reference of the other one, too.
	w, err := readWelcome(v.good)
	if err != nil {
		t.Fatal(err)
	}
	entry := w.entries[0].secrets.append(appendVec(nil, refOf(other.pack)))
	renamed := append(header(version10, formatWelcome), byte(w.suite>>8), byte(w.suite))
	renamed = appendVec(appendVec(renamed, entry), w.info)
	v.refuse(t, ErrDecrypt, "group secrets", renamed)
	v.pending = mine
	v.join(t)
}

// flood: to try a message from far ahead costs little, and nothing of it stays.
func flood(t *testing.T) {
	h := newHall(t)
	to := h.group(t, 1)
	d := draftMessage(t, h.group(t, 5), "text", MaxAhead)
	far := d.encode(t)
	bent := flip(far, -1)
	refuse(t, to, ErrDecrypt, "", func() error { _, err := to.Unprotect(bent); return err })
	bounded(t, len(bent), func() {
		for range 64 {
			if _, err := to.Unprotect(bent); err == nil {
				t.Error("accepted")
			}
		}
	})
	if _, err := to.Unprotect(far); err != nil {
		t.Error(err)
	}
}

// reuseBuffers: the transport overwrites a buffer as soon as the call is over.
func reuseBuffers(t *testing.T) {
	f := newTraffic(t)
	overwritten := func(call func(b []byte)) func(b []byte) {
		return func(b []byte) {
			b = bytes.Clone(b)
			call(b)
			for i := range b {
				b[i] = 0xee
			}
		}
	}
	var got Message
	overwritten(func(b []byte) {
		var err error
		if got, err = f.to.Unprotect(b); err != nil {
			t.Fatal(err)
		}
	})(f.text)
	if string(got.Plaintext) != "text" || string(got.AAD) != "aad" || string(got.Sender.Credential) != "p5" {
		t.Errorf("got %+v", got)
	}
	// Two committers, one who lets the newcomer in, and the newcomer.
	wire, pending := f.keyPackage(t)
	from, to := f.group(t, 0), f.group(t, 1)
	credential, id := []byte("p0"), []byte("id")
	var commit, welcome []byte
	overwritten(func(wire []byte) {
		var err error
		ch := Change{Add: [][]byte{wire}, Credential: credential}
		if commit, welcome, err = from.Commit(ch, testNow, rand.Reader); err != nil {
			t.Fatal(err)
		}
		credential[0] = 0xee
	})(wire)
	var delta Delta
	overwritten(func(b []byte) {
		var err error
		if delta, err = to.Process(b); err != nil {
			t.Fatal(err)
		}
	})(commit)
	if string(delta.Committer.Credential) != "p0" || string(delta.Added[0].Credential) != "newcomer" {
		t.Errorf("got %+v", delta)
	}
	var joined *Group
	overwritten(func(b []byte) {
		var err error
		if joined, err = Join(f.Config, pending, b); err != nil {
			t.Fatal(err)
		}
	})(welcome)
	var back *Group
	overwritten(func(b []byte) {
		var err error
		if back, err = Load(b, to.config); err != nil {
			t.Fatal(err)
		}
	})(stateOf(t, to))
	created, err := Create(f.Config, id, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id[0] = 0xee
	if string(created.ID()) != "id" {
		t.Error("the group id was changed")
	}
	c := &club{people: []person{f.people[0], f.people[1], f.person}, groups: []*Group{from, back, joined}}
	c.agree(t)
	c.talk(t)
	// What a group gives away is not what it goes on with.
	for _, b := range [][]byte{from.ID(), from.Authenticator(), commit, welcome, stateOf(t, from)} {
		for i := range b {
			b[i] = 0xee
		}
	}
	c.agree(t)
	c.talk(t)
}
