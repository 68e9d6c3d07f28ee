package mls

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"testing"
)

// The core keeps what it reads in its encoded form where that is signed or
// hashed. The functions below write messages from the fields, so that a field
// that is read wrongly shows.

// appendLeaf writes a LeafNode from its fields. Only the contents of its
// extensions are taken over, because the core does not keep them.
func appendLeaf(t testing.TB, dst []byte, l *leafNode) []byte {
	t.Helper()
	start := len(dst)
	dst = appendVec(appendVec(dst, l.encryptionKey), l.signatureKey)
	dst = binary.BigEndian.AppendUint16(dst, l.credType)
	dst = appendVec(dst, l.credential)
	for _, list := range [][]uint16{l.caps.versions, l.caps.suites, l.caps.extensions, l.caps.proposals, l.caps.credentials} {
		dst = appendLength(dst, 2*len(list))
		for _, x := range list {
			dst = binary.BigEndian.AppendUint16(dst, x)
		}
	}
	dst = append(dst, l.source)
	switch l.source {
	case sourcePackage:
		dst = binary.BigEndian.AppendUint64(dst, l.lifetime.NotBefore)
		dst = binary.BigEndian.AppendUint64(dst, l.lifetime.NotAfter)
	case sourceCommit:
		dst = appendVec(dst, l.parentHash)
	}
	if n := len(dst) - start; n <= l.signed {
		r := &reader{b: l.raw[n:l.signed]}
		dst = appendExtensions(dst, r.extensions())
	}
	return appendVec(dst, l.signature)
}

func appendExtensions(dst []byte, list []extension) []byte {
	var in []byte
	for _, e := range list {
		in = appendVec(binary.BigEndian.AppendUint16(in, e.kind), e.data)
	}
	return appendVec(dst, in)
}

func appendWelcome(dst []byte, w *welcome) []byte {
	dst = binary.BigEndian.AppendUint16(appendHeader(dst, formatWelcome), w.suite)
	var list []byte
	for _, e := range w.entries {
		list = e.secrets.append(appendVec(list, e.ref))
	}
	return appendVec(appendVec(dst, list), w.info)
}

func appendGroupInfo(dst []byte, i *groupInfo) []byte {
	dst = append(dst, i.context.encode()...)
	dst = appendVec(appendExtensions(dst, i.extensions), i.confirmation)
	return appendVec(binary.BigEndian.AppendUint32(dst, i.signer), i.signature)
}

func appendPrivate(dst []byte, p *privateMessage) []byte {
	dst = appendVec(appendHeader(dst, formatPrivate), p.groupID)
	dst = append(binary.BigEndian.AppendUint64(dst, p.epoch), p.kind)
	return appendVec(appendVec(appendVec(dst, p.aad), p.senderData), p.ciphertext)
}

func appendKeyPackage(t testing.TB, dst []byte, k *keyPackage) []byte {
	t.Helper()
	start := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, k.version)
	dst = binary.BigEndian.AppendUint16(dst, k.suite)
	dst = appendLeaf(t, appendVec(dst, k.initKey), k.leaf)
	if n := len(dst) - start; n <= k.signed {
		r := &reader{b: k.raw[n:k.signed]}
		dst = appendExtensions(dst, r.extensions())
	}
	return appendVec(dst, k.signature)
}

// appendFramed writes a PublicMessage of a member from its fields.
func appendFramed(dst []byte, f *framed) []byte {
	dst = appendHead(appendHeader(dst, formatPublic), f.groupID, f.epoch, f.sender, f.aad, f.kind)
	if f.kind == contentCommit {
		dst = appendVec(appendVec(f.commit.append(dst), f.signature), f.confirmation)
	} else {
		dst = appendVec(f.proposal.append(dst), f.signature)
	}
	return appendVec(dst, f.membership)
}

// reencode fails if a message, of whatever kind, is not written back the same
// from its fields. It returns what was understood.
func reencode(t testing.TB, message []byte) any {
	t.Helper()
	if len(message) < headerSize {
		t.Fatal("no message")
	}
	var got []byte
	var what any
	var err error
	switch format := binary.BigEndian.Uint16(message[2:]); format {
	case formatPublic:
		var f *framed
		if f, err = readPublic(message); err == nil {
			got, what = appendFramed(nil, f), f
			if p := f.commit; p != nil && p.path != nil && !bytes.Equal(appendLeaf(t, nil, p.path.leaf), p.path.leaf.raw) {
				t.Error("leaf of a path is written in another way")
			}
		}
	case formatPrivate:
		var p *privateMessage
		if p, err = readPrivate(message); err == nil {
			got, what = appendPrivate(nil, p), p
		}
	case formatWelcome:
		var w *welcome
		if w, err = readWelcome(message); err == nil {
			got, what = appendWelcome(nil, w), w
		}
	case formatKey:
		var k *keyPackage
		if k, err = parseKeyPackage(message); err == nil {
			got, what = appendKeyPackage(t, appendHeader(nil, formatKey), k), k
		}
	default:
		t.Fatalf("wire format %d", format)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, message) {
		t.Errorf("%T is written in another way", what)
	}
	return what
}

// reencodeTree is reencode for a ratchet_tree.
func reencodeTree(t testing.TB, s *suite, wire []byte) {
	t.Helper()
	tree := parseTree(t, s, wire)
	tree.members(func(i uint32, l *leafNode) {
		if !bytes.Equal(appendLeaf(t, nil, l), l.raw) {
			t.Errorf("leaf %d is written in another way", i)
		}
	})
}

// reencodeInside is reencode for what a Welcome hides from all but p.
func reencodeInside(t testing.TB, s *suite, p *Pending, message []byte) {
	t.Helper()
	wire := groupSecretsOf(t, p, message)
	r := &reader{b: wire}
	secrets := r.groupSecrets()
	if !r.done() || !bytes.Equal(secrets.append(nil), wire) {
		t.Error("group secrets are written in another way")
	}
	j := joiner{suite: s, pending: p}
	if err := j.openInfo(message); err != nil {
		t.Fatal(err)
	}
	signed := appendVec(bytes.Clone(j.info.signed), j.info.signature)
	if !bytes.Equal(appendGroupInfo(nil, &j.info), signed) {
		t.Error("group info is written in another way")
	}
	for _, e := range j.info.extensions {
		if e.kind == extRatchetTree {
			reencodeTree(t, s, e.data)
		}
	}
}

// TestWireOfOwnMessages writes back every kind of message that a group of ours
// makes, from its fields.
func TestWireOfOwnMessages(t *testing.T) {
	forSuites(t, func(t *testing.T, s Suite) {
		c := newClub(t, s, 5)
		newcomer, again := newPerson(t, s, "newcomer"), c.people[3]
		pack1, pending1 := newcomer.keyPackage(t)
		pack2, pending2 := again.keyPackage(t)
		reencode(t, pack1)
		for _, tt := range []struct {
			name     string
			change   Change
			adds     int
			removes  int
			path     bool
			pendings []*Pending
		}{
			{name: "path", change: Change{Path: true}, path: true},
			{name: "remove", change: Change{Remove: []uint32{2}}, removes: 1, path: true},
			{name: "add", change: Change{Add: [][]byte{pack1}}, adds: 1, pendings: []*Pending{pending1}},
			{name: "rejoin", change: Change{Add: [][]byte{pack2}, Remove: []uint32{3}}, adds: 1, removes: 1, path: true, pendings: []*Pending{pending2}},
			{name: "two", change: Change{
				Add: [][]byte{packOf(t, newPerson(t, s, "x")), packOf(t, newPerson(t, s, "y"))}, Path: true,
			}, adds: 2, path: true},
		} {
			message, letter, err := c.groups[0].Commit(tt.change, testNow, rand.Reader)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			f := reencode(t, message).(*framed)
			adds, removes := f.commit.count()
			if adds != tt.adds || removes != tt.removes || (f.commit.path != nil) != tt.path {
				t.Errorf("%s: %d adds, %d removes, path %t", tt.name, adds, removes, f.commit.path != nil)
			}
			if (letter != nil) != (tt.adds > 0) {
				t.Fatalf("%s: welcome of %d bytes", tt.name, len(letter))
			}
			if letter != nil {
				if w := reencode(t, letter).(*welcome); len(w.entries) != tt.adds {
					t.Errorf("%s: %d entries in the welcome", tt.name, len(w.entries))
				}
			}
			for _, p := range tt.pendings {
				reencodeInside(t, suiteOf(s), p, letter)
			}
			reencodeTree(t, suiteOf(s), c.groups[0].now.tree.append(nil))
			message, err = c.groups[0].Protect(nil, []byte(tt.name), []byte("aad"), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			reencode(t, message)
		}
	})
}

func packOf(t testing.TB, p person) []byte {
	t.Helper()
	pack, _ := p.keyPackage(t)
	return pack
}

// count counts proposals by value.
func (c *commit) count() (adds, removes int) {
	for _, p := range c.proposals {
		switch p.kind {
		case proposalAdd:
			adds++
		case proposalRemove:
			removes++
		}
	}
	return adds, removes
}
