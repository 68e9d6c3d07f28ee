package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Store keeps records across restarts, such as a statefile.File. What is given
// to it includes private keys: it must encrypt them. Neither side keeps slices
// of the other.
type Store interface {
	// Read calls each for every record, in any order, until it returns an
	// error.
	Read(each func(key string, value []byte) error) error
	// Write stores all of changes, or none, and returns when they are durable.
	// A nil value deletes.
	Write(changes map[string][]byte) error
}

// Records that this package keeps; no other may begin with "identity/".
const (
	keySharedSecret = "identity/shared-secret"
	keySigner       = "identity/signer"
)

// errStored says nothing of the record, which is secret.
var errStored = errors.New("identity: stored identity is damaged: start with a new state file")

// storedIdentity is the record of a shared-secret identity, as JSON.
type storedIdentity struct {
	Base    string `json:"base"`
	Subject string `json:"subject"`
	Key     []byte `json:"key"` // PKCS #8 (RFC 5958)
}

// KeepSharedSecret is [NewSharedSecret] for an identity that outlives the
// process: its subject and signature key are read from store, or made and
// written there the first time. So the app keeps its 128-bit id, and the key of
// its MLS leaves. A store has one such identity, for one base; the secret may be
// another one than last time. It must not be called twice at once with one store.
func KeepSharedSecret(s Secret, base string, store Store) (*SharedSecret, error) {
	if err := checkShared(s, base); err != nil {
		return nil, err
	}
	record, err := readRecord(store, keySharedSecret)
	if err != nil {
		return nil, err
	}
	if record == nil {
		return firstSharedSecret(s, base, store)
	}
	defer clear(record)
	var stored storedIdentity
	if err := json.Unmarshal(record, &stored); err != nil {
		return nil, errStored
	}
	defer clear(stored.Key)
	if stored.Base != base {
		return nil, fmt.Errorf("identity: store has the identity of %q, not of %q: give every name a state file of its own", stored.Base, base)
	}
	suffix, ok := strings.CutPrefix(stored.Subject, base+"_")
	if !ok || len(suffix) != suffixSize || strings.Trim(suffix, suffixAlpha) != "" {
		return nil, errStored
	}
	signer, err := decodeSigner(stored.Key)
	if err != nil {
		return nil, err
	}
	return sharedSecret(s, stored.Subject, signer), nil
}

func firstSharedSecret(s Secret, base string, store Store) (*SharedSecret, error) {
	p, err := NewSharedSecret(s, base)
	if err != nil {
		return nil, err
	}
	key, err := encodeSigner(p.signer)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	record, err := json.Marshal(storedIdentity{Base: base, Subject: p.subject, Key: key})
	if err != nil {
		return nil, fmt.Errorf("identity: encode identity: %w", err)
	}
	defer clear(record)
	if err := store.Write(map[string][]byte{keySharedSecret: record}); err != nil {
		return nil, fmt.Errorf("identity: store identity: %w", err)
	}
	return p, nil
}

// KeepSigner is [NewSigner] for a signature key that outlives the process, for
// JWT and SPIFFE identities: it is read from store, or made and written there the
// first time. A store has one such key. It must not be called twice at once with
// one store.
func KeepSigner(store Store) (Signer, error) {
	record, err := readRecord(store, keySigner)
	if err != nil {
		return nil, err
	}
	if record != nil {
		defer clear(record)
		signer, err := decodeSigner(record)
		if err != nil {
			return nil, err
		}
		return signer, nil
	}
	signer, err := newP256Signer()
	if err != nil {
		return nil, err
	}
	if record, err = encodeSigner(signer); err != nil {
		return nil, err
	}
	defer clear(record)
	if err := store.Write(map[string][]byte{keySigner: record}); err != nil {
		return nil, fmt.Errorf("identity: store signature key: %w", err)
	}
	return signer, nil
}

// readRecord returns a copy of one record, nil if there is none.
func readRecord(store Store, key string) (record []byte, err error) {
	err = store.Read(func(k string, value []byte) error {
		if k == key {
			record = append([]byte{}, value...) // not nil, even if empty
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("identity: read stored identity: %w", err)
	}
	return record, nil
}

func encodeSigner(s *p256Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return nil, fmt.Errorf("identity: encode signature key: %w", err)
	}
	return der, nil
}

func decodeSigner(der []byte) (*p256Signer, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil, errStored
	}
	return signerOf(key)
}
