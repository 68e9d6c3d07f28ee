package mls

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// ratchetKind tells the two ratchets of a sender apart.
type ratchetKind uint8

const (
	handshakeRatchet ratchetKind = iota
	applicationRatchet
	ratchetKinds
)

func (k ratchetKind) label() string {
	if k == handshakeRatchet {
		return "handshake"
	}
	return "application"
}

// messageKey protects one message.
type messageKey struct {
	key        [aeadKeySize]byte
	nonce      [aeadNonceSize]byte
	generation uint32
}

// ratchet is a symmetric ratchet of one sender (RFC 9420 section 9.1). Keys
// that were passed over are kept for messages that come late.
type ratchet struct {
	secret  secret
	next    uint64       // generation of secret; 2^32 when all are used
	skipped []messageKey // ascending generations before next, at most MaxAhead
}

// newRatchet starts a ratchet from the secret of its leaf.
func newRatchet(leaf *secret, kind ratchetKind) (r ratchet) {
	expandWithLabel(leaf, kind.label(), nil, r.secret[:])
	return r
}

// advance derives the next key and overwrites the secret it came from. next
// must be below 2^32.
func (r *ratchet) advance() (k messageKey) {
	k.generation = uint32(r.next)
	deriveTreeSecret(&r.secret, "key", k.generation, k.key[:])
	deriveTreeSecret(&r.secret, "nonce", k.generation, k.nonce[:])
	deriveTreeSecret(&r.secret, "secret", k.generation, r.secret[:])
	r.next++
	return k
}

// find looks for a skipped key.
func (r *ratchet) find(generation uint32) (index int, ok bool) {
	return slices.BinarySearchFunc(r.skipped, generation, func(k messageKey, g uint32) int {
		return cmp.Compare(k.generation, g)
	})
}

// ratchetStep is what receiving one message changes in a secret tree: a skipped
// key is used up, or a ratchet moves to head.
type ratchetStep struct {
	leaf       uint32
	kind       ratchetKind
	generation uint32
	late       bool    // generation was skipped before
	from       uint64  // if not late: what next must still be
	head       ratchet // if not late: its skipped keys are the new ones
}

// peek finds the key of a generation and what using it changes.
func (r *ratchet) peek(generation uint32) (found messageKey, step ratchetStep, err error) {
	step.generation = generation
	if uint64(generation) < r.next {
		i, ok := r.find(generation)
		if !ok {
			return messageKey{}, ratchetStep{}, fail(ErrReplay, "")
		}
		step.late = true
		return r.skipped[i], step, nil
	}
	ahead := uint64(generation) - r.next
	if ahead > MaxAhead {
		return messageKey{}, ratchetStep{}, fail(ErrTooFar, "")
	}
	step.from = r.next
	step.head = ratchet{secret: r.secret, next: r.next}
	if ahead > 0 {
		step.head.skipped = make([]messageKey, ahead)
	}
	for i := range step.head.skipped {
		step.head.skipped[i] = step.head.advance()
	}
	return step.head.advance(), step, nil
}

// wipe is for a step that is not applied.
func (s *ratchetStep) wipe() { s.head.wipe() }

// commit applies a step of peek. Of too many skipped keys the oldest go.
func (r *ratchet) commit(step *ratchetStep) {
	if step.late {
		i, ok := r.find(step.generation)
		if !ok {
			panic("mls: stale ratchet step")
		}
		r.skipped = slices.Delete(r.skipped, i, i+1) // clears what it frees
		return
	}
	if r.next != step.from || step.head.next == 0 {
		panic("mls: stale ratchet step")
	}
	r.secret, r.next = step.head.secret, step.head.next
	if fresh := step.head.skipped; len(fresh) > 0 {
		excess := max(0, len(r.skipped)+len(fresh)-MaxAhead)
		kept := slices.Concat(r.skipped[excess:], fresh)
		clear(r.skipped)
		clear(fresh)
		r.skipped = kept
	}
}

func (r *ratchet) wipe() {
	clear(r.skipped)
	*r = ratchet{}
}

// append saves the ratchet, with secrets in clear.
func (r *ratchet) append(dst []byte) []byte {
	dst = append(dst, r.secret[:]...)
	dst = binary.BigEndian.AppendUint64(dst, r.next)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(r.skipped)))
	for i := range r.skipped {
		k := &r.skipped[i]
		dst = binary.BigEndian.AppendUint32(dst, k.generation)
		dst = append(dst, k.key[:]...)
		dst = append(dst, k.nonce[:]...)
	}
	return dst
}

// readRatchet reads what append wrote.
func readRatchet(in *reader) (r ratchet) {
	copy(r.secret[:], in.take(hashSize))
	r.next = in.u64()
	n := int(in.u16())
	if r.next > math.MaxUint32+1 || n > MaxAhead {
		in.fail()
		return ratchet{}
	}
	if n > 0 {
		r.skipped = make([]messageKey, n)
	}
	for i := range r.skipped {
		k := &r.skipped[i]
		k.generation = in.u32()
		copy(k.key[:], in.take(aeadKeySize))
		copy(k.nonce[:], in.take(aeadNonceSize))
		if uint64(k.generation) >= r.next || i > 0 && k.generation <= r.skipped[i-1].generation {
			in.fail()
		}
	}
	return r
}
