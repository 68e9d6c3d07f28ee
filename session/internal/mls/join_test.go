package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/thomas-vilte/mls-go/ciphersuite"
)

// infoParts is a GroupInfo cut at its lists of extensions.
type infoParts struct{ head, context, exts, tail []byte }

func splitInfo(t testing.TB, info []byte) infoParts {
	t.Helper()
	r := &reader{b: info}
	r.take(4)
	r.vec(maxGroupID)
	r.u64()
	r.vec(64)
	r.vec(64)
	head := info[:len(info)-len(r.b)]
	context := r.vec(maxMessage)
	exts := r.vec(maxMessage)
	if r.bad {
		t.Fatal("group info")
	}
	return infoParts{head, context, exts, r.b}
}

func (p infoParts) join() []byte {
	out := appendVec(bytes.Clone(p.head), p.context)
	return append(appendVec(out, p.exts), p.tail...)
}

func extension(kind uint16, data []byte) []byte {
	return appendVec([]byte{byte(kind >> 8), byte(kind)}, data)
}

// forge opens a Welcome for p, alters its GroupInfo and its pre-shared keys,
// and seals it again. The alteration is what an insider could send.
func forge(t testing.TB, p *Pending, welcome []byte, psks []byte, edit func(*infoParts)) []byte {
	t.Helper()
	r, err := open(welcome, formatWelcome)
	if err != nil {
		t.Fatal(err)
	}
	w := r.welcome()
	info, err := p.decryptInfo(w)
	if err != nil {
		t.Fatal(err)
	}
	parts := splitInfo(t, info)
	edit(&parts)
	secrets, err := ciphersuite.DecryptWithLabel(p.init.Bytes(), "Welcome", w.groupInfo,
		&ciphersuite.HPKECiphertext{KEMOutput: w.entries[0].kem, Ciphertext: w.entries[0].ciphertext}, suite)
	if err != nil {
		t.Fatal(err)
	}
	joiner := (&reader{b: secrets}).vec(64)
	member, _ := ciphersuite.NewSecretForCS(suite, bytes.Clone(joiner)).HKDFExtract(ciphersuite.ZeroSecretCS(suite))
	key, _ := member.DeriveSecret(suite, "welcome")
	k, _ := key.KdfExpandLabel("key", []byte{}, suite.AEADKeyLength())
	n, _ := key.KdfExpandLabel("nonce", []byte{}, suite.AEADNonceLength())
	sealed, err := ciphersuite.EncryptWithCipherSuite(k.AsSlice(), n.AsSlice(), parts.join(), []byte{}, suite)
	if err != nil {
		t.Fatal(err)
	}
	secrets = appendVec(append(secrets[:len(secrets)-1:len(secrets)-1], []byte(nil)...), psks)
	ct, err := ciphersuite.EncryptWithLabel(p.init.PublicKey().Bytes(), "Welcome", sealed, secrets, suite)
	if err != nil {
		t.Fatal(err)
	}
	entry := appendVec(appendVec(appendVec(nil, w.entries[0].ref), ct.KEMOutput), ct.Ciphertext)
	return appendVec(appendVec([]byte{0, 1, 0, 3, 0, 2}, entry), sealed)
}

func TestJoinRefuses(t *testing.T) {
	a, b := two(t)
	c := newApp(t, "carol")
	kp, p := c.keyPackage()
	welcome := a.commit(Change{Add: [][]byte{kp}}, b)
	keep := func(*infoParts) {}
	tree := func(data []byte) func(*infoParts) {
		return func(i *infoParts) { i.exts = extension(extRatchetTree, data) }
	}
	flip := bytes.Clone(welcome)
	flip[len(flip)-5] ^= 1
	otherSuite := bytes.Clone(welcome)
	otherSuite[5] = 1
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"empty", nil, ErrMalformed},
		{"cut", welcome[:len(welcome)-1], ErrMalformed},
		{"trailing byte", append(bytes.Clone(welcome), 0), ErrMalformed},
		{"other suite", otherSuite, ErrUnsupported},
		{"tampered", flip, ErrDecrypt},
		{"commit", kp, ErrUnsupported},
		{"pre-shared key", forge(t, p, welcome, []byte{1, 1, 'x', 1, 'n'}, keep), ErrUnsupported},
		{"no tree", forge(t, p, welcome, nil, func(i *infoParts) { i.exts = nil }), ErrUnsupported},
		{"context extension", forge(t, p, welcome, nil, func(i *infoParts) { i.context = extension(0xff00, nil) }), ErrUnsupported},
		{"tree that asks for memory", forge(t, p, welcome, nil, tree([]byte{0x7f, 0xff, 0xff, 0xff, 0})), ErrMalformed},
		{"tree with trailing byte", forge(t, p, welcome, nil, tree([]byte{1, 0, 0})), ErrMalformed},
		{"empty tree", forge(t, p, welcome, nil, tree([]byte{0})), ErrMalformed},
		{"tree of blanks", forge(t, p, welcome, nil, tree([]byte{3, 0, 0, 0})), ErrMalformed},
		{"two trees", forge(t, p, welcome, nil, func(i *infoParts) { i.exts = append(slices.Clone(i.exts), i.exts...) }), ErrMalformed},
		{"altered confirmation tag", forge(t, p, welcome, nil, func(i *infoParts) { i.tail = bytes.Clone(i.tail); i.tail[3] ^= 1 }), ErrInvalidTree},
		{"altered tree hash", forge(t, p, welcome, nil, func(i *infoParts) {
			i.head = bytes.Clone(i.head)
			i.head[len(i.head)-40] ^= 1
		}), ErrInvalidTree},
	}
	for _, tt := range tests {
		g, err := Join(c.c, p, tt.in)
		if g != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
		if err != nil {
			safe(t, err)
		}
	}
	c.refuse = errors.New("not this one")
	if _, err := Join(c.c, p, welcome); !errors.Is(err, c.refuse) {
		t.Errorf("verify: %v", err)
	}
	c.refuse = nil
	_, other := c.keyPackage()
	if _, err := Join(c.c, other, welcome); !errors.Is(err, ErrInvalidTree) {
		t.Errorf("other key package: %v", err)
	}
	if _, err := Join(newApp(t, "dave").c, p, welcome); !errors.Is(err, ErrUnsupported) {
		t.Errorf("other signer: %v", err)
	}
	c.join(p, welcome)
	agree(a, b, c)
	if _, err := Join(c.c, p, welcome); !errors.Is(err, ErrReplay) {
		t.Errorf("second join: %v", err)
	}
}

// TestJoinDuplicateSubject: the moderator let two leaves of one subject in.
func TestJoinDuplicateSubject(t *testing.T) {
	a := newApp(t, "alice").create()
	a.g.cfg.Subject = func(m Member) (string, error) { return string(m.SignatureKey), nil }
	a.add(newApp(t, "bob"))
	b := newApp(t, "bob")
	kp, p := b.keyPackage()
	if _, err := Join(b.c, p, a.commit(Change{Add: [][]byte{kp}})); !errors.Is(err, ErrDuplicate) {
		t.Errorf("got %v", err)
	}
}

func TestParseKeyPackageRefuses(t *testing.T) {
	a := newApp(t, "alice")
	kp, p := a.keyPackage()
	m, l, err := ParseKeyPackage(kp)
	if err != nil || string(m.Credential) != "alice#1" || l.NotAfter-l.NotBefore != uint64((LifetimeSpan+LifetimeMargin)/time.Second) {
		t.Fatalf("%s, %+v, %v", m.Credential, l, err)
	}
	for i := range kp {
		bad := bytes.Clone(kp)
		bad[i] ^= 1
		if _, _, err := ParseKeyPackage(bad); err == nil {
			t.Errorf("byte %d: accepted", i)
		} else {
			safe(t, err)
		}
		if _, _, err := ParseKeyPackage(kp[:i]); err == nil {
			t.Errorf("cut to %d: accepted", i)
		}
	}
	if _, _, err := ParseKeyPackage(append(bytes.Clone(kp), 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("trailing byte: %v", err)
	}
	r := &reader{b: p.kp.Raw}
	good := r.keyPackage()
	edits := map[string]func(*wireKeyPackage){
		"version":                 func(k *wireKeyPackage) { k.version = 2 },
		"suite":                   func(k *wireKeyPackage) { k.suite = 1 },
		"source":                  func(k *wireKeyPackage) { k.leaf.source = sourceCommit },
		"init key":                func(k *wireKeyPackage) { k.initKey = make([]byte, 65) },
		"init key is leaf key":    func(k *wireKeyPackage) { k.initKey = k.leaf.encryptionKey },
		"credential type":         func(k *wireKeyPackage) { k.leaf.credType = 2 },
		"credential not listed":   func(k *wireKeyPackage) { k.leaf.caps.credentials = nil },
		"version not listed":      func(k *wireKeyPackage) { k.leaf.caps.versions = nil },
		"suite not listed":        func(k *wireKeyPackage) { k.leaf.caps.suites = nil },
		"default extension":       func(k *wireKeyPackage) { k.leaf.caps.extensions = []uint16{3} },
		"default proposal":        func(k *wireKeyPackage) { k.leaf.caps.proposals = []uint16{7} },
		"extension":               func(k *wireKeyPackage) { k.extensions = []uint16{0xff00} },
		"leaf extension":          func(k *wireKeyPackage) { k.leaf.extensions = []uint16{0xff00} },
		"encryption key":          func(k *wireKeyPackage) { k.leaf.encryptionKey = k.leaf.encryptionKey[:33] },
		"signature key":           func(k *wireKeyPackage) { k.leaf.member.SignatureKey = make([]byte, 65) },
		"empty credential":        func(k *wireKeyPackage) { k.leaf.member.Credential = nil },
		"signatures swapped":      func(k *wireKeyPackage) { k.signature, k.leaf.signature = k.leaf.signature, k.signature },
		"leaf signed as package":  func(k *wireKeyPackage) { k.leaf.signature = k.signature },
		"package signed as leaf":  func(k *wireKeyPackage) { k.signature = k.leaf.signature },
		"signature by another":    func(k *wireKeyPackage) { k.leaf.member.SignatureKey = newApp(t, "x").c.Signer.Public() },
		"signature of zero bytes": func(k *wireKeyPackage) { k.signature = nil },
	}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range edits {
		k := good
		edit(&k)
		if err := k.check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	a := newApp(t, "alice")
	edits := map[string]func(*Config){
		"suite 1":       func(c *Config) { c.Suite = 1 },
		"suite 65100":   func(c *Config) { c.Suite = 65100 },
		"no signer":     func(c *Config) { c.Signer = nil },
		"no verify":     func(c *Config) { c.Verify = nil },
		"no subject":    func(c *Config) { c.Subject = nil },
		"no credential": func(c *Config) { c.Credential = nil },
	}
	for name, edit := range edits {
		c := a.c
		edit(&c)
		if _, _, err := NewKeyPackage(c, time.Now(), rand.Reader); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Create(a.c, make([]byte, 256), time.Now(), rand.Reader); err == nil {
		t.Error("group id of 256 bytes accepted")
	}
	if _, err := Create(a.c, nil, time.Now(), bytes.NewReader(nil)); err == nil {
		t.Error("no randomness accepted")
	}
	if _, err := NewSigner(P256, make([]byte, 32)); err == nil {
		t.Error("zero key accepted")
	}
	if _, err := NewSignatureKey(1, rand.Reader); !errors.Is(err, ErrUnsupported) {
		t.Error("suite 1 accepted")
	}
}

func benchmarkGroup(b *testing.B, members int) *app {
	b.Helper()
	a := newApp(b, "moderator").create()
	for i := 1; i < members; i++ {
		kp, _ := newApp(b, fmt.Sprint("m", i)).keyPackage()
		a.commit(Change{Add: [][]byte{kp}})
	}
	return a
}

func BenchmarkAdd(b *testing.B) {
	for _, members := range []int{1, 2, 10, 50} {
		b.Run(fmt.Sprint("to", members), func(b *testing.B) {
			a := benchmarkGroup(b, members)
			saved := a.save()
			kp, _ := newApp(b, "new").keyPackage()
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				g, err := Load(saved, a.c)
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if _, _, err := g.Commit(Change{Add: [][]byte{kp}}, time.Now(), rand.Reader); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkJoin(b *testing.B) {
	for _, members := range []int{2, 10, 50} {
		b.Run(fmt.Sprint("as", members), func(b *testing.B) {
			a := benchmarkGroup(b, members-1)
			n := newApp(b, "new")
			kp, p := n.keyPackage()
			welcome := a.commit(Change{Add: [][]byte{kp}})
			b.ReportAllocs()
			for b.Loop() {
				again := *p
				if _, err := Join(n.c, &again, welcome); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkProcess(b *testing.B) {
	for _, members := range []int{2, 10, 50} {
		b.Run(fmt.Sprint("of", members), func(b *testing.B) {
			a := benchmarkGroup(b, members-1)
			n := newApp(b, "new")
			a.add(n)
			saved := n.save()
			commit, _, err := a.g.Commit(Change{Path: true}, time.Now(), rand.Reader)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				g, err := Load(saved, n.c)
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if _, err := g.Process(commit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkKeyPackage(b *testing.B) {
	a := newApp(b, "alice")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := NewKeyPackage(a.c, time.Now(), rand.Reader); err != nil {
			b.Fatal(err)
		}
	}
}
