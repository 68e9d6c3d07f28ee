package mls

import "encoding/binary"

// reader reads the encoding of RFC 9420 section 2.1 strictly: the shortest
// form of each length, nothing beyond the input, no byte left over. The first
// fault sticks. Returned slices alias the input.
type reader struct {
	b   []byte
	bad bool
	// unsupported is set beside bad if the fault is a type that the profile
	// does not know.
	unsupported bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// length reads a variable-size length: its top two bits tell its own size.
func (r *reader) length() int {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	switch r.b[0] >> 6 {
	case 0:
		return int(r.u8())
	case 1:
		if n := int(r.u16() & 0x3fff); n >= 1<<6 {
			return n
		}
	case 2:
		if n := int(r.u32() & 0x3fffffff); n >= 1<<14 {
			return n
		}
	}
	r.fail()
	return 0
}

// vec reads a vector of at most limit bytes.
func (r *reader) vec(limit int) []byte {
	n := r.length()
	if n > limit {
		r.fail()
		return nil
	}
	return r.take(n)
}

// sub reads a vector and returns a reader of its content.
func (r *reader) sub(limit int) *reader {
	b := r.vec(limit)
	return &reader{b: b, bad: r.bad}
}

// each reads a vector of at most count elements.
func (r *reader) each(count int, element func(*reader)) {
	in := r.sub(maxVector)
	for n := 0; len(in.b) > 0; n++ {
		if n == count {
			in.fail()
			break
		}
		element(in)
	}
	if in.bad {
		r.unsupported = r.unsupported || in.unsupported
		r.fail()
	}
}

// optional reads a presence byte.
func (r *reader) optional() bool {
	switch r.u8() {
	case 0:
		return false
	case 1:
		return true
	}
	r.fail()
	return false
}

// done reports whether everything was read without fault.
func (r *reader) done() bool { return !r.bad && len(r.b) == 0 }

func appendLength(dst []byte, n int) []byte {
	switch {
	case n < 1<<6:
		return append(dst, byte(n))
	case n < 1<<14:
		return binary.BigEndian.AppendUint16(dst, uint16(n)|1<<14)
	default:
		return binary.BigEndian.AppendUint32(dst, uint32(n)|2<<30)
	}
}

func appendVec(dst, b []byte) []byte { return append(appendLength(dst, len(b)), b...) }

// vecSize is the encoded size of a vector of n bytes.
func vecSize(n int) int {
	switch {
	case n < 1<<6:
		return 1 + n
	case n < 1<<14:
		return 2 + n
	default:
		return 4 + n
	}
}

// Numbers of the wire: the version and wire formats of MLSMessage, and the
// types of section 6 and 17 that this profile uses or names to refuse.
const (
	version10 = 1

	formatPublic    = 1
	formatPrivate   = 2
	formatWelcome   = 3
	formatGroupInfo = 4
	formatKey       = 5
	headerSize      = 4 // of MLSMessage: version and wire format

	contentApp      = 1
	contentProposal = 2
	contentCommit   = 3

	senderMember      = 1
	senderExternal    = 2
	senderNewProposal = 3
	senderNewCommit   = 4

	credBasic = 1
	credX509  = 2

	sourcePackage = 1
	sourceUpdate  = 2
	sourceCommit  = 3

	proposalAdd    = 1
	proposalUpdate = 2
	proposalRemove = 3

	extApplicationID        = 1
	extRatchetTree          = 2
	extRequiredCapabilities = 3
	extExternalPub          = 4
	extExternalSenders      = 5
)

// open checks the header of an MLSMessage and returns a reader behind it.
func open(msg []byte, format uint16) (*reader, error) {
	if len(msg) > maxMessage {
		return nil, fail(ErrMalformed, "message is too long")
	}
	r := &reader{b: msg}
	version, got := r.u16(), r.u16()
	switch {
	case r.bad:
		return nil, fail(ErrMalformed, "message is too short")
	case version != version10:
		return nil, fail(ErrUnsupported, "protocol version")
	case got != format:
		return nil, fail(ErrUnsupported, "wire format")
	}
	return r, nil
}
