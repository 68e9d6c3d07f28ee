package mls

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// All supported suites share SHA-256, HKDF-SHA256 and AES-128-GCM.
const hashSize = sha256.Size

// secret is one value of the key schedule (KDF.Nh bytes).
type secret = [hashSize]byte

// labelPrefix separates the labels of MLS from those of other protocols.
const labelPrefix = "MLS 1.0 "

// stackInput is how many bytes the functions below hash without allocating:
// enough for a KDFLabel with 256 bytes of context, or one node of a tree.
const stackInput = 320

// hashOf is SHA-256 of the concatenation of parts.
func hashOf(parts ...[]byte) [hashSize]byte {
	var stack [stackInput]byte
	return sha256.Sum256(concat(stack[:0], parts))
}

// mac is HMAC-SHA256 (RFC 2104) of the concatenation of parts. It works on one
// buffer, because crypto/hmac costs several allocations per use.
func mac(key []byte, parts ...[]byte) [hashSize]byte {
	var pad [sha256.BlockSize]byte
	if len(key) > len(pad) {
		short := sha256.Sum256(key)
		key = short[:]
	}
	copy(pad[:], key)
	for i := range pad {
		pad[i] ^= 0x36
	}
	var stack [sha256.BlockSize + stackInput]byte
	inner := sha256.Sum256(concat(append(stack[:0], pad[:]...), parts))

	for i := range pad {
		pad[i] ^= 0x36 ^ 0x5c
	}
	var outer [sha256.BlockSize + hashSize]byte
	copy(outer[:], pad[:])
	copy(outer[len(pad):], inner[:])
	return sha256.Sum256(outer[:])
}

func concat(dst []byte, parts [][]byte) []byte {
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

// extract is HKDF-Extract (RFC 5869).
func extract(salt, ikm *secret) secret { return mac(salt[:], ikm[:]) }

// expandWithLabel is ExpandWithLabel (RFC 9420 section 8). It fills out, which
// is at most one block of HKDF-Expand. Contexts of up to 256 bytes do not
// allocate.
func expandWithLabel(s *secret, label string, context []byte, out []byte) {
	if len(out) > hashSize {
		panic("mls: more than one block of key material")
	}
	var stack [stackInput]byte
	info := binary.BigEndian.AppendUint16(stack[:0], uint16(len(out)))
	info = appendLabelled(info, label, context)
	block := mac(s[:], append(info, 1)) // T(1) of HKDF-Expand
	copy(out, block[:])
}

// appendLabelled appends a prefixed label and the concatenation of parts, each
// as a vector: the common form of KDFLabel, SignContent and EncryptContext.
func appendLabelled(dst []byte, label string, parts ...[]byte) []byte {
	dst = appendLength(dst, len(labelPrefix)+len(label))
	dst = append(dst, labelPrefix...)
	dst = append(dst, label...)
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	// Growing piece by piece would leave copies of secret parts behind.
	return concat(slices.Grow(appendLength(dst, size), size), parts)
}

// deriveSecret is DeriveSecret (RFC 9420 section 8).
func deriveSecret(s *secret, label string) (out secret) {
	expandWithLabel(s, label, nil, out[:])
	return out
}

// deriveTreeSecret is DeriveTreeSecret (RFC 9420 section 9).
func deriveTreeSecret(s *secret, label string, generation uint32, out []byte) {
	var context [4]byte
	binary.BigEndian.PutUint32(context[:], generation)
	expandWithLabel(s, label, context[:], out)
}

// refHash is RefHash (RFC 9420 section 5.2). The label is given in full.
func refHash(label string, value []byte) [hashSize]byte {
	var stack [stackInput]byte
	return sha256.Sum256(appendVec(appendVec(stack[:0], []byte(label)), value))
}
