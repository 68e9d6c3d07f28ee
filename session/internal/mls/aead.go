package mls

import (
	"crypto/aes"
	"crypto/cipher"
)

const (
	aeadKeySize   = 16
	aeadNonceSize = 12
	aeadTagSize   = 16
)

// aeadSeal encrypts with AES-128-GCM and appends ciphertext and tag to dst. The
// plaintext may already lie where dst continues, and is then overwritten.
func aeadSeal(dst []byte, key *[aeadKeySize]byte, nonce *[aeadNonceSize]byte, plaintext, aad []byte) []byte {
	return newGCM(key).Seal(dst, nonce[:], plaintext, aad)
}

// aeadOpen decrypts and appends the plaintext to dst, or reports false.
func aeadOpen(dst []byte, key *[aeadKeySize]byte, nonce *[aeadNonceSize]byte, ciphertext, aad []byte) ([]byte, bool) {
	out, err := newGCM(key).Open(dst, nonce[:], ciphertext, aad)
	return out, err == nil
}

func newGCM(key *[aeadKeySize]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("mls: " + err.Error()) // only for other key sizes
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("mls: " + err.Error()) // only for other block sizes
	}
	return gcm
}
