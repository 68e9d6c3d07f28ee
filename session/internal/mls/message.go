package mls

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"slices"

	"github.com/thomas-vilte/mls-go/ciphersuite"
	"github.com/thomas-vilte/mls-go/framing"
	"github.com/thomas-vilte/mls-go/group"
)

// Protect encrypts an application message for the group and appends it, as
// MLSMessage, to dst. aad is authenticated and travels in clear. The length is
// padded exactly as mls-rs does. Randomness is the runtime's, not rnd's.
func (g *Group) Protect(dst, plaintext, aad []byte, _ io.Reader) ([]byte, error) {
	if err := g.alive(); err != nil {
		return nil, err
	}
	e := g.now
	switch {
	case e.number == 0:
		return nil, fail(ErrWrongEpoch, "nobody to send to")
	case len(aad) > maxAAD || len(plaintext) > maxMessage/2:
		return nil, fail(ErrUnsupported, "message is too long")
	}
	ac := &framing.AuthenticatedContent{
		WireFormat: framing.WireFormatPrivateMessage,
		Content: framing.FramedContent{
			GroupID:           e.id,
			Epoch:             e.number,
			Sender:            framing.Sender{Type: framing.SenderTypeMember, LeafIndex: e.self},
			AuthenticatedData: aad,
			Body:              framing.ApplicationData{Data: plaintext},
		},
		GroupContext: e.context,
	}
	sig, err := signLabelled(g.cfg.Signer, "FramedContentTBS", ac.MarshalTBS())
	if err != nil {
		return nil, err
	}
	ac.Auth.Signature = ciphersuite.NewSignature(sig)
	if err := e.reserve(1); err != nil {
		return nil, err
	}
	var out *framing.PrivateMessage
	err = guard(ErrUnsupported, "encryption", func() error {
		out, err = framing.Encrypt(framing.EncryptParams{
			AuthContent:     ac,
			SenderLeafIndex: e.self,
			CipherSuite:     suite,
			// The library pads to a multiple: of the wanted size itself.
			PaddingSize:      paddedSize(vecSize(len(plaintext)) + vecSize(len(sig))),
			SenderDataSecret: e.lib.EpochSecrets().SenderDataSecret,
			SecretTree:       e.lib.SecretTree(),
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	e.used++
	return appendPrivate(dst, out), nil
}

// appendPrivate encodes a PrivateMessage as MLSMessage.
func appendPrivate(dst []byte, m *framing.PrivateMessage) []byte {
	dst = slices.Grow(dst, headerSize+9+len(m.GroupID)+len(m.AuthenticatedData)+len(m.EncryptedSenderData)+len(m.Ciphertext)+16)
	dst = binary.BigEndian.AppendUint16(dst, version10)
	dst = binary.BigEndian.AppendUint16(dst, formatPrivate)
	dst = appendVec(dst, m.GroupID)
	dst = binary.BigEndian.AppendUint64(dst, m.Epoch)
	dst = append(dst, byte(m.ContentType))
	dst = appendVec(dst, m.AuthenticatedData)
	dst = appendVec(dst, m.EncryptedSenderData)
	return appendVec(dst, m.Ciphertext)
}

// paddedSize is mls-rs's step function: lengths must not tell implementations
// apart (source: awslabs/mls-rs, padding mode "step function").
func paddedSize(n int) int {
	power := bits.Len(uint(n)) // the next power of two of n+1 is 1<<power
	block := 1 << (max(power, 8) - 3)
	return (n | (block - 1)) + 1
}

// Unprotect decrypts an application message. A message that fails in whatever
// way does not spoil a genuine one of the same sender, unless a member signed
// it wrongly.
func (g *Group) Unprotect(msg []byte) (Message, error) {
	if err := g.alive(); err != nil {
		return Message{}, err
	}
	r, err := open(msg, formatPrivate)
	if err != nil {
		return Message{}, err
	}
	p := r.private()
	if !r.done() {
		return Message{}, fail(ErrMalformed, "private message")
	}
	if p.content != contentApp {
		return Message{}, fail(ErrUnsupported, "content is not application data")
	}
	if !bytes.Equal(p.groupID, g.now.id) {
		return Message{}, fail(ErrWrongGroup, "")
	}
	e := g.epochOf(p.epoch)
	if e == nil {
		return Message{}, fail(ErrWrongEpoch, "")
	}
	return g.decrypt(e, p)
}

func (g *Group) epochOf(number uint64) *epoch {
	if number == g.now.number {
		return g.now
	}
	for _, e := range g.past {
		if e.number == number {
			return e
		}
	}
	return nil
}

func (g *Group) decrypt(e *epoch, p wirePrivate) (Message, error) {
	sender, generation, err := e.senderData(p)
	if err != nil {
		return Message{}, err
	}
	from, ok := e.member(sender)
	if !ok || sender == e.self || !g.stillMember(from) {
		return Message{}, fail(ErrDecrypt, "")
	}
	w := e.windows[sender]
	if w == nil {
		w = &window{}
	}
	if err := w.check(generation); err != nil {
		return Message{}, err
	}
	steps := int(max(0, int64(generation)-int64(w.next)+1)) // of the ratchet
	if err := e.reserve(steps); err != nil {
		return Message{}, err
	}
	plain, err := e.openContent(p)
	if err != nil {
		return Message{}, err
	}
	w.accept(generation)
	e.windows[sender] = w
	e.used += steps
	return Message{
		Plaintext: plain, AAD: slices.Clone(p.aad), Sender: from, Epoch: e.number, Generation: generation,
	}, nil
}

// stillMember refuses what a member sends, or has sent, in an old epoch after
// its removal: it knows that epoch's keys for ever.
func (g *Group) stillMember(from Member) bool {
	m, ok := g.now.member(from.Leaf)
	return ok && bytes.Equal(m.SignatureKey, from.SignatureKey)
}

// senderData decrypts who sent a message, and which of its messages it is
// (RFC 9420 section 6.3.2). The library would derive any number of keys to
// reach a generation, so it is looked at first.
func (e *epoch) senderData(p wirePrivate) (leaf, generation uint32, err error) {
	aad := appendVec(nil, p.groupID)
	aad = binary.BigEndian.AppendUint64(aad, p.epoch)
	aad = append(aad, p.content)
	sample := p.ciphertext[:min(len(p.ciphertext), 32)]
	var plain []byte
	err = guard(ErrDecrypt, "", func() error {
		secret := e.lib.EpochSecrets().SenderDataSecret
		key, err := secret.KdfExpandLabel("key", sample, suite.AEADKeyLength())
		if err != nil {
			return err
		}
		nonce, err := secret.KdfExpandLabel("nonce", sample, suite.AEADNonceLength())
		if err != nil {
			return err
		}
		plain, err = ciphersuite.DecryptWithCipherSuite(key.AsSlice(), nonce.AsSlice(), p.senderData, aad, suite)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	r := &reader{b: plain}
	leaf, generation = r.u32(), r.u32()
	r.take(4) // reuse guard
	if !r.done() {
		return 0, 0, fail(ErrDecrypt, "")
	}
	return leaf, generation, nil
}

func (e *epoch) openContent(p wirePrivate) (plain []byte, err error) {
	badSignature := false
	err = guard(ErrDecrypt, "", func() error {
		var err error
		plain, _, _, err = e.lib.ReceiveApplicationMessage(&framing.PrivateMessage{
			GroupID:             p.groupID,
			Epoch:               p.epoch,
			ContentType:         framing.ContentTypeApplication,
			AuthenticatedData:   p.aad,
			EncryptedSenderData: p.senderData,
			Ciphertext:          p.ciphertext,
		})
		var wrong *group.ErrInvalidSignature
		badSignature = errors.As(err, &wrong)
		return err
	})
	if badSignature {
		return nil, fail(ErrSignature, "application message")
	}
	return plain, err
}
