package mls

import (
	"encoding/binary"
	"testing"
)

var refusalsKeyPackage = []refusal{
	{59, "key package of another version", func(t *testing.T) {
		s := newScene(t, P256)
		for _, version := range []uint16{0, 2, 0x0100} {
			p := s.newcomer.draftPack(t)
			p.packVersion = version
			p.leaf.caps.versions = append(p.leaf.caps.versions, version)
			s.refusePack(t, ErrUnsupported, "protocol version of a key package", p.encode(t))
		}
		s.goesOn(t)
	}},
	{60, "key package of another suite", refuseSuites},
	{61, "signature of a key package", func(t *testing.T) {
		s := newScene(t, P256)
		p := s.newcomer.draftPack(t)
		p.signer = bendSignatures(p.signer, func(sig []byte) []byte { return flip(sig, -1) })
		s.refusePack(t, ErrSignature, "key package", p.encode(t))
		p.signer = signerFunc{p.signer, func([]byte) ([]byte, error) { return nil, nil }}
		s.refusePack(t, ErrSignature, "key package", p.encode(t))
		p.signer = signerFunc{p.signer, func([]byte) ([]byte, error) { return s.newcomer.Signer.Sign([]byte("other")) }}
		s.refusePack(t, ErrSignature, "key package", p.encode(t))
		// A node that takes another key package's init key keeps the signature.
		p, other := s.newcomer.draftPack(t), s.newcomer.draftPack(t)
		signature := mustSign(t, p.signer, p.label, p.unsigned(t))
		other.signer = signerFunc{p.signer, func([]byte) ([]byte, error) { return signature, nil }}
		s.refusePack(t, ErrSignature, "key package", other.encode(t))
		s.goesOn(t)
	}},
	{62, "init key is the leaf key", func(t *testing.T) {
		s := newScene(t, P256)
		p := s.newcomer.draftPack(t)
		p.initKey = p.leaf.encryptionKey
		s.refusePack(t, ErrInvalidLeaf, "init key is the leaf key", p.encode(t))
		s.goesOn(t)
	}},
	{63, "init key is no key", func(t *testing.T) {
		for suite, keys := range map[Suite][][]byte{
			P256:   {nil, make([]byte, 32), make([]byte, 65)},
			X25519: {nil, make([]byte, 32), make([]byte, 65)},
		} {
			s := newScene(t, suite)
			for _, key := range keys {
				p := s.newcomer.draftPack(t)
				p.initKey = key
				s.refusePack(t, ErrInvalidLeaf, "init key", p.encode(t))
			}
			s.goesOn(t)
		}
	}},
	{64, "key package extension not in the capabilities", func(t *testing.T) {
		s := newScene(t, P256)
		for _, list := range [][]uint16{nil, {0xff02}} {
			p := s.newcomer.draftPack(t)
			p.leaf.caps.extensions = list
			p.extensions = []extension{{kind: 0xff01}}
			s.refusePack(t, ErrInvalidLeaf, "extension is not in the capabilities", p.encode(t))
		}
		s.goesOn(t)
	}},
	{65, "key package without a header", func(t *testing.T) {
		forSuites(t, func(t *testing.T, suite Suite) {
			s := newScene(t, suite)
			// The suite stands where the wire format is expected.
			s.refuseAdding(t, ErrUnsupported, "wire format", s.newcomer.draftPack(t).bare(t))
			s.goesOn(t)
		})
	}},
	{66, "something else in place of a key package", func(t *testing.T) {
		s, g := newScene(t, P256), newGuest(t, P256)
		for _, format := range []uint16{formatPublic, formatPrivate, formatWelcome, formatGroupInfo} {
			p := s.newcomer.draftPack(t)
			p.format = format
			s.refuseAdding(t, ErrUnsupported, "wire format", p.encode(t))
		}
		for _, message := range [][]byte{s.draftPath(t).encode(t), s.draftText(t).encode(t), g.draft(t).encode(t)} {
			s.refuseAdding(t, ErrUnsupported, "wire format", message)
			message = append(header(version10, formatKey), message[headerSize:]...)
			s.refuseAdding(t, ErrMalformed, "key package", message)
		}
		s.goesOn(t)
	}},
}

func refuseSuites(t *testing.T) {
	s := newScene(t, P256)
	for _, suite := range []uint16{0, 3, 65100} {
		p := s.newcomer.draftPack(t)
		p.suite = suite
		p.leaf.caps.suites = append(p.leaf.caps.suites, suite)
		s.refusePack(t, ErrUnsupported, "cipher suite of a key package", p.encode(t))
	}
	p := s.newcomer.draftPack(t)
	p.suite = uint16(X25519) // with keys that the group could use
	pack := p.encode(t)
	s.refuseCommitting(t, ErrUnsupported, "cipher suite of a key package", Change{Add: [][]byte{pack}})
	s.refuseAdded(t, ErrUnsupported, "cipher suite of a key package", pack)
	other := newPerson(t, X25519, "other")
	pack, _ = other.keyPackage(t) // valid, but not here
	s.refuseCommitting(t, ErrUnsupported, "cipher suite of a key package", Change{Add: [][]byte{pack}})
	s.refuseAdded(t, ErrUnsupported, "cipher suite of a key package", pack)
	// Its suite field alone replaced: the signature is over the other one.
	binary.BigEndian.PutUint16(pack[headerSize+2:], uint16(P256))
	s.refusePack(t, ErrInvalidLeaf, "init key", pack)
	s.goesOn(t)
}
