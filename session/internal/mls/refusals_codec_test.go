package mls

import (
	"bytes"
	"slices"
	"testing"
)

var refusalsCodec = []refusal{
	{1, "length not in its shortest form", func(t *testing.T) {
		refuseLengths(t, map[string]func(n int) []byte{
			"two bytes": func(n int) []byte { return []byte{1 << 6, byte(n)} },
			"four":      func(n int) []byte { return []byte{2 << 6, 0, 0, byte(n)} },
		})
	}},
	{2, "length with prefix 3", func(t *testing.T) {
		refuseLengths(t, map[string]func(n int) []byte{
			"one byte":    func(n int) []byte { return []byte{3<<6 | byte(n)} },
			"two bytes":   func(n int) []byte { return []byte{3 << 6, byte(n)} },
			"eight bytes": func(n int) []byte { return []byte{3 << 6, 0, 0, 0, 0, 0, 0, byte(n)} },
		})
	}},
	{3, "length beyond the input", refuseLongVectors},
	{4, "vector beyond the one around it", refuseOverruns},
	{5, "trailing bytes", refuseTrailing},
	{6, "presence byte 2", refusePresence},
	{7, "unknown enumeration value", refuseUnknown},
	{8, "bound exceeded", refuseBounds},
	{9, "extension twice", refuseTwins},
}

// refuseLengths replaces one length, of less than 64, in each kind of message.
func refuseLengths(t *testing.T, forms map[string]func(n int) []byte) {
	s, g := newScene(t, P256), newGuest(t, P256)
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			d := s.draftPath(t)
			d.raw = slices.Concat(form(len(d.groupID)), d.head()[1:], d.body())
			s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))

			m := s.draftText(t)
			m.head = slices.Concat(form(len(m.groupID)), m.senderHead()[1:])
			s.refuseMessage(t, ErrMalformed, "private message", m.encode(t))

			m = s.draftText(t)
			m.content = slices.Concat(form(4), []byte("text"))
			s.refuseMessage(t, ErrMalformed, "content of a private message", m.encode(t))

			p := s.newcomer.draftPack(t)
			leaf := p.leaf.unsigned() // ends with an empty list of extensions
			p.rawLeaf = p.leaf.sign(t, slices.Concat(leaf[:len(leaf)-1], form(0)))
			s.refuseMalformedPack(t, p.encode(t))

			w := g.draft(t)
			w.rawContext = slices.Concat(w.encodeContext()[:4], form(len(w.context.groupID)), w.encodeContext()[5:])
			g.refuseJoin(t, ErrMalformed, "group info", w.encode(t))

			w = g.draft(t)
			w.secrets = slices.Concat(form(hashSize), w.groupSecrets()[1:])
			g.refuseJoin(t, ErrMalformed, "group secrets", w.encode(t))
		})
	}
	s.goesOn(t)
	g.joins(t)
}

// lengthen makes the length of the last vector, of n bytes, one too large.
func lengthen(message []byte, n int) []byte {
	b := bytes.Clone(message)
	appendLength(b[:len(b)-vecSize(n)], n+1)
	return b
}

func refuseLongVectors(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	s.refuseCommit(t, ErrMalformed, "public message", lengthen(s.draftPath(t).encode(t), hashSize))
	m := s.draftText(t)
	m.padding = make([]byte, 20)
	message := m.encode(t)
	p, err := readPrivate(message)
	if err != nil {
		t.Fatal(err)
	}
	s.refuseMessage(t, ErrMalformed, "private message", lengthen(message, len(p.ciphertext)))

	pack := s.newcomer.draftPack(t).encode(t)
	k, err := parseKeyPackage(pack)
	if err != nil {
		t.Fatal(err)
	}
	s.refuseMalformedPack(t, lengthen(pack, len(k.signature)))

	w := g.draft(t)
	info := w.sealedInfo(t)
	g.refuseJoin(t, ErrMalformed, "welcome", lengthen(w.encodeWith(w.entry(t, info), info), len(info)))
	w.secrets = lengthen(append(appendVec(nil, w.joiner[:]), 0, 0), 0)
	g.refuseJoin(t, ErrMalformed, "group secrets", w.encode(t))
	w.secrets = nil
	list := w.tree.append(nil)
	w.list = lengthen(list, len(list)-4)
	if len(list)-4 < 1<<8 {
		t.Fatal("the tree is smaller than expected")
	}
	g.refuseJoin(t, ErrMalformed, "ratchet tree", w.encode(t))
	s.goesOn(t)
	g.joins(t)
}

// refuseOverruns: an element goes on behind the end of its list.
func refuseOverruns(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	t.Run("proposals", func(t *testing.T) {
		d := draftCommit(t, s.from, Change{Remove: []uint32{3}, Path: true}, nil)
		body := d.body()
		d.content = slices.Concat([]byte{body[0] - 1}, body[1:])
		s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))
	})
	t.Run("path", func(t *testing.T) {
		d := s.draftPath(t)
		var nodes []byte
		for _, n := range d.update.nodes {
			nodes = appendVec(nodes, n.encryptionKey)
			nodes = appendVec(nodes, []byte{9, 0}) // a ciphertext of nine bytes where there are none
		}
		d.content = appendVec(slices.Concat([]byte{0, 1}, d.update.leaf.raw), nodes)
		s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))
	})
	t.Run("capabilities", func(t *testing.T) {
		for i := range 5 {
			d := s.newcomer.draftPack(t)
			lists := [][]byte{{0, 1}, {0, byte(P256)}, {}, {}, {0, 1}}
			lists[i] = append(lists[i], 0x7f)
			for _, b := range lists {
				d.leaf.rawCaps = appendVec(d.leaf.rawCaps, b)
			}
			s.refuseMalformedPack(t, d.encode(t))
		}
	})
	t.Run("extensions", func(t *testing.T) {
		cut := []byte{4, 0xff, 0x01, 2, 'x'} // of two bytes, with one
		d := s.newcomer.draftPack(t)
		d.leaf.caps.extensions = []uint16{0xff01}
		leaf := d.leaf.unsigned()
		d.rawLeaf = d.leaf.sign(t, slices.Concat(leaf[:len(leaf)-1], cut))
		s.refuseMalformedPack(t, d.encode(t))

		d = s.newcomer.draftPack(t)
		d.leaf.caps.extensions = []uint16{0xff01}
		d.rawExtensions = cut
		s.refuseMalformedPack(t, d.encode(t))

		w := g.draft(t)
		w.extensionTail = cut[1:]
		g.refuseJoin(t, ErrMalformed, "group info", w.encode(t))
	})
	t.Run("unmerged leaves", func(t *testing.T) {
		w := g.draft(t)
		w.list = nodeList(w.tree, 1, []byte{1, nodeParent, 0, 0, 3, 0, 0, 0})
		g.refuseJoin(t, ErrMalformed, "ratchet tree", w.encode(t))
	})
	t.Run("welcome entries", func(t *testing.T) {
		w := g.draft(t)
		info := w.sealedInfo(t)
		entry := w.entry(t, info)
		g.refuseJoin(t, ErrMalformed, "welcome", w.encodeWith(append(entry, 1, 'x', 0, 5), info))
	})
	s.goesOn(t)
	g.joins(t)
}

// nodeList is a ratchet_tree with the encoding of one node replaced.
func nodeList(tree *tree, at int, instead []byte) []byte {
	var list []byte
	for i, n := range tree.nodes[:2*tree.size()-1] {
		switch {
		case i == at:
			list = append(list, instead...)
		case n.leaf != nil:
			list = append(append(list, 1, nodeLeaf), n.leaf.raw...)
		default:
			list = append(list, 0)
		}
	}
	return appendVec(nil, list)
}

func refuseTrailing(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	end := []byte{0}
	s.refuseCommit(t, ErrMalformed, "public message", append(s.draftPath(t).encode(t), end...))
	s.refuseMessage(t, ErrMalformed, "private message", append(s.draftText(t).encode(t), end...))
	m := s.draftText(t)
	m.tail = end
	s.refuseMessage(t, ErrDecrypt, "", m.encode(t))
	s.refuseAdding(t, ErrMalformed, "key package", append(s.newcomer.draftPack(t).encode(t), end...))
	g.refuseJoin(t, ErrMalformed, "welcome", append(g.draft(t).encode(t), end...))
	w := g.draft(t)
	w.secrets = append(w.groupSecrets(), end...)
	g.refuseJoin(t, ErrMalformed, "group secrets", w.encode(t))
	w = g.draft(t)
	w.info = append(w.groupInfo(t), end...)
	g.refuseJoin(t, ErrMalformed, "group info", w.encode(t))
	w = g.draft(t)
	w.list = append(w.tree.append(nil), end...)
	g.refuseJoin(t, ErrMalformed, "ratchet tree", w.encode(t))
	s.goesOn(t)
	g.joins(t)
}

func refusePresence(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	for _, presence := range []byte{2, 255} {
		d := s.draftPath(t)
		d.content = slices.Concat([]byte{0, presence}, d.body()[2:])
		s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))
		add := draftCommit(t, s.from, Change{Add: [][]byte{s.newcomer.draftPack(t).encode(t)}}, nil)
		body := add.body()
		add.content = append(body[:len(body)-1], presence)
		s.refuseCommit(t, ErrMalformed, "public message", add.encode(t))

		w := g.draft(t)
		w.secrets = append(appendVec(nil, w.joiner[:]), presence, 0)
		g.refuseJoin(t, ErrMalformed, "group secrets", w.encode(t))
		w = g.draft(t)
		w.list = nodeList(w.tree, 1, []byte{presence})
		g.refuseJoin(t, ErrMalformed, "ratchet tree", w.encode(t))
		w.list = nodeList(w.tree, 0, append([]byte{presence, nodeLeaf}, w.tree.leaf(0).raw...))
		g.refuseJoin(t, ErrMalformed, "ratchet tree", w.encode(t))
	}
	s.goesOn(t)
	g.joins(t)
}

func refuseUnknown(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	t.Run("node", func(t *testing.T) {
		for _, kind := range []byte{0, 3} {
			w := g.draft(t)
			w.list = nodeList(w.tree, 0, append([]byte{1, kind}, w.tree.leaf(0).raw...))
			g.refuseJoin(t, ErrMalformed, "ratchet tree", w.encode(t))
		}
	})
	t.Run("leaf source", func(t *testing.T) {
		for _, source := range []byte{0, 4} {
			p := s.newcomer.draftPack(t)
			p.leaf.source = source
			s.refuseMalformedPack(t, p.encode(t))
		}
	})
	t.Run("sender", func(t *testing.T) {
		for _, kind := range []byte{0, 5} {
			d := s.draftPath(t)
			d.raw = slices.Concat(d.head(), d.body())
			d.raw[1+len(d.groupID)+8] = kind
			s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))
		}
	})
	t.Run("content", func(t *testing.T) {
		for _, kind := range []byte{0, 4} {
			d := s.draftPath(t)
			d.kind = kind
			s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))
			m := s.draftText(t)
			m.kind = kind
			s.refuseMessage(t, ErrUnsupported, "handshake in a private message", m.encode(t))
		}
	})
	t.Run("proposal or reference", func(t *testing.T) {
		for _, kind := range []byte{0, 3} {
			d := draftCommit(t, s.from, Change{Remove: []uint32{3}, Path: true}, nil)
			d.content = d.body()
			d.content[1] = kind
			s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))
		}
	})
	t.Run("credential", func(t *testing.T) {
		for _, kind := range []uint16{0, 3, 0x0a0a} {
			p := s.newcomer.draftPack(t)
			p.leaf.credType = kind
			p.leaf.caps.credentials = append(p.leaf.caps.credentials, kind)
			s.refuseMalformedPack(t, p.encode(t))
		}
	})
	t.Run("wire format", func(t *testing.T) {
		for _, format := range []uint16{0, formatGroupInfo, 6, 0xffff} {
			d, m, p, w := s.draftPath(t), s.draftText(t), s.newcomer.draftPack(t), g.draft(t)
			d.format, m.format, p.format, w.format = format, format, format, format
			s.refuseCommit(t, ErrUnsupported, "wire format", d.encode(t))
			s.refuseMessage(t, ErrUnsupported, "wire format", m.encode(t))
			s.refuseAdding(t, ErrUnsupported, "wire format", p.encode(t))
			g.refuseJoin(t, ErrUnsupported, "wire format", w.encode(t))
		}
	})
	s.goesOn(t)
	g.joins(t)
}

// refuseTwins: RFC 9420 section 13.4.
func refuseTwins(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	twice := []extension{{0xff01, nil}, {0xff02, nil}, {0xff01, []byte("x")}}
	p := s.newcomer.draftPack(t)
	p.leaf.caps.extensions = []uint16{0xff01, 0xff02}
	p.leaf.extensions = twice
	s.refuseMalformedPack(t, p.encode(t))
	p.leaf.extensions, p.extensions = nil, twice
	s.refuseMalformedPack(t, p.encode(t))
	w := g.draft(t)
	w.extensions = twice
	g.refuseJoin(t, ErrMalformed, "group info", w.encode(t))
	w.extensions = []extension{{extRatchetTree, w.tree.append(nil)}}
	g.refuseJoin(t, ErrMalformed, "group info", w.encode(t))

	p.extensions = twice[:2] // which are no fault
	if _, _, err := ParseKeyPackage(p.encode(t)); err != nil {
		t.Error(err)
	}
	w.extensions = twice[:2]
	if _, err := Join(g.Config, g.pack.pending, w.encode(t)); err != nil {
		t.Error(err)
	}
	s.goesOn(t)
}
