package mls

import (
	"crypto/hmac"
	"encoding/binary"
	"math/bits"
	"slices"
)

func appendHeader(dst []byte, format uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(dst, version10), format)
}

// framed is a FramedContent with its authentication (RFC 9420 section 6).
type framed struct {
	format  uint16
	raw     []byte // the encoded FramedContent
	groupID []byte
	epoch   uint64
	// sender is a leaf if the sender is a member.
	senderType uint8
	sender     uint32
	aad        []byte
	kind       uint8
	proposal   *proposal
	commit     *commit

	signature, confirmation, membership []byte
}

// head reads a FramedContent up to its content.
func (r *reader) head(format uint16) *framed {
	f := &framed{format: format, groupID: r.vec(maxGroupID), epoch: r.u64()}
	switch f.senderType = r.u8(); f.senderType {
	case senderMember, senderExternal:
		f.sender = r.u32()
	case senderNewProposal, senderNewCommit:
	default:
		r.fail()
	}
	f.aad = r.vec(maxAAD)
	f.kind = r.u8()
	return f
}

// handshake reads the content of a proposal or commit.
func (r *reader) handshake(f *framed) {
	switch f.kind {
	case contentProposal:
		f.proposal = r.proposal()
	case contentCommit:
		f.commit = r.commit()
	default:
		r.fail()
	}
}

// auth reads a FramedContentAuthData.
func (r *reader) auth(f *framed) {
	f.signature = r.vec(maxMessage)
	if f.kind == contentCommit {
		f.confirmation = r.vec(maxMessage)
	}
}

// readPublic reads a PublicMessage of a member with a proposal or commit.
func readPublic(msg []byte) (*framed, error) {
	r, err := open(msg, formatPublic)
	if err != nil {
		return nil, err
	}
	start := r.b
	f := r.head(formatPublic)
	switch {
	case r.bad:
		return nil, fail(ErrMalformed, "public message")
	case f.senderType != senderMember:
		return nil, fail(ErrUnsupported, "sender is not a member")
	case f.kind == contentApp:
		return nil, fail(ErrUnsupported, "application data in a public message")
	}
	r.handshake(f)
	f.raw = start[:len(start)-len(r.b)]
	r.auth(f)
	f.membership = r.vec(maxMessage)
	switch {
	case r.unsupported:
		return nil, fail(ErrUnsupported, "proposal type")
	case !r.done():
		return nil, fail(ErrMalformed, "public message")
	}
	return f, nil
}

// tbsHead is the start of a FramedContentTBS.
func tbsHead(format uint16) [4]byte { return [4]byte{0, version10, byte(format >> 8), byte(format)} }

// signContent appends what the sender signs.
func (f *framed) signContent(dst, context []byte) []byte {
	head := tbsHead(f.format)
	return signContent(dst, "FramedContentTBS", head[:], f.raw, context)
}

// membershipTag is RFC 9420 section 6.2.
func (f *framed) membershipTag(key *secret, context []byte) [hashSize]byte {
	head := tbsHead(f.format)
	tags := appendVec(nil, f.signature)
	if f.kind == contentCommit {
		tags = appendVec(tags, f.confirmation)
	}
	return mac(key[:], head[:], f.raw, context, tags)
}

// verify checks the membership tag, then the signature.
func (f *framed) verify(key *secret, context []byte, verifier *verifyKey) error {
	tag := f.membershipTag(key, context)
	if !hmac.Equal(tag[:], f.membership) {
		return fail(ErrSignature, "membership tag")
	}
	if !verifier.verify(f.signContent(nil, context), f.signature) {
		return fail(ErrSignature, "message")
	}
	return nil
}

// transcriptInput is a ConfirmedTranscriptHashInput (RFC 9420 section 8.2).
func (f *framed) transcriptInput() []byte {
	in := binary.BigEndian.AppendUint16(nil, f.format)
	return appendVec(append(in, f.raw...), f.signature)
}

// appendPublic writes the PublicMessage.
func (f *framed) appendPublic(dst []byte, key *secret, context []byte) []byte {
	tag := f.membershipTag(key, context)
	dst = appendHeader(dst, formatPublic)
	dst = append(dst, f.raw...)
	dst = appendVec(dst, f.signature)
	if f.kind == contentCommit {
		dst = appendVec(dst, f.confirmation)
	}
	return appendVec(dst, tag[:])
}

// appendHead writes a FramedContent of a member up to its content.
func appendHead(dst, groupID []byte, epoch uint64, sender uint32, aad []byte, kind uint8) []byte {
	dst = appendVec(dst, groupID)
	dst = binary.BigEndian.AppendUint64(dst, epoch)
	dst = append(dst, senderMember)
	dst = binary.BigEndian.AppendUint32(dst, sender)
	return append(appendVec(dst, aad), kind)
}

// privateMessage is a PrivateMessage as read (RFC 9420 section 6.3).
type privateMessage struct {
	groupID    []byte
	epoch      uint64
	kind       uint8
	aad        []byte
	senderAAD  []byte // of the sender data
	contentAAD []byte // of the content
	senderData []byte
	ciphertext []byte
}

func readPrivate(msg []byte) (*privateMessage, error) {
	r, err := open(msg, formatPrivate)
	if err != nil {
		return nil, err
	}
	start := r.b
	p := &privateMessage{groupID: r.vec(maxGroupID), epoch: r.u64(), kind: r.u8()}
	p.senderAAD = start[:len(start)-len(r.b)]
	p.aad = r.vec(maxAAD)
	p.contentAAD = start[:len(start)-len(r.b)]
	p.senderData, p.ciphertext = r.vec(maxMessage), r.vec(maxMessage)
	if !r.done() {
		return nil, fail(ErrMalformed, "private message")
	}
	return p, nil
}

// senderDataSize is the size of an encrypted SenderData: leaf, generation, reuse
// guard, tag.
const senderDataSize = 4 + 4 + 4 + aeadTagSize

// openSender decrypts who sent the message and with which generation.
func (p *privateMessage) openSender(senderData *secret) (leaf, generation uint32, guard [4]byte, ok bool) {
	if len(p.senderData) != senderDataSize {
		return 0, 0, guard, false
	}
	key, nonce := senderDataKey(senderData, p.ciphertext)
	plain, ok := aeadOpen(nil, &key, &nonce, p.senderData, p.senderAAD)
	if !ok {
		return 0, 0, guard, false
	}
	r := &reader{b: plain}
	leaf, generation = r.u32(), r.u32()
	copy(guard[:], r.take(4))
	return leaf, generation, guard, r.done()
}

// outgoing is what a PrivateMessage is made of.
type outgoing struct {
	groupID   []byte
	epoch     uint64
	kind      uint8
	aad       []byte
	content   [2][]byte // encoded content, in pieces
	signature []byte
	tag       []byte // confirmation tag, of commits
	sender    uint32
	key       messageKey
	guard     [4]byte
}

// append writes the MLSMessage; the content is encrypted where it stands.
func (o *outgoing) append(dst []byte, senderData *secret) []byte {
	inner := len(o.content[0]) + len(o.content[1]) + vecSize(len(o.signature))
	if o.kind == contentCommit {
		inner += vecSize(len(o.tag))
	}
	size := paddedSize(inner) + aeadTagSize
	dst = slices.Grow(dst, headerSize+vecSize(len(o.groupID))+9+vecSize(len(o.aad))+vecSize(senderDataSize)+vecSize(size))
	dst = appendHeader(dst, formatPrivate)
	start := len(dst)
	dst = appendVec(dst, o.groupID)
	dst = binary.BigEndian.AppendUint64(dst, o.epoch)
	dst = append(dst, o.kind)
	senderAAD := dst[start:]
	dst = appendVec(dst, o.aad)
	contentAAD := dst[start:]
	dst = appendLength(dst, senderDataSize)
	gap := len(dst)
	dst = dst[:gap+senderDataSize]
	dst = appendLength(dst, size)
	body := len(dst)
	dst = append(append(dst, o.content[0]...), o.content[1]...)
	dst = appendVec(dst, o.signature)
	if o.kind == contentCommit {
		dst = appendVec(dst, o.tag)
	}
	end := body + size - aeadTagSize
	clear(dst[len(dst):end])
	dst = dst[:end]
	o.key.guard(o.guard)
	dst = aeadSeal(dst[:body], &o.key.key, &o.key.nonce, dst[body:], contentAAD)
	var plain [12]byte
	binary.BigEndian.PutUint32(plain[0:], o.sender)
	binary.BigEndian.PutUint32(plain[4:], o.key.generation)
	copy(plain[8:], o.guard[:])
	key, nonce := senderDataKey(senderData, dst[body:])
	aeadSeal(dst[:gap:gap+senderDataSize], &key, &nonce, plain[:], senderAAD)
	return dst
}

// guard mixes the reuse guard into the nonce (RFC 9420 section 6.3.1).
func (k *messageKey) guard(g [4]byte) {
	for i, b := range g {
		k.nonce[i] ^= b
	}
}

// paddedSize is the length to which mls-rs pads a content of n bytes, so that
// lengths do not tell implementations apart.
func paddedSize(n int) int {
	step := max(256, 1<<bits.Len(uint(n))) / 8
	return (n | (step - 1)) + 1
}

// onlyZeros reports whether b is proper padding.
func onlyZeros(b []byte) bool {
	var or byte
	for _, x := range b {
		or |= x
	}
	return or == 0
}
