package mls

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// Tools that make messages which are wrong in exactly one respect. A draft has
// the fields of a structure; what is signed, tagged or encrypted is worked out
// of them when the draft is encoded, so that only the check for the changed
// field can refuse the result. An unchanged draft is valid (TestDraftsAreValid).

// signerFunc signs differently from the Signer whose key it shows.
type signerFunc struct {
	Signer
	sign func(msg []byte) ([]byte, error)
}

func (s signerFunc) Sign(msg []byte) ([]byte, error) { return s.sign(msg) }

// bendSignatures lets f change every signature that a signer makes.
func bendSignatures(s Signer, f func(sig []byte) []byte) Signer {
	return signerFunc{s, func(msg []byte) ([]byte, error) {
		sig, err := s.Sign(msg)
		return f(sig), err
	}}
}

func mustSign(t testing.TB, s Signer, label string, content []byte) []byte {
	t.Helper()
	sig, err := sign(s, label, content)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// flip is b with one bit changed at the given place, counted from the end if
// that is negative.
func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	return b
}

// leafDraft is a LeafNode.
type leafDraft struct {
	encryptionKey, signatureKey []byte
	credType                    uint16
	credential                  []byte
	caps                        capabilities
	rawCaps                     []byte // instead of caps, if not nil
	source                      uint8
	lifetime                    Lifetime
	parentHash                  []byte
	extensions                  []extension

	signer Signer
	label  string
	place  []byte // group id and leaf index as signed; nil: none
}

// draftLeaf takes a leaf apart. The place is that of a leaf in a tree and is not
// used for leaves of key packages.
func draftLeaf(l *leafNode, signer Signer, groupID []byte, index uint32) leafDraft {
	d := leafDraft{
		encryptionKey: l.encryptionKey, signatureKey: l.signatureKey,
		credType: l.credType, credential: l.credential,
		caps: capabilities{
			slices.Clone(l.caps.versions), slices.Clone(l.caps.suites), slices.Clone(l.caps.extensions),
			slices.Clone(l.caps.proposals), slices.Clone(l.caps.credentials),
		},
		source: l.source, lifetime: l.lifetime, parentHash: l.parentHash,
		signer: signer, label: "LeafNodeTBS",
	}
	if l.source != sourcePackage {
		d.place = appendPlace(nil, groupID, index)
	}
	return d
}

// unsigned is the LeafNode without its signature.
func (d *leafDraft) unsigned() []byte {
	b := appendVec(appendVec(nil, d.encryptionKey), d.signatureKey)
	b = appendVec(binary.BigEndian.AppendUint16(b, d.credType), d.credential)
	if d.rawCaps != nil {
		b = append(b, d.rawCaps...)
	} else {
		b = append(b, d.caps.encode()...)
	}
	b = append(b, d.source)
	switch d.source {
	case sourcePackage:
		b = binary.BigEndian.AppendUint64(b, d.lifetime.NotBefore)
		b = binary.BigEndian.AppendUint64(b, d.lifetime.NotAfter)
	case sourceCommit:
		b = appendVec(b, d.parentHash)
	}
	return encodeExtensions(b, d.extensions)
}

func (c *capabilities) encode() (b []byte) {
	for _, list := range [][]uint16{c.versions, c.suites, c.extensions, c.proposals, c.credentials} {
		b = appendLength(b, 2*len(list))
		for _, v := range list {
			b = binary.BigEndian.AppendUint16(b, v)
		}
	}
	return b
}

func encodeExtensions(dst []byte, list []extension) []byte {
	return appendVec(dst, encodeExtensionList(list))
}

// encodeExtensionList is the content of the vector.
func encodeExtensionList(list []extension) (b []byte) {
	for _, e := range list {
		b = appendVec(binary.BigEndian.AppendUint16(b, e.kind), e.data)
	}
	return b
}

func (d *leafDraft) encode(t testing.TB) []byte { return d.sign(t, d.unsigned()) }

// sign completes a LeafNode whose encoding a test has changed.
func (d *leafDraft) sign(t testing.TB, unsigned []byte) []byte {
	t.Helper()
	return appendVec(unsigned, mustSign(t, d.signer, d.label, slices.Concat(unsigned, d.place)))
}

// leaf is the draft as a leaf for a tree; it need not be valid.
func (d *leafDraft) leaf(t testing.TB) *leafNode { return decodedLeaf(t, d.encode(t)) }

func decodedLeaf(t testing.TB, raw []byte) *leafNode {
	t.Helper()
	l := (&reader{b: raw}).leaf()
	if l == nil {
		t.Fatal("the bent leaf cannot be decoded")
	}
	return l
}

// packDraft is a KeyPackage in its MLSMessage.
type packDraft struct {
	version, format    uint16 // of the MLSMessage
	packVersion, suite uint16
	initKey            []byte
	leaf               leafDraft
	rawLeaf            []byte // instead of leaf, if not nil
	extensions         []extension
	rawExtensions      []byte // the vector instead of them, if not nil
	signer             Signer
	label              string
	pending            *Pending // private keys of the unchanged draft
}

// draftPack makes a key package of a person, to be changed.
func (p *person) draftPack(t testing.TB) *packDraft {
	t.Helper()
	wire, pending := p.keyPackage(t)
	k, err := parseKeyPackage(wire)
	if err != nil {
		t.Fatal(err)
	}
	return &packDraft{
		version: version10, format: formatKey, packVersion: k.version, suite: k.suite, initKey: k.initKey,
		leaf: draftLeaf(k.leaf, p.Signer, nil, 0), signer: p.Signer, label: "KeyPackageTBS", pending: pending,
	}
}

// unsigned is the KeyPackage without its signature.
func (d *packDraft) unsigned(t testing.TB) []byte {
	t.Helper()
	b := binary.BigEndian.AppendUint16(nil, d.packVersion)
	b = appendVec(binary.BigEndian.AppendUint16(b, d.suite), d.initKey)
	if d.rawLeaf != nil {
		b = append(b, d.rawLeaf...)
	} else {
		b = append(b, d.leaf.encode(t)...)
	}
	if d.rawExtensions != nil {
		return append(b, d.rawExtensions...)
	}
	return encodeExtensions(b, d.extensions)
}

// bare is the KeyPackage without the header of MLSMessage.
func (d *packDraft) bare(t testing.TB) []byte {
	t.Helper()
	b := d.unsigned(t)
	return appendVec(b, mustSign(t, d.signer, d.label, b))
}

func (d *packDraft) encode(t testing.TB) []byte {
	t.Helper()
	wire := slices.Concat(header(d.version, d.format), d.bare(t))
	if k, err := parseKeyPackage(wire); err == nil {
		d.pending.pack = k
	}
	return wire
}

func header(version, format uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, version), format)
}
