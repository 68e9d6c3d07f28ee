package mls

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"math/big"
	"slices"
	"testing"
)

var refusalsCrypto = []refusal{
	{10, "bad P-256 point", func(t *testing.T) { refuseKeys(t, P256, badPoints(), badPoints()) }},
	{11, "bad X25519 point", func(t *testing.T) {
		small := map[string][]byte{"short": make([]byte, 31), "long": make([]byte, 33), "P-256 point": make([]byte, 65)}
		for i, p := range smallOrderPoints {
			small[string(rune('a'+i))+" of small order"] = p[:]
			high := bytes.Clone(p[:])
			high[31] |= 0x80 // X25519 ignores the bit
			small[string(rune('a'+i))+" of small order, top bit set"] = high
		}
		refuseKeys(t, X25519, small, map[string][]byte{"short": make([]byte, 31), "long": make([]byte, 33), "none": nil})
	}},
	{12, "ECDSA signature not in DER", refuseDER},
	{13, "Ed25519 signature", refuseEd25519},
	{14, "signature for something else", func(t *testing.T) { forSuites(t, refuseLabels) }},
	{15, "signature of another member", func(t *testing.T) { forSuites(t, refuseStrangers) }},
	{16, "bad encapsulated key", func(t *testing.T) { forSuites(t, refuseEncapsulated) }},
}

func badPoints() map[string][]byte {
	curve := elliptic.P256().Params()
	x, y := curve.Gx.FillBytes(make([]byte, 32)), curve.Gy.FillBytes(make([]byte, 32))
	full := slices.Concat([]byte{4}, x, y)
	large := new(big.Int).Add(curve.P, big.NewInt(5)).FillBytes(make([]byte, 32)) // x=5 is on the curve
	five := big.NewInt(5)
	rhs := new(big.Int).Exp(five, big.NewInt(3), curve.P)
	rhs.Sub(rhs, big.NewInt(15)).Add(rhs, curve.B).Mod(rhs, curve.P)
	root := new(big.Int).ModSqrt(rhs, curve.P)
	bad := map[string][]byte{
		"compressed": slices.Concat([]byte{2 + y[31]&1}, x), "hybrid": slices.Concat([]byte{6 + y[31]&1}, x, y),
		"short": full[:64], "long": append(bytes.Clone(full), 0), "none": nil,
		"off the curve": flip(full, 64), "infinity": {0}, "infinity in 65 bytes": make([]byte, 65),
	}
	if root != nil {
		bad["not reduced"] = slices.Concat([]byte{4}, large, root.FillBytes(make([]byte, 32)))
	}
	return bad
}

// refuseKeys puts bad keys wherever a key can be.
func refuseKeys(t *testing.T, suite Suite, encryption, signature map[string][]byte) {
	s, g := newScene(t, suite), newGuest(t, suite)
	for name, key := range encryption {
		t.Run(name, func(t *testing.T) {
			p := s.newcomer.draftPack(t)
			p.leaf.encryptionKey = key
			s.refusePack(t, ErrInvalidLeaf, "encryption key", p.encode(t))
			p = s.newcomer.draftPack(t)
			p.initKey = key
			s.refusePack(t, ErrInvalidLeaf, "init key", p.encode(t))

			d := draftCommit(t, s.from, Change{Path: true}, func(l *leafDraft) { l.encryptionKey = key })
			s.refuseCommit(t, ErrInvalidLeaf, "encryption key", d.encode(t))
			d = s.draftPath(t)
			d.update.nodes[1].encryptionKey = key
			s.refuseCommit(t, ErrInvalidCommit, "encryption key of a path", d.encode(t))

			w := g.draft(t)
			l := g.otherLeaf(w)
			l.encryptionKey = key
			w.setLeaf(t, 1, l)
			g.refuseJoin(t, ErrInvalidLeaf, "encryption key", w.encode(t))
			w = g.draft(t)
			w.tree.set(1, node{parent: &parentNode{encryptionKey: key}})
			g.refuseJoin(t, ErrInvalidTree, "encryption key of a parent", w.encode(t))
		})
	}
	for name, key := range signature {
		t.Run("signature key "+name, func(t *testing.T) {
			p := s.newcomer.draftPack(t)
			p.leaf.signatureKey = key
			s.refusePack(t, ErrInvalidLeaf, "signature key", p.encode(t))
			d := draftCommit(t, s.from, Change{Path: true}, func(l *leafDraft) { l.signatureKey = key })
			s.refuseCommit(t, ErrInvalidLeaf, "signature key", d.encode(t))
			w := g.draft(t)
			l := g.otherLeaf(w)
			l.signatureKey = key
			w.setLeaf(t, 1, l)
			g.refuseJoin(t, ErrInvalidLeaf, "signature key", w.encode(t))
		})
	}
	s.goesOn(t)
	g.joins(t)
}

// refuseSignatures changes every kind of signature in the same way.
func refuseSignatures(t *testing.T, s *scene, g *guest, bend func(sig []byte) []byte) {
	t.Helper()
	p := s.newcomer.draftPack(t)
	p.signer = bendSignatures(p.signer, bend)
	s.refusePack(t, ErrSignature, "key package", p.encode(t))
	p = s.newcomer.draftPack(t)
	p.leaf.signer = bendSignatures(p.leaf.signer, bend)
	s.refusePack(t, ErrSignature, "leaf of a key package", p.encode(t))

	d := draftCommit(t, s.from, Change{Path: true}, func(l *leafDraft) { l.signer = bendSignatures(l.signer, bend) })
	s.refuseCommit(t, ErrSignature, "leaf of a commit", d.encode(t))
	d = s.draftPath(t)
	d.signer = bendSignatures(d.signer, bend)
	s.refuseCommit(t, ErrSignature, "message", d.encode(t))
	m := s.draftText(t)
	m.signer = bendSignatures(m.signer, bend)
	s.refuseMessage(t, ErrSignature, "message", m.encode(t))

	w := g.draft(t)
	w.signerKey = bendSignatures(w.signerKey, bend)
	g.refuseJoin(t, ErrSignature, "group info", w.encode(t))
	w = g.draft(t)
	l := g.otherLeaf(w)
	l.signer = bendSignatures(l.signer, bend)
	w.setLeaf(t, 1, l)
	g.refuseJoin(t, ErrSignature, "leaf in the tree", w.encode(t))
}

// derNumbers takes an ECDSA signature apart.
func derNumbers(sig []byte) (r, s []byte) {
	n := int(sig[3])
	return sig[4 : 4+n], sig[6+n:]
}

func der(r, s []byte) []byte {
	body := slices.Concat([]byte{2, byte(len(r))}, r, []byte{2, byte(len(s))}, s)
	return append([]byte{0x30, byte(len(body))}, body...)
}

// padded is a signer whose R has its top bit set, so that a zero byte is before
// it in DER.
func padded(s Signer) Signer {
	return signerFunc{s, func(msg []byte) ([]byte, error) {
		for {
			sig, err := s.Sign(msg)
			if err != nil {
				return nil, err
			}
			if r, _ := derNumbers(sig); r[0] == 0 {
				return sig, nil
			}
		}
	}}
}

// refuseDER writes good signatures in ways that a loose reader would take.
func refuseDER(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	for name, bend := range map[string]func(sig []byte) []byte{
		"trailing byte":                 func(sig []byte) []byte { return append(bytes.Clone(sig), 0) },
		"trailing byte in the sequence": func(sig []byte) []byte { b := append(bytes.Clone(sig), 0); b[1]++; return b },
		"long form of the length":       func(sig []byte) []byte { return slices.Concat([]byte{0x30, 0x81}, sig[1:]) },
		"long form of a number's length": func(sig []byte) []byte {
			b := slices.Concat([]byte{0x30, sig[1] + 1, 2, 0x81}, sig[3:])
			return b
		},
		"indefinite length": func(sig []byte) []byte { return slices.Concat([]byte{0x30, 0x80}, sig[2:], []byte{0, 0}) },
		"number not minimal": func(sig []byte) []byte {
			r, s := derNumbers(sig)
			return der(append([]byte{0}, r...), s)
		},
		"zero R":       func(sig []byte) []byte { _, s := derNumbers(sig); return der([]byte{0}, s) },
		"zero S":       func(sig []byte) []byte { r, _ := derNumbers(sig); return der(r, []byte{0}) },
		"both zero":    func([]byte) []byte { return der([]byte{0}, []byte{0}) },
		"no numbers":   func([]byte) []byte { return []byte{0x30, 0} },
		"nothing":      func([]byte) []byte { return nil },
		"R plus order": func(sig []byte) []byte { r, s := derNumbers(sig); return der(plusOrder(r), s) },
		"S plus order": func(sig []byte) []byte { r, s := derNumbers(sig); return der(r, plusOrder(s)) },
		"raw numbers": func(sig []byte) []byte {
			r, s := derNumbers(sig)
			raw := make([]byte, 64)
			new(big.Int).SetBytes(r).FillBytes(raw[:32])
			new(big.Int).SetBytes(s).FillBytes(raw[32:])
			return raw
		},
	} {
		t.Run(name, func(t *testing.T) { refuseSignatures(t, s, g, bend) })
	}
	t.Run("negative", func(t *testing.T) {
		cut := func(sig []byte) []byte { r, s := derNumbers(sig); return der(r[1:], s) }
		p := s.newcomer.draftPack(t)
		p.signer = bendSignatures(padded(p.signer), cut)
		s.refusePack(t, ErrSignature, "key package", p.encode(t))
		d := s.draftPath(t)
		d.signer = bendSignatures(padded(d.signer), cut)
		s.refuseCommit(t, ErrSignature, "message", d.encode(t))
	})
	s.goesOn(t)
	g.joins(t)
}

// plusOrder is the same number modulo the order of P-256, out of its range.
func plusOrder(b []byte) []byte {
	n := new(big.Int).SetBytes(b)
	out := n.Add(n, elliptic.P256().Params().N).Bytes()
	if out[0]&0x80 != 0 {
		out = append([]byte{0}, out...)
	}
	return out
}

func refuseEd25519(t *testing.T) {
	s, g := newScene(t, X25519), newGuest(t, X25519)
	// L, the order of the base point, little-endian.
	order := new(big.Int).Lsh(big.NewInt(1), 252)
	c, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	order.Add(order, c)
	for name, bend := range map[string]func(sig []byte) []byte{
		"short": func(sig []byte) []byte { return sig[:ed25519.SignatureSize-1] },
		"long":  func(sig []byte) []byte { return append(bytes.Clone(sig), 0) },
		"none":  func([]byte) []byte { return nil },
		"zeros": func(sig []byte) []byte { return make([]byte, len(sig)) },
		"S plus L": func(sig []byte) []byte {
			number := bytes.Clone(sig[32:])
			slices.Reverse(number)
			n := new(big.Int).SetBytes(number)
			number = n.Add(n, order).FillBytes(make([]byte, 32))
			slices.Reverse(number)
			return slices.Concat(sig[:32], number)
		},
	} {
		t.Run(name, func(t *testing.T) { refuseSignatures(t, s, g, bend) })
	}
	s.goesOn(t)
	g.joins(t)
}

// refuseLabels signs the right bytes under the label of something else.
func refuseLabels(t *testing.T, suite Suite) {
	s, g := newScene(t, suite), newGuest(t, suite)
	labels := []string{"LeafNodeTBS", "KeyPackageTBS", "GroupInfoTBS", "FramedContentTBS", ""}
	for _, label := range labels {
		if label != "KeyPackageTBS" {
			p := s.newcomer.draftPack(t)
			p.label = label
			s.refusePack(t, ErrSignature, "key package", p.encode(t))
		}
		if label != "LeafNodeTBS" {
			p := s.newcomer.draftPack(t)
			p.leaf.label = label
			s.refusePack(t, ErrSignature, "leaf of a key package", p.encode(t))
			d := draftCommit(t, s.from, Change{Path: true}, func(l *leafDraft) { l.label = label })
			s.refuseCommit(t, ErrSignature, "leaf of a commit", d.encode(t))
			w := g.draft(t)
			l := g.otherLeaf(w)
			l.label = label
			w.setLeaf(t, 1, l)
			g.refuseJoin(t, ErrSignature, "leaf in the tree", w.encode(t))
		}
		if label != "FramedContentTBS" {
			d, m := s.draftPath(t), s.draftText(t)
			d.label, m.label = label, label
			s.refuseCommit(t, ErrSignature, "message", d.encode(t))
			s.refuseMessage(t, ErrSignature, "message", m.encode(t))
		}
		if label != "GroupInfoTBS" {
			w := g.draft(t)
			w.label = label
			g.refuseJoin(t, ErrSignature, "group info", w.encode(t))
		}
	}
	s.goesOn(t)
	g.joins(t)
}

// refuseStrangers lets another member sign.
func refuseStrangers(t *testing.T, suite Suite) {
	s, g := newScene(t, suite), newGuest(t, suite)
	other := s.people[3].Signer
	p := s.newcomer.draftPack(t)
	p.signer = other
	s.refusePack(t, ErrSignature, "key package", p.encode(t))
	p = s.newcomer.draftPack(t)
	p.leaf.signer = other
	s.refusePack(t, ErrSignature, "leaf of a key package", p.encode(t))
	d := draftCommit(t, s.from, Change{Path: true}, func(l *leafDraft) { l.signer = other })
	s.refuseCommit(t, ErrSignature, "leaf of a commit", d.encode(t))
	d = s.draftPath(t)
	d.signer = other
	s.refuseCommit(t, ErrSignature, "message", d.encode(t))
	m := s.draftText(t)
	m.signer = other
	s.refuseMessage(t, ErrSignature, "message", m.encode(t))
	w := g.draft(t)
	w.signerKey = g.hosts[1].Signer
	g.refuseJoin(t, ErrSignature, "group info", w.encode(t))
	w = g.draft(t)
	l := g.otherLeaf(w)
	l.signer = g.hosts[0].Signer
	w.setLeaf(t, 1, l)
	g.refuseJoin(t, ErrSignature, "leaf in the tree", w.encode(t))
	s.goesOn(t)
	g.joins(t)
}

func refuseEncapsulated(t *testing.T, suite Suite) {
	s, g := newScene(t, suite), newGuest(t, suite)
	for name, bend := range map[string]func(enc []byte) []byte{
		"none":       func([]byte) []byte { return nil },
		"short":      func(enc []byte) []byte { return enc[:len(enc)-1] },
		"long":       func(enc []byte) []byte { return append(bytes.Clone(enc), 0) },
		"zeros":      func(enc []byte) []byte { return make([]byte, len(enc)) },
		"altered":    func(enc []byte) []byte { return flip(enc, -1) }, // for P-256 off the curve
		"compressed": func(enc []byte) []byte { return append([]byte{2 + enc[len(enc)-1]&1}, enc[1:33]...) },
	} {
		if suite == X25519 && name == "compressed" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			d := s.draftPath(t)
			for i := range d.update.nodes {
				for k := range d.update.nodes[i].secrets {
					d.update.nodes[i].secrets[k].enc = bend(d.update.nodes[i].secrets[k].enc)
				}
			}
			s.refuseCommit(t, ErrInvalidCommit, "path cannot be decrypted", d.encode(t))
			w := g.draft(t)
			w.sealed = func(s *sealed) { s.enc = bend(s.enc) }
			g.refuseJoin(t, ErrDecrypt, "group secrets", w.encode(t))
		})
	}
	s.goesOn(t)
	g.joins(t)
}
