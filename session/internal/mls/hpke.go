package mls

import (
	"crypto/hpke"
	"errors"
)

// errOpen is the cause of every ciphertext that cannot be opened. It does not
// tell a bad key from a bad ciphertext. Callers wrap it.
var errOpen = errors.New("mls: cannot open")

// seal is EncryptWithLabel (RFC 9420 section 5.1.3). The ephemeral key comes
// from the system's random source.
func (s *suite) seal(pub hpke.PublicKey, label string, context, plaintext []byte) (enc, ciphertext []byte, err error) {
	info := appendLabelled(nil, label, context)
	enc, sender, err := hpke.NewSender(pub, hpke.HKDFSHA256(), hpke.AES128GCM(), info)
	if err != nil {
		return nil, nil, errBadKey
	}
	ciphertext, err = sender.Seal(nil, plaintext)
	if err != nil {
		return nil, nil, errBadKey
	}
	return enc, ciphertext, nil
}

// open is DecryptWithLabel (RFC 9420 section 5.1.3).
func (s *suite) open(priv []byte, label string, context, enc, ciphertext []byte) ([]byte, error) {
	key, err := s.parsePrivate(priv)
	if err != nil {
		return nil, errOpen
	}
	info := appendLabelled(nil, label, context)
	recipient, err := hpke.NewRecipient(enc, key, hpke.HKDFSHA256(), hpke.AES128GCM(), info)
	if err != nil {
		return nil, errOpen
	}
	plaintext, err := recipient.Open(nil, ciphertext)
	if err != nil {
		return nil, errOpen
	}
	return plaintext, nil
}
