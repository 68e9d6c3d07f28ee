package mls

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
)

// stateVersion is the first byte of a saved group.
const stateVersion = 1

// Save appends the group's state to dst, with all secrets in clear: the caller
// encrypts it. It is the same for the same state. What was received before
// cannot be received again after Load; what was sent must not be sent again
// with an older state, since that would use keys twice: [Group.Skip] passes over
// what may have been.
func (g *Group) Save(dst []byte) ([]byte, error) {
	if g.now == nil {
		return nil, errWiped
	}
	start := len(dst)
	dst = append(dst, stateVersion)
	dst = binary.BigEndian.AppendUint32(dst, g.self)
	dst = g.now.append(dst)
	dst = append(dst, byte(len(g.past)))
	for _, p := range g.past {
		dst = p.append(dst)
	}
	sum := sha256.Sum256(dst[start:])
	return append(dst, sum[:]...), nil
}

// Load restores a group that Save has saved. c must have the signer and suite of
// the group. The checksum finds accidents only: the caller's encryption must
// authenticate.
func Load(b []byte, c Config) (*Group, error) {
	s, err := c.check()
	if err != nil {
		return nil, err
	}
	n := len(b) - sha256.Size
	if n < 0 || b[0] != stateVersion {
		return nil, fail(ErrMalformed, "saved group of another version")
	}
	if sum := sha256.Sum256(b[:n]); !bytes.Equal(sum[:], b[n:]) {
		return nil, fail(ErrMalformed, "saved group is damaged")
	}
	r := &reader{b: bytes.Clone(b[1:n])}
	g := &Group{config: c, suite: s, self: r.u32()}
	if g.now, err = r.epoch(s); err != nil {
		return nil, err
	}
	for range int(r.u8()) {
		p := r.pastEpoch(s)
		if len(g.past) == PastEpochs || p == nil {
			r.fail()
			break
		}
		g.past = append(g.past, p)
	}
	own := g.now.tree.leaf(g.self)
	switch {
	case !r.done() || own == nil || g.now.keys[2*g.self] == nil:
		return nil, fail(ErrMalformed, "saved group")
	case !bytes.Equal(own.signatureKey, c.Signer.Public()):
		return nil, fail(ErrUnsupported, "saved group of another signer")
	}
	return g, nil
}

func (e *epoch) append(dst []byte) []byte {
	dst = appendVec(dst, e.raw)
	dst = e.tree.append(dst)
	e.tree.members(func(_ uint32, l *leafNode) { dst = appendVec(dst, []byte(l.subject)) })
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(e.keys)))
	for _, x := range slices.Sorted(maps.Keys(e.keys)) {
		dst = appendVec(binary.BigEndian.AppendUint32(dst, x), e.keys[x])
	}
	dst = append(dst, e.interim[:]...)
	for _, s := range e.secrets.kept() {
		dst = append(dst, s[:]...)
	}
	return appendVec(dst, e.messages.append(nil))
}

// kept are the secrets that live as long as the epoch.
func (s *epochSecrets) kept() []*secret {
	return []*secret{&s.senderData, &s.membership, &s.init, &s.authenticator}
}

func (r *reader) secret() (s secret) {
	copy(s[:], r.take(hashSize))
	return s
}

func (r *reader) epoch(s *suite) (*epoch, error) {
	e := &epoch{raw: r.vec(maxVector), keys: privateKeys{}}
	context := &reader{b: e.raw}
	e.context = readGroupContext(context)
	list := &reader{b: r.vecWithLength()}
	t, err := list.tree(s)
	switch {
	case err != nil || r.bad || !context.done() || !list.done():
		return nil, fail(ErrMalformed, "saved group")
	case e.context.suite != s.id:
		return nil, fail(ErrUnsupported, "saved group of another suite")
	}
	e.tree = t
	t.members(func(_ uint32, l *leafNode) {
		if e := l.check(s); e != nil {
			err = e
		}
		l.subject = string(r.vec(maxVector))
	})
	for range int(r.u16()) {
		x, key := r.u32(), r.vec(hashSize)
		if _, err := s.parsePrivate(key); err != nil || int(x) >= len(t.nodes) || t.nodes[x].blank() {
			r.fail()
			break
		}
		e.keys[x] = bytes.Clone(key)
	}
	e.interim = r.secret()
	for _, s := range e.secrets.kept() {
		*s = r.secret()
	}
	e.messages = readSecretTree(r.sub(maxVector), t.width())
	if err != nil || r.bad || e.messages == nil || t.validateUnmerged() != nil {
		return nil, fail(ErrMalformed, "saved group")
	}
	return e, nil
}

// vecWithLength reads a vector and returns it with its length in front.
func (r *reader) vecWithLength() []byte {
	start := r.b
	r.vec(maxVector)
	return start[:len(start)-len(r.b)]
}

func (p *pastEpoch) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, p.number)
	dst = appendVec(dst, p.raw)
	dst = append(dst, p.senderData[:]...)
	dst = binary.BigEndian.AppendUint32(dst, p.messages.leaves)
	dst = appendVec(dst, p.messages.append(nil))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(p.members)))
	for _, i := range slices.Sorted(maps.Keys(p.members)) {
		m := p.members[i]
		dst = binary.BigEndian.AppendUint32(dst, i)
		dst = appendVec(appendVec(dst, m.credential), m.signatureKey)
	}
	return dst
}

func (r *reader) pastEpoch(s *suite) *pastEpoch {
	p := &pastEpoch{number: r.u64(), raw: r.vec(maxVector), senderData: r.secret(), members: map[uint32]pastMember{}}
	width := r.u32()
	messages := r.sub(maxVector)
	if width == 0 || width > maxLeaves || width&(width-1) != 0 {
		return nil
	}
	if p.messages = readSecretTree(messages, width); p.messages == nil {
		return nil
	}
	for range int(r.u16()) {
		i, m := r.u32(), pastMember{credential: r.vec(maxCredential), signatureKey: r.vec(maxVector)}
		var err error
		if m.verifier, err = s.parseVerifyKey(m.signatureKey); err != nil {
			return nil
		}
		p.members[i] = m
	}
	return p
}
