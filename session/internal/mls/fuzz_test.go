package mls

import (
	"bytes"
	"crypto/rand"
	"runtime"
	"testing"
)

// fuzzClub is a group of five with a commit, messages and a Welcome that nobody
// has seen yet.
type fuzzClub struct {
	*club
	state   []byte // of the last member
	pending *Pending
	joiner  person
	commits [][]byte
	texts   [][]byte
	welcome []byte
}

func newFuzzClub(t testing.TB) *fuzzClub {
	t.Helper()
	f := &fuzzClub{club: newClub(t, P256, 5)}
	f.joiner = newPerson(t, P256, "joiner")
	for range 3 {
		text, err := f.groups[1].Protect(nil, []byte("text"), []byte("aad"), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		f.texts = append(f.texts, text)
	}
	pack, pending := f.joiner.keyPackage(t)
	f.pending = pending
	for i, ch := range []Change{{Path: true}, {Remove: []uint32{1}}, {Add: [][]byte{pack}, Path: true}} {
		commit, welcome, err := f.copyOf(t, 0).Commit(ch, testNow, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		f.commits = append(f.commits, commit)
		if i == 2 {
			f.welcome = welcome
		}
	}
	var err error
	if f.state, err = f.groups[4].Save(nil); err != nil {
		t.Fatal(err)
	}
	return f
}

// copyOf is a member's group as it is, for a call of which only the result is
// wanted.
func (f *fuzzClub) copyOf(t testing.TB, i int) *Group {
	t.Helper()
	state, err := f.groups[i].Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := Load(state, f.people[i].Config)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// victim is the last member with its saved state.
func (f *fuzzClub) victim(t testing.TB) *Group {
	t.Helper()
	g, err := Load(f.state, f.people[4].Config)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// unchanged fails if a refused call left a trace.
func (f *fuzzClub) unchanged(t *testing.T, g *Group) {
	t.Helper()
	after, err := g.Save(nil)
	if err != nil || !bytes.Equal(after, f.state) {
		t.Fatal("a refused call changed the group", err)
	}
}

// bounded fails if f allocates more than an input of n bytes entitles it to.
func bounded(t *testing.T, n int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+256*n); used > limit {
		t.Fatalf("%d bytes of input allocate %d", n, used)
	}
}

func FuzzProcess(f *testing.F) {
	c := newFuzzClub(f)
	for _, commit := range c.commits {
		f.Add(commit)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g := c.victim(t)
		bounded(t, len(b), func() {
			if _, err := g.Process(b); err != nil {
				c.unchanged(t, g)
			}
		})
	})
}

// FuzzCommit changes what a member commits: it is signed and tagged as the
// member would, but for the confirmation.
func FuzzCommit(f *testing.F) {
	c := newFuzzClub(f)
	for _, commit := range c.commits {
		m, err := readPublic(commit)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.commit.append(nil))
	}
	signer, now := c.people[0].Signer, c.groups[0].now
	f.Fuzz(func(t *testing.T, body []byte) {
		g := c.victim(t)
		m := framed{format: formatPublic, kind: contentCommit, confirmation: make([]byte, hashSize)}
		m.raw = append(appendHead(nil, now.context.groupID, now.context.epoch, 0, nil, contentCommit), body...)
		var err error
		if m.signature, err = signer.Sign(m.signContent(nil, now.raw)); err != nil {
			t.Fatal(err)
		}
		b := m.appendPublic(nil, &now.secrets.membership, now.raw)
		bounded(t, len(b), func() {
			if _, err := g.Process(b); err == nil {
				t.Fatal("accepted a commit without confirmation")
			}
			c.unchanged(t, g)
		})
	})
}

func FuzzUnprotect(f *testing.F) {
	c := newFuzzClub(f)
	for _, text := range c.texts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g := c.victim(t)
		bounded(t, len(b), func() {
			if _, err := g.Unprotect(b); err != nil {
				c.unchanged(t, g)
			}
		})
	})
}

// FuzzContent changes what is inside a private message of a member: it is
// encrypted and, if so wanted, signed as the member would.
func FuzzContent(f *testing.F) {
	c := newFuzzClub(f)
	f.Add([]byte("\x04text\x02xx"), uint32(0), uint32(1))
	f.Add([]byte("\x00\x00\x00"), uint32(1024), uint32(3))
	f.Fuzz(func(t *testing.T, content []byte, generation, leaf uint32) {
		g := c.victim(t)
		now := c.groups[0].now
		o := outgoing{
			groupID: now.context.groupID, epoch: now.context.epoch, kind: contentApp,
			content: [2][]byte{content}, sender: leaf, key: messageKey{generation: generation},
		}
		if leaf < now.tree.width() {
			if key, _, err := now.messages.peek(leaf, generation); err == nil {
				o.key = key
			}
		}
		b := o.append(nil, &now.secrets.senderData)
		bounded(t, len(b), func() {
			if _, err := g.Unprotect(b); err == nil {
				t.Fatal("accepted a message without a signature")
			}
			c.unchanged(t, g)
		})
	})
}

func FuzzJoin(f *testing.F) {
	c := newFuzzClub(f)
	f.Add(c.welcome)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := *c.pending
		p.init, p.enc = bytes.Clone(p.init), bytes.Clone(p.enc)
		bounded(t, len(b), func() {
			if _, err := Join(c.joiner.Config, &p, b); err != nil && p.pack == nil {
				t.Fatal("a refused welcome used up the key package")
			}
		})
	})
}

// FuzzGroupInfo is FuzzJoin behind the encryption: whoever knows our key package
// can encrypt to it what it likes.
func FuzzGroupInfo(f *testing.F) {
	c := newFuzzClub(f)
	j := joiner{config: c.joiner.Config, suite: suiteOf(P256), pending: c.pending}
	if err := j.openInfo(c.welcome); err != nil {
		f.Fatal(err)
	}
	secrets := (&groupSecrets{joiner: j.schedule.joiner[:], path: j.path}).append(nil)
	f.Add(secrets, appendVec(bytes.Clone(j.info.signed), j.info.signature))
	f.Fuzz(func(t *testing.T, secrets, info []byte) {
		p := *c.pending
		p.init, p.enc = bytes.Clone(p.init), bytes.Clone(p.enc)
		var joinerOf secret
		if s := (&reader{b: secrets}).groupSecrets(); len(s.joiner) == hashSize {
			joinerOf = secret(s.joiner)
		}
		member := memberSecret(&joinerOf, &secret{})
		top := welcomeSecret(&member)
		key, nonce := welcomeKey(&top)
		sealedInfo := aeadSeal(nil, &key, &nonce, info, nil)
		public, err := j.suite.parsePublic(p.pack.initKey)
		if err != nil {
			t.Fatal(err)
		}
		enc, ciphertext, err := j.suite.seal(public, "Welcome", sealedInfo, secrets)
		if err != nil {
			t.Fatal(err)
		}
		ref := p.pack.ref()
		b := appendHeader(nil, formatWelcome)
		b = append(b, 0, byte(P256))
		b = appendVec(b, sealed{enc, ciphertext}.append(appendVec(nil, ref[:])))
		b = appendVec(b, sealedInfo)
		bounded(t, len(b), func() {
			if _, err := Join(c.joiner.Config, &p, b); err != nil && p.pack == nil {
				t.Fatal("a refused welcome used up the key package")
			}
		})
	})
}

func FuzzKeyPackage(f *testing.F) {
	pack, _ := (&person{Config: newPerson(f, P256, "p").Config}).keyPackage(f)
	f.Add(pack)
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, len(b), func() {
			r, err := open(b, formatKey)
			if err != nil {
				return
			}
			if k := r.keyPackage(); r.done() && !bytes.Equal(k.raw, b[headerSize:]) {
				t.Fatal("not what was read")
			}
			_, _, _ = ParseKeyPackage(b)
		})
	})
}

func FuzzTree(f *testing.F) {
	c := newFuzzClub(f)
	f.Add(c.groups[0].now.tree.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, len(b), func() {
			r := &reader{b: b}
			tree, err := r.tree(suiteOf(P256))
			if err != nil || !r.done() {
				return
			}
			if again := tree.append(nil); !bytes.Equal(again, b) {
				t.Fatal("not what was read")
			}
			_ = tree.rootHash()
			_ = tree.validate([]byte("group"))
		})
	})
}

func FuzzLoad(f *testing.F) {
	c := newFuzzClub(f)
	f.Add(c.state[:len(c.state)-hashSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := hashOf(b)
		bounded(t, len(b), func() {
			g, err := Load(append(bytes.Clone(b), sum[:]...), c.people[4].Config)
			if err != nil {
				return
			}
			if _, err := g.Save(nil); err != nil {
				t.Fatal(err)
			}
			for _, text := range c.texts {
				_, _ = g.Unprotect(text)
			}
			for _, commit := range c.commits {
				_, _ = g.Process(commit)
			}
		})
	})
}
