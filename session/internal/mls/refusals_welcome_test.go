package mls

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// Welcomes and joining (RFC 9420 sections 11, 12.4.3 and 12.4.3.1). Leaf 0 of the
// hall invites a newcomer to leaf 7.
var refusalsWelcome = []refusal{
	{101, "welcome for another key package", func(t *testing.T) {
		h := newHall(t)
		v := h.invite(t, true)
		const reason = "welcome is not for our key package"
		for name, ref := range map[string][]byte{
			"altered": flip(refOf(v.pack), 0), "of the leaf": refHashOf("MLS 1.0 KeyPackage Reference", v.pack.leaf.raw),
			"with the header": refHashOf("MLS 1.0 KeyPackage Reference", append(header(version10, formatKey), v.pack.raw...)),
			"another label":   refHashOf("MLS 1.0 Proposal Reference", v.pack.raw), "empty": {}, "shorter": refOf(v.pack)[:31],
		} {
			t.Run(name, func(t *testing.T) {
				d := v.draft()
				d.ref = ref
				v.refuse(t, ErrInvalidTree, reason, d.encode(t))
			})
		}
		other := h.invite(t, true)
		v.refuse(t, ErrInvalidTree, reason, other.good)
		d := v.draft()
		d.noEntry = true
		v.refuse(t, ErrInvalidTree, reason, d.encode(t))
		v.join(t)
	}},
	{102, "welcome of another suite", func(t *testing.T) {
		v := newHall(t).invite(t, true)
		for _, id := range []Suite{X25519, 0, 3, 65100} {
			d := v.draft()
			d.wireSuite = id
			v.refuse(t, ErrUnsupported, "cipher suite of a welcome", d.encode(t))
		}
		v.join(t)
	}},
	{103, "group secrets cannot be opened", refuseSealedSecrets},
	{104, "pre-shared key", func(t *testing.T) {
		v := newHall(t).invite(t, true)
		for name, id := range map[string][]byte{
			"external":   slices.Concat([]byte{1}, appendVec(nil, []byte("id")), appendVec(nil, make([]byte, 32))),
			"resumption": slices.Concat([]byte{2, 1}, appendVec(nil, []byte("id")), make([]byte, 8), appendVec(nil, make([]byte, 32))),
			"nonsense":   {0},
		} {
			t.Run(name, func(t *testing.T) {
				d := v.draft()
				d.psks = id
				v.refuse(t, ErrUnsupported, "pre-shared key", d.encode(t))
			})
		}
		v.join(t)
	}},
	{105, "group info cannot be opened", func(t *testing.T) {
		v := newHall(t).invite(t, true)
		d := v.draft()
		d.bendWelcome = func(s *secret) { s[0] ^= 1 }
		v.refuse(t, ErrDecrypt, "group info", d.encode(t))
		for name, bend := range map[string]func([]byte) []byte{
			"first bit": func(b []byte) []byte { return flip(b, 0) }, "tag": func(b []byte) []byte { return flip(b, -1) },
			"shorter": func(b []byte) []byte { return b[:len(b)-1] }, "shorter than a tag": func(b []byte) []byte { return b[:15] },
			"empty": func([]byte) []byte { return nil },
		} {
			t.Run(name, func(t *testing.T) {
				d := v.draft()
				d.bendSealedInfo = bend
				v.refuse(t, ErrDecrypt, "group info", d.encode(t))
			})
		}
		v.join(t)
	}},
	{106, "group of another suite or version", refuseOtherSuites},
	{107, "welcome without a tree", func(t *testing.T) {
		v := newHall(t).invite(t, true)
		d := v.draft()
		d.tree = nil
		v.refuse(t, ErrUnsupported, "welcome without a tree", d.encode(t))
		d.more = []extension{{kind: 0xf000, data: []byte("unknown")}}
		v.refuse(t, ErrUnsupported, "welcome without a tree", d.encode(t))
		d = v.draft()
		d.more = []extension{{kind: 0xf000, data: []byte("unknown")}, {kind: extExternalPub, data: []byte("unused")}}
		v.accept(t, d)
		v.join(t)
	}},
	{108, "signer of the group info is nobody", func(t *testing.T) {
		h := newHall(t)
		v := h.invite(t, false) // with a path secret the signer is looked for twice
		const reason = "signer of the group info is nobody"
		for _, leaf := range []uint32{8, 9, maxLeaves, 1 << 31, 1<<32 - 1} {
			d := v.draft()
			d.leaf = leaf
			v.refuse(t, ErrInvalidTree, reason, d.encode(t))
		}
		v.join(t)
		v, _ = small(t)
		d := v.draft()
		d.leaf = 2
		v.refuse(t, ErrInvalidTree, reason, d.encode(t))
		v.join(t)
	}},
	{109, "signature of the group info", refuseInfoSignatures},
	{110, "own leaf in the tree", refuseOwnLeaf},
	{111, "path secret in a welcome", refuseWelcomePaths},
	{112, "confirmation tag of a welcome", func(t *testing.T) {
		v := newHall(t).invite(t, true)
		for name, bend := range map[string]func([]byte) []byte{
			"first bit": func(b []byte) []byte { return flip(b, 0) },
			"shorter":   func(b []byte) []byte { return b[:31] },
			"longer":    func(b []byte) []byte { return append(bytes.Clone(b), 0) },
			"empty":     func([]byte) []byte { return nil },
		} {
			t.Run(name, func(t *testing.T) {
				d := v.draft()
				d.bendTag = bend
				v.refuse(t, ErrSignature, "confirmation tag", d.encode(t))
			})
		}
		// Anything else that the tag vouches for.
		d := v.draft()
		right := d.tagOf()
		d.context.epoch++
		d.bendTag = func([]byte) []byte { return right }
		v.refuse(t, ErrSignature, "confirmation tag", d.encode(t))
		d = v.draft()
		d.context.confirmed = flip(d.context.confirmed, 0)
		d.bendTag = func([]byte) []byte { return right }
		v.refuse(t, ErrSignature, "confirmation tag", d.encode(t))
		v.join(t)
	}},
	{113, "extension of a group", func(t *testing.T) {
		v := newHall(t).invite(t, true)
		for name, e := range map[string]extension{
			"required capabilities": {extRequiredCapabilities, []byte{0, 0, 0}},
			"external senders":      {extExternalSenders, []byte{0}},
			"application id":        {extApplicationID, []byte{1, 'x'}},
			"unknown":               {0xf000, nil},
		} {
			t.Run(name, func(t *testing.T) {
				d := v.draft()
				list := encodeExtensions(nil, []extension{e})
				d.context.extensions = (&reader{b: list}).vec(maxMessage)
				v.refuse(t, ErrUnsupported, "extension of a group", d.encode(t))
			})
		}
		v.join(t)
	}},
	{114, "leaf of the tree is invalid", refuseTreeLeaves},
	{115, "key package used twice", func(t *testing.T) {
		h := newHall(t)
		v := h.invite(t, true)
		g := v.join(t)
		for name, p := range map[string]*Pending{"used": v.pending, "nil": nil, "empty": {}} {
			t.Run(name, func(t *testing.T) {
				refuse(t, g, ErrInvalidTree, "key package is used up", func() error { _, err := Join(v.Config, p, v.good); return err })
			})
		}
		if v.pending.init != nil || v.pending.enc != nil {
			t.Error("the private keys are still there")
		}
	}},
	{116, "key package of another signer", func(t *testing.T) {
		h := newHall(t)
		v := h.invite(t, true)
		other := newPerson(t, P256, "newcomer")
		foreign := newPerson(t, X25519, "newcomer")
		const reason = "key package of another signer"
		for _, c := range []Config{other.Config, foreign.Config} {
			before := v.pending.bytes()
			refuse(t, nil, ErrUnsupported, reason, func() error { _, err := Join(c, v.pending, v.good); return err })
			if !bytes.Equal(before, v.pending.bytes()) {
				t.Error("the refused call has changed the Pending")
			}
		}
		v.join(t)
	}},
}

func refOf(k *keyPackage) []byte { ref := k.ref(); return ref[:] }

func refHashOf(label string, value []byte) []byte { h := refHash(label, value); return h[:] }

func refuseSealedSecrets(t *testing.T) {
	h := newHall(t)
	v := h.invite(t, true)
	other := newPerson(t, P256, "other").Signer.Public()
	for name, bend := range map[string]func(d *bentWelcome){
		"ciphertext":       func(d *bentWelcome) { d.bendSealed = func(s *sealed) { s.ciphertext = flip(s.ciphertext, 0) } },
		"tag":              func(d *bentWelcome) { d.bendSealed = func(s *sealed) { s.ciphertext = flip(s.ciphertext, -1) } },
		"empty":            func(d *bentWelcome) { d.bendSealed = func(s *sealed) { s.ciphertext = nil } },
		"encapsulated key": func(d *bentWelcome) { d.bendSealed = func(s *sealed) { s.enc = other } },
		"key off curve":    func(d *bentWelcome) { d.bendSealed = func(s *sealed) { s.enc = flip(s.enc, -1) } },
		"key of 64 bytes":  func(d *bentWelcome) { d.bendSealed = func(s *sealed) { s.enc = s.enc[:64] } },
		"for another key":  func(d *bentWelcome) { d.initKey = other },
		"for the leaf key": func(d *bentWelcome) { d.initKey = v.pack.leaf.encryptionKey },
		"other group info": func(d *bentWelcome) { d.bendContext = func(b []byte) []byte { return flip(b, -1) } },
		"no group info":    func(d *bentWelcome) { d.bendContext = func([]byte) []byte { return nil } },
	} {
		t.Run(name, func(t *testing.T) {
			d := v.draft()
			bend(d)
			v.refuse(t, ErrDecrypt, "group secrets", d.encode(t))
		})
	}
	for name, bend := range map[string]func([]byte) []byte{
		"trailing byte": func(b []byte) []byte { return append(b, 0) },
		"truncated":     func(b []byte) []byte { return b[:len(b)-1] },
		"empty":         func([]byte) []byte { return nil },
		"short joiner":  func(b []byte) []byte { return append(appendVec(nil, b[1:32]), b[33:]...) },
		"short path":    func(b []byte) []byte { return append(appendVec(bytes.Clone(b[:34]), b[35:66]), 0) },
		"empty path":    func(b []byte) []byte { return append(bytes.Clone(b[:34]), 0, 0) },
	} {
		t.Run("plaintext, "+name, func(t *testing.T) {
			d := v.draft()
			d.bendPlain = bend
			v.refuse(t, ErrMalformed, "group secrets", d.encode(t))
		})
	}
	v.join(t)
}

func refuseOtherSuites(t *testing.T) {
	v := newHall(t).invite(t, true)
	for _, id := range []Suite{X25519, 0, 65100} {
		d := v.draft()
		d.context.suite = id
		v.refuse(t, ErrUnsupported, "cipher suite of a group", d.encode(t))
	}
	for _, version := range []uint16{0, 2, 0x0100} {
		d := v.draft()
		d.bendInfo = func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, version), b[2:]...) }
		v.refuse(t, ErrMalformed, "group info", d.encode(t))
		message := append(header(version, formatWelcome), v.good[headerSize:]...)
		v.refuse(t, ErrUnsupported, "protocol version", message)
	}
	v.join(t)
}

func refuseInfoSignatures(t *testing.T) {
	h := newHall(t)
	v := h.invite(t, true)
	right := h.people[0].Signer
	for name, signer := range map[string]Signer{
		"altered":    bendSignatures(right, func(b []byte) []byte { return flip(b, -1) }),
		"empty":      bendSignatures(right, func([]byte) []byte { return nil }),
		"a stranger": newPerson(t, P256, "p0").Signer,
		"a member":   h.people[3].Signer,
		"ourselves":  v.Signer,
		"wrong label": signerFunc{right, func(msg []byte) ([]byte, error) {
			return right.Sign(bytes.Replace(msg, []byte("GroupInfoTBS"), []byte("LeafNodeTBS "), 1))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d := v.draft()
			d.signer = signer
			v.refuse(t, ErrSignature, "group info", d.encode(t))
		})
	}
	// Right, but for somebody else's leaf; and by us, who cannot invite ourselves.
	d := v.draft()
	d.leaf = 3
	v.refuse(t, ErrSignature, "group info", d.encode(t))
	d = v.draft()
	d.leaf, d.signer, d.path = 7, v.Signer, nil
	v.refuse(t, ErrInvalidTree, "group info is signed by ourselves", d.encode(t))
	d = v.draft() // any member may sign
	d.leaf, d.signer, d.path = 3, h.people[3].Signer, nil
	v.accept(t, d)
	v.join(t)
}

func refuseOwnLeaf(t *testing.T) {
	h := newHall(t)
	v := h.invite(t, false)
	const reason = "our leaf is not in the tree"
	// Leaf 3 invites, so that nothing is wrong with who signs.
	try := func(kind error, reason string, d *bentWelcome, b *bentTree) {
		t.Helper()
		d.leaf, d.signer = 3, h.people[3].Signer
		if b != nil {
			d.setTree(b.tree)
		}
		v.refuse(t, kind, reason, d.encode(t))
	}
	// Another newcomer's place; the tree knows nothing of us.
	other := h.invite(t, false)
	d := other.draft()
	d.pack = v.pack
	try(ErrInvalidTree, reason, d, nil)
	// A leaf of ours, but of another key package; or with one bit of difference.
	wire, _ := v.keyPackage(t)
	second := adding(t, wire).add.leaf
	b := v.bentTree(h)
	b.setLeaf(7, second)
	try(ErrInvalidTree, reason, v.draft(), b)
	b = v.bentTree(h)
	b.bendLeaf(t, 7, func(d *leafDraft) { d.lifetime.NotAfter++ })
	try(ErrInvalidTree, reason, v.draft(), b)
	b = v.bentTree(h)
	b.bendLeaf(t, 7, func(d *leafDraft) { d.caps.suites = append(d.caps.suites, 1) })
	try(ErrInvalidTree, reason, v.draft(), b)
	// Twice: no key may be there twice.
	b = v.bentTree(h)
	b.setLeaf(5, v.pack.leaf)
	b.relink(t, 4, 9)
	b.relink(t, 0, 7, 3, 1)
	try(ErrDuplicate, "encryption key", v.draft(), b)
	b = v.bentTree(h)
	b.setLeaf(5, second)
	b.relink(t, 4, 9)
	b.relink(t, 0, 7, 3, 1)
	try(ErrDuplicate, "signature key", v.draft(), b)
	v.join(t)
}

func refuseWelcomePaths(t *testing.T) {
	h := newHall(t)
	v := h.invite(t, true)
	secrets := v.commit.secrets
	for name, path := range map[string][]byte{
		"altered":       flip(secrets[2][:], 0),
		"of the lowest": secrets[0][:], // not above us
		"of the middle": secrets[1][:],
		"of the commit": func() []byte { s := deriveSecret(&secrets[2], "path"); return s[:] }(),
	} {
		t.Run(name, func(t *testing.T) {
			d := v.draft()
			d.path = path
			v.refuse(t, ErrInvalidTree, "path secret of another key", d.encode(t))
		})
	}
	// Right for the lowest node, while the one above has another key.
	for _, x := range []uint32{7, 11} {
		name := map[uint32]string{7: "key of the root", 11: "key of a node beside the path"}[x]
		t.Run(name, func(t *testing.T) {
			b := v.bentTree(h)
			b.bend(x, func(p *parentNode) { p.encryptionKey = newPerson(t, P256, "nobody").Signer.Public() })
			b.relink(t, 4, 11, 9)
			b.relink(t, 0, 7, 3, 1)
			if x == 7 {
				v.refuseTree(t, ErrInvalidTree, "path secret of another key", b)
			} else {
				v.acceptTree(t, b)
			}
		})
	}
	v.join(t)
	// A path secret though the node above both is blank.
	v, _ = small(t)
	d := v.draft()
	d.path = make([]byte, hashSize)
	v.refuse(t, ErrInvalidTree, "path secret of a blank node", d.encode(t))
	v.join(t)
	refuseUpperKey(t)
}

// refuseUpperKey: the newcomer shares two nodes with the inviter, and only the
// upper one's key is another.
func refuseUpperKey(t *testing.T) {
	h := newHall(t)
	first := h.invite(t, true) // leaf 7, so that the next one doubles the tree
	from := first.commit.enter(t)
	newcomer := newPerson(t, P256, "ninth")
	wire, pending := newcomer.keyPackage(t)
	p := adding(t, wire)
	d := &bentCommit{from: from, list: []*proposal{removing(3), p}}
	d.encode(t) // leaf 3 is the newcomer's: nodes 3 and 7 are above both
	v := &invitation{person: newcomer, pack: p.add, pending: pending, commit: d}
	v.good = v.draft().encode(t)
	b := v.bentTree(h)
	b.bend(7, func(p *parentNode) { p.encryptionKey = newPerson(t, P256, "nobody").Signer.Public() })
	b.relink(t, 0, 7, 3, 1)
	v.refuseTree(t, ErrInvalidTree, "path secret of another key", b)
	v.join(t)
}
