package mls

import (
	"bytes"
	"crypto/sha256"
)

// pendingVersion is the first byte of a saved Pending.
const pendingVersion = 1

// Save appends the key package and its private keys to dst, in clear: the caller
// encrypts it. A Welcome for the package can be joined after [LoadPending].
func (p *Pending) Save(dst []byte) ([]byte, error) {
	if p.pack == nil {
		return nil, errWiped
	}
	start := len(dst)
	dst = append(dst, pendingVersion)
	dst = appendVec(dst, p.pack.raw)
	dst = appendVec(appendVec(dst, p.init), p.enc)
	sum := sha256.Sum256(dst[start:])
	return append(dst, sum[:]...), nil
}

// LoadPending restores what [Pending.Save] has saved. c must have the signer of
// the key package. The checksum finds accidents only: the caller's encryption must
// authenticate.
func LoadPending(b []byte, c Config) (*Pending, error) {
	s, err := c.check()
	if err != nil {
		return nil, err
	}
	n := len(b) - sha256.Size
	if n < 1 || b[0] != pendingVersion {
		return nil, fail(ErrMalformed, "saved key package of another version")
	}
	if sum := sha256.Sum256(b[:n]); !bytes.Equal(sum[:], b[n:]) {
		return nil, fail(ErrMalformed, "saved key package is damaged")
	}
	r := &reader{b: bytes.Clone(b[1:n])}
	wire := append(appendHeader(nil, formatKey), r.vec(maxMessage)...)
	p := &Pending{init: bytes.Clone(r.vec(hashSize)), enc: bytes.Clone(r.vec(hashSize))}
	if !r.done() {
		return nil, fail(ErrMalformed, "saved key package")
	}
	if p.pack, err = parseKeyPackage(wire); err != nil {
		return nil, err
	}
	if err := p.pack.check(s); err != nil {
		return nil, err
	}
	if !bytes.Equal(p.pack.leaf.signatureKey, c.Signer.Public()) {
		return nil, fail(ErrUnsupported, "saved key package of another signer")
	}
	for _, pair := range [][2][]byte{{p.init, p.pack.initKey}, {p.enc, p.pack.leaf.encryptionKey}} {
		private, err := s.parsePrivate(pair[0])
		if err != nil || !bytes.Equal(private.PublicKey().Bytes(), pair[1]) {
			return nil, fail(ErrMalformed, "saved key package")
		}
	}
	return p, nil
}
