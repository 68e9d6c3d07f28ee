package mls

import (
	"bytes"
	"crypto/rand"
	"math"
	"slices"
	"testing"
)

var refusalsFraming = append([]refusal{
	{17, "other protocol version", refuseVersions},
	{18, "other group", func(t *testing.T) {
		s := newScene(t, P256)
		for _, id := range [][]byte{flip(s.to.ID(), 0), s.to.ID()[1:], append(s.to.ID(), 0)} {
			d, m := s.draftPath(t), s.draftText(t)
			d.groupID, m.groupID = id, id
			s.refuseCommit(t, ErrWrongGroup, "", d.encode(t))
			s.refuseMessage(t, ErrWrongGroup, "", m.encode(t))
		}
		s.goesOn(t)
	}},
	{19, "commit of another epoch", func(t *testing.T) {
		s := newScene(t, P256)
		for _, epoch := range []uint64{0, s.to.Epoch() - 1, s.to.Epoch() + 1, math.MaxUint64} {
			d := s.draftPath(t)
			d.epoch = epoch
			s.refuseCommit(t, ErrWrongEpoch, "commit", d.encode(t))
		}
		for _, epoch := range []uint64{s.to.Epoch() + 1, math.MaxUint64} {
			m := s.draftText(t)
			m.epoch = epoch
			s.refuseMessage(t, ErrWrongEpoch, "message", m.encode(t))
		}
		s.goesOn(t)
	}},
	{20, "application data in a public message", func(t *testing.T) {
		s := newScene(t, P256)
		d := s.draftPath(t)
		d.kind, d.content = contentApp, appendVec(nil, []byte("text"))
		message := d.encode(t)
		s.refuseCommit(t, ErrUnsupported, "application data in a public message", message)
		s.refuseMessage(t, ErrUnsupported, "wire format", message)
		s.goesOn(t)
	}},
	{21, "handshake in a private message", refusePrivateHandshake},
	{22, "membership tag", refuseMembershipTags},
	{23, "sender that is no member", refuseSenderTypes},
	{24, "sender leaf blank or out of range", func(t *testing.T) {
		s := newScene(t, P256)
		s.remove(t, 3)
		for _, sender := range []uint32{3, 4, 1 << 30, 1 << 31, math.MaxUint32} {
			d := s.draftPath(t)
			d.sender = sender
			s.refuseCommit(t, ErrInvalidCommit, "sender is nobody", d.encode(t))
		}
		s.goesOn(t)
	}},
	{25, "wrong signature", func(t *testing.T) {
		forSuites(t, func(t *testing.T, suite Suite) {
			s, g := newScene(t, suite), newGuest(t, suite)
			refuseSignatures(t, s, g, func(sig []byte) []byte { return flip(sig, len(sig)/2) })
			s.goesOn(t)
			g.joins(t)
		})
	}},
	{26, "signed for another wire format", func(t *testing.T) {
		s := newScene(t, P256)
		d, m := s.draftPath(t), s.draftText(t)
		d.signFormat, m.signFormat = formatPrivate, formatPublic
		s.refuseCommit(t, ErrSignature, "message", d.encode(t))
		s.refuseMessage(t, ErrSignature, "message", m.encode(t))
		s.goesOn(t)
	}},
	{27, "signed with another group context", func(t *testing.T) {
		s := newScene(t, P256)
		before := twin(t, s.from)
		s.goesOn(t)
		for _, context := range [][]byte{before.now.raw, flip(s.to.now.raw, -2), {}} {
			d, m := s.draftPath(t), s.draftText(t)
			d.signed, m.signed = context, context
			s.refuseCommit(t, ErrSignature, "message", d.encode(t))
			s.refuseMessage(t, ErrSignature, "message", m.encode(t))
		}
		s.goesOn(t)
	}},
	{28, "commit without confirmation tag", func(t *testing.T) {
		s := newScene(t, P256)
		d := s.draftPath(t)
		d.tag = []byte{}
		s.refuseCommit(t, ErrMalformed, "commit without confirmation tag", d.encode(t))
		d.noTag = true
		s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))
		s.goesOn(t)
	}},
	{29, "confirmation tag that does not belong there", func(t *testing.T) {
		s := newScene(t, P256)
		d := s.draftPath(t)
		d.kind, d.content = contentProposal, (&proposal{kind: proposalRemove, remove: 3}).append(nil)
		s.refuseCommit(t, ErrUnsupported, "proposal outside a commit", d.encode(t))
		d.tag = make([]byte, hashSize)
		s.refuseCommit(t, ErrMalformed, "public message", d.encode(t))
		m := s.draftText(t)
		for _, size := range []int{1, hashSize} {
			m.tag = make([]byte, size)
			s.refuseMessage(t, ErrMalformed, "content of a private message", m.encode(t))
		}
		s.goesOn(t)
	}},
}, refusalsPrivate...)

// remove lets from remove the last member.
func (s *scene) remove(t testing.TB, leaf uint32) {
	t.Helper()
	commit, _, err := s.from.Commit(Change{Remove: []uint32{leaf}}, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	last := len(s.groups) - 1
	s.groups, s.people = s.groups[:last], s.people[:last]
	s.process(t, 2, commit)
	s.agree(t)
}

func refuseVersions(t *testing.T) {
	s, g := newScene(t, P256), newGuest(t, P256)
	for _, version := range []uint16{0, 2, 0x0100} {
		d, m, p, w := s.draftPath(t), s.draftText(t), s.newcomer.draftPack(t), g.draft(t)
		d.version, m.version, p.version, w.version = version, version, version, version
		s.refuseCommit(t, ErrUnsupported, "protocol version", d.encode(t))
		s.refuseMessage(t, ErrUnsupported, "protocol version", m.encode(t))
		s.refuseAdding(t, ErrUnsupported, "protocol version", p.encode(t))
		g.refuseJoin(t, ErrUnsupported, "protocol version", w.encode(t))
		w = g.draft(t)
		w.contextVersion = version
		g.refuseJoin(t, ErrMalformed, "group info", w.encode(t))
	}
	for n := range headerSize {
		s.refuseCommit(t, ErrMalformed, "message is too short", header(version10, formatPublic)[:n])
		s.refuseMessage(t, ErrMalformed, "message is too short", header(version10, formatPrivate)[:n])
		s.refuseAdding(t, ErrMalformed, "message is too short", header(version10, formatKey)[:n])
		g.refuseJoin(t, ErrMalformed, "message is too short", header(version10, formatWelcome)[:n])
	}
	s.goesOn(t)
	g.joins(t)
}

// refusePrivateHandshake: RFC 9420 allows it, SLIM does not know it.
func refusePrivateHandshake(t *testing.T) {
	s := newScene(t, P256)
	d := s.draftPath(t)
	_, next := d.finish(t)
	for _, kind := range []ratchetKind{handshakeRatchet, applicationRatchet} {
		key, err := twin(t, s.from).now.messages.nextKind(kind, s.from.self)
		if err != nil {
			t.Fatal(err)
		}
		for _, content := range []struct {
			kind      uint8
			body, tag []byte
		}{
			{contentCommit, d.body(), next.tag[:]},
			{contentProposal, (&proposal{kind: proposalRemove, remove: 3}).append(nil), nil},
		} {
			m := s.draftText(t)
			m.key, m.kind, m.content, m.tag = key, content.kind, content.body, content.tag
			message := m.encode(t)
			s.refuseMessage(t, ErrUnsupported, "handshake in a private message", message)
			s.refuseCommit(t, ErrUnsupported, "wire format", message)
		}
	}
	s.goesOn(t)
}

func refuseMembershipTags(t *testing.T) {
	s := newScene(t, P256)
	before := twin(t, s.from)
	s.goesOn(t)
	whole := s.draftPath(t).encode(t)
	cut := whole[:len(whole)-vecSize(hashSize)]
	s.refuseCommit(t, ErrMalformed, "public message", cut)
	tag := whole[len(whole)-hashSize:]
	for _, wrong := range [][]byte{nil, flip(tag, 0), flip(tag, -1), tag[:hashSize-1], append(bytes.Clone(tag), 0), make([]byte, hashSize)} {
		s.refuseCommit(t, ErrSignature, "membership tag", appendVec(bytes.Clone(cut), wrong))
	}
	for name, bend := range map[string]func(d *commitDraft){
		"key of the epoch before":     func(d *commitDraft) { d.membershipKey = &before.now.secrets.membership },
		"context of the epoch before": func(d *commitDraft) { d.membershipContext = before.now.raw },
		"both": func(d *commitDraft) {
			d.membershipKey, d.membershipContext = &before.now.secrets.membership, before.now.raw
		},
		"another key of the epoch": func(d *commitDraft) { d.membershipKey = &s.from.now.secrets.senderData },
		"no key":                   func(d *commitDraft) { d.membershipKey = &secret{} },
	} {
		t.Run(name, func(t *testing.T) {
			d := s.draftPath(t)
			bend(d)
			s.refuseCommit(t, ErrSignature, "membership tag", d.encode(t))
		})
	}
	s.goesOn(t)
}

func refuseSenderTypes(t *testing.T) {
	s := newScene(t, P256)
	for _, kind := range []uint8{senderExternal, senderNewProposal, senderNewCommit} {
		for _, content := range []uint8{contentCommit, contentProposal} {
			d := s.draftPath(t)
			d.senderType, d.kind = kind, content
			if content == contentProposal {
				d.content = (&proposal{kind: proposalRemove, remove: 3}).append(nil)
			}
			message := d.encode(t)
			s.refuseCommit(t, ErrUnsupported, "sender is not a member", message)
			// These senders have no membership tag (RFC 9420 section 6.2).
			s.refuseCommit(t, ErrUnsupported, "sender is not a member", slices.Clip(message[:len(message)-vecSize(hashSize)]))
		}
	}
	s.goesOn(t)
}
