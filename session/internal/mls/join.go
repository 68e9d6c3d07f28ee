package mls

import (
	"bytes"

	"github.com/thomas-vilte/mls-go/ciphersuite"
	"github.com/thomas-vilte/mls-go/group"
	"github.com/thomas-vilte/mls-go/keypackages"
)

// Join enters the group of a Welcome that was made for p. It is also the way
// back for a member that was replaced by a new key package of its own: the old
// Group is then of no more use. p is used up on success only.
//
// Every leaf of the group is shown to Config.Verify with [Joining].
func Join(c Config, p *Pending, welcome []byte) (*Group, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if p == nil || p.spent {
		return nil, fail(ErrReplay, "key package is used up")
	}
	if !bytes.Equal(p.kp.LeafNode.SignatureKeyBytes, c.Signer.Public()) {
		return nil, fail(ErrUnsupported, "key package of another signer")
	}
	if err := inspectWelcome(p, welcome); err != nil {
		return nil, err
	}
	var lib *group.Group
	err := guard(ErrInvalidTree, "welcome", func() error {
		w, err := group.UnmarshalWelcome(welcome[headerSize:])
		if err != nil {
			return err
		}
		lib, err = group.JoinFromWelcome(w, p.kp, p.private(), nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	e, err := newEpoch(lib)
	if err != nil {
		return nil, err
	}
	if err := checkJoined(c, p, e); err != nil {
		return nil, err
	}
	p.wipe()
	return &Group{cfg: c, now: e}, nil
}

func (p *Pending) private() *keypackages.KeyPackagePrivateKeys {
	return &keypackages.KeyPackagePrivateKeys{InitKey: p.init, EncryptionKey: p.enc}
}

// checkJoined does what the library leaves to its user.
func checkJoined(c Config, p *Pending, e *epoch) error {
	if _, err := e.roster(c.Subject); err != nil {
		return err
	}
	if err := e.own(c); err != nil {
		return err
	}
	if l := e.leaf(e.self); !bytes.Equal(l.EncryptionKey, p.enc.PublicKey().Bytes()) ||
		!bytes.Equal(l.Credential.Identity, p.kp.LeafNode.Credential.Identity) {
		return fail(ErrInvalidTree, "own leaf was altered")
	}
	for _, m := range e.members() {
		if err := verifyLeaf(c, m, Joining); err != nil {
			return err
		}
	}
	return nil
}

// inspectWelcome decrypts a Welcome once before the library does, to refuse
// what the library would accept without a tree, and to keep from it a tree in
// a form that makes it allocate as much as the input says.
func inspectWelcome(p *Pending, msg []byte) error {
	r, err := open(msg, formatWelcome)
	if err != nil {
		return err
	}
	w := r.welcome()
	if !r.done() {
		return fail(ErrMalformed, "welcome")
	}
	if w.suite != uint16(suite) {
		return fail(ErrUnsupported, "cipher suite")
	}
	info, err := p.decryptInfo(w)
	if err != nil {
		return err
	}
	in := &reader{b: info}
	gi := in.info()
	switch {
	case !in.done():
		return fail(ErrMalformed, "group info")
	case gi.suite != uint16(suite):
		return fail(ErrUnsupported, "cipher suite")
	case len(gi.groupID) == 0:
		return fail(ErrUnsupported, "empty group id")
	case gi.contextExts > 0:
		return fail(ErrUnsupported, "group context extension")
	case !gi.hasTree:
		return fail(ErrUnsupported, "welcome without ratchet tree")
	case !checkTree(gi.tree):
		return fail(ErrMalformed, "ratchet tree")
	}
	return nil
}

// decryptInfo opens our entry and with it the GroupInfo (RFC 9420 section
// 12.4.3.1).
func (p *Pending) decryptInfo(w wireWelcome) (info []byte, err error) {
	ref := ciphersuite.MakeKeyPackageRef(p.kp.Raw, suite.HashFunction()).AsSlice()
	var mine *wireSecret
	for i := range w.entries {
		if bytes.Equal(w.entries[i].ref, ref) {
			mine = &w.entries[i]
			break
		}
	}
	if mine == nil {
		return nil, fail(ErrInvalidTree, "welcome is not for this key package")
	}
	var secrets []byte
	err = guard(ErrDecrypt, "welcome", func() (err error) {
		secrets, err = ciphersuite.DecryptWithLabel(p.init.Bytes(), "Welcome", w.groupInfo,
			&ciphersuite.HPKECiphertext{KEMOutput: mine.kem, Ciphertext: mine.ciphertext}, suite)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer clear(secrets)
	r := &reader{b: secrets}
	joiner := r.vec(64)
	if r.optional() {
		r.vec(64) // path secret
	}
	psks := r.vec(maxMessage)
	switch {
	case !r.done():
		return nil, fail(ErrMalformed, "group secrets")
	case len(psks) > 0:
		return nil, fail(ErrUnsupported, "pre-shared key")
	}
	err = guard(ErrDecrypt, "welcome", func() (err error) {
		info, err = openInfo(joiner, w.groupInfo)
		return err
	})
	return info, err
}

func openInfo(joiner, sealed []byte) ([]byte, error) {
	member, err := ciphersuite.NewSecretForCS(suite, bytes.Clone(joiner)).HKDFExtract(ciphersuite.ZeroSecretCS(suite))
	if err != nil {
		return nil, err
	}
	defer member.SecureZero()
	welcome, err := member.DeriveSecret(suite, "welcome")
	if err != nil {
		return nil, err
	}
	defer welcome.SecureZero()
	key, err := welcome.KdfExpandLabel("key", []byte{}, suite.AEADKeyLength())
	if err != nil {
		return nil, err
	}
	nonce, err := welcome.KdfExpandLabel("nonce", []byte{}, suite.AEADNonceLength())
	if err != nil {
		return nil, err
	}
	return ciphersuite.DecryptWithCipherSuite(key.AsSlice(), nonce.AsSlice(), sealed, []byte{}, suite)
}
