package mls

import (
	"bytes"
	"encoding/binary"
	"io"
)

// maxScratch is how much of the signing buffer is kept between messages.
const maxScratch = 128 << 10

// Protect encrypts an application message for the group and appends it, as
// MLSMessage, to dst. aad is authenticated and travels in clear, at most 64
// KiB. The length is padded exactly as mls-rs does. In epoch 0, where nobody
// could read it, it is refused.
func (g *Group) Protect(dst, plaintext, aad []byte, rnd io.Reader) ([]byte, error) {
	switch {
	case g.now == nil:
		return nil, errWiped
	case g.now.context.epoch == 0:
		return nil, fail(ErrWrongEpoch, "nobody else is in the group")
	case len(aad) > maxAAD:
		return nil, fail(ErrMalformed, "authenticated data is too long")
	case len(plaintext) > maxPlaintext:
		return nil, fail(ErrMalformed, "message is too long")
	}
	o := outgoing{
		groupID: g.now.context.groupID, epoch: g.now.context.epoch, kind: contentApp,
		aad: aad, sender: g.self,
	}
	if _, err := io.ReadFull(rnd, o.guard[:]); err != nil {
		return nil, fail(ErrUnsupported, "no randomness")
	}
	var length [4]byte
	o.content[0], o.content[1] = appendLength(length[:0], len(plaintext)), plaintext
	var err error
	o.signature, err = g.config.Signer.Sign(g.applicationTBS(g.now.raw, g.self, o.epoch, aad, plaintext))
	g.release()
	if err != nil {
		return nil, &Error{Kind: ErrUnsupported, Reason: "signer failed", Cause: err}
	}
	if o.key, err = g.now.messages.next(g.self); err != nil {
		return nil, err
	}
	return o.append(dst, &g.now.secrets.senderData), nil
}

// applicationTBS is what the sender of a PrivateMessage signs (RFC 9420 section
// 6.1), built in the scratch buffer: release must follow.
func (g *Group) applicationTBS(context []byte, sender uint32, number uint64, aad, data []byte) []byte {
	head := tbsHead(formatPrivate)
	front := make([]byte, 0, 512)
	front = append(front, head[:]...)
	front = appendVec(front, g.now.context.groupID)
	front = binary.BigEndian.AppendUint64(front, number)
	front = append(front, senderMember)
	front = binary.BigEndian.AppendUint32(front, sender)
	front = appendLength(front, len(aad))
	var middle [5]byte
	middle[0] = contentApp
	g.scratch = signContent(g.scratch[:0], "FramedContentTBS", front, aad, appendLength(middle[:1], len(data)), data, context)
	return g.scratch
}

// release overwrites the scratch buffer, which held a plaintext.
func (g *Group) release() {
	clear(g.scratch)
	g.scratch = g.scratch[:0]
	if cap(g.scratch) > maxScratch {
		g.scratch = nil
	}
}

// receiving is the epoch of a message.
type receiving struct {
	raw        []byte
	senderData *secret
	messages   *secretTree
}

// Unprotect decrypts an application message. A message that fails in whatever
// way does not spoil a genuine one of the same sender and generation: keys are
// used up only by a message that is good in every respect.
//
// Messages of past epochs are accepted while those are remembered, from senders
// that are still in the group.
func (g *Group) Unprotect(message []byte) (Message, error) {
	if g.now == nil {
		return Message{}, errWiped
	}
	p, err := readPrivate(message)
	switch {
	case err != nil:
		return Message{}, err
	case p.kind != contentApp:
		return Message{}, fail(ErrUnsupported, "handshake in a private message")
	case !bytes.Equal(p.groupID, g.now.context.groupID):
		return Message{}, fail(ErrWrongGroup, "")
	}
	in, err := g.epochOf(p.epoch)
	if err != nil {
		return Message{}, err
	}
	leaf, generation, guard, ok := p.openSender(in.senderData)
	if !ok || leaf == g.self {
		return Message{}, errDecrypt
	}
	sender, verifier, err := g.senderOf(p.epoch, leaf)
	if err != nil {
		return Message{}, err
	}
	key, step, err := in.messages.peek(leaf, generation)
	if err != nil {
		return Message{}, err
	}
	used := false
	defer func() {
		if !used {
			step.wipe()
		}
	}()
	key.guard(guard)
	plain, ok := aeadOpen(nil, &key.key, &key.nonce, p.ciphertext, p.contentAAD)
	if !ok {
		return Message{}, errDecrypt
	}
	r := &reader{b: plain}
	data, signature := r.vec(maxMessage), r.vec(maxMessage)
	if r.bad || !onlyZeros(r.b) {
		return Message{}, fail(ErrMalformed, "content of a private message")
	}
	good := verifier.verify(g.applicationTBS(in.raw, leaf, p.epoch, p.aad, data), signature)
	g.release()
	if !good {
		return Message{}, fail(ErrSignature, "message")
	}
	in.messages.commit(step)
	used = true
	return Message{Plaintext: data, AAD: bytes.Clone(p.aad), Sender: sender, Epoch: p.epoch, Generation: generation}, nil
}

// errDecrypt is the same for all causes.
var errDecrypt = fail(ErrDecrypt, "")

func (g *Group) epochOf(number uint64) (receiving, error) {
	if number == g.now.context.epoch {
		return receiving{g.now.raw, &g.now.secrets.senderData, g.now.messages}, nil
	}
	for _, p := range g.past {
		if p.number == number {
			return receiving{p.raw, &p.senderData, p.messages}, nil
		}
	}
	return receiving{}, fail(ErrWrongEpoch, "message")
}

// senderOf finds the sender as of the message's epoch. Somebody who has left
// since, or whose leaf has another key or subject, has no say any more: mls-rs
// 0.54 accepts such messages for ever.
func (g *Group) senderOf(number uint64, leaf uint32) (Member, *verifyKey, error) {
	l := g.now.tree.leaf(leaf)
	if number == g.now.context.epoch {
		if l == nil {
			return Member{}, nil, errDecrypt
		}
		return l.member(leaf), l.verifier, nil
	}
	for _, p := range g.past {
		if p.number != number {
			continue
		}
		m, ok := p.members[leaf]
		switch {
		case !ok:
			return Member{}, nil, errDecrypt
		case l == nil || !bytes.Equal(l.signatureKey, m.signatureKey):
			return Member{}, nil, fail(ErrWrongEpoch, "sender has left since")
		}
		sender := Member{Leaf: leaf, Credential: m.credential, SignatureKey: m.signatureKey}
		if !bytes.Equal(l.credential, m.credential) {
			// A key can have more than one owner: the old one must not be
			// heard through the new one.
			subject, err := subjectOf(g.config, sender)
			switch {
			case err != nil:
				return Member{}, nil, err
			case subject != l.subject:
				return Member{}, nil, fail(ErrWrongEpoch, "sender has left since")
			}
		}
		return sender, m.verifier, nil
	}
	return Member{}, nil, errDecrypt
}
