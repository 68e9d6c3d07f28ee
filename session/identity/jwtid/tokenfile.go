package jwtid

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/internal/jws"
)

// TokenFile presents a JWT that somebody else signs and puts into a file, over
// and over: to authenticate connections, or, with [NewStatic], as an identity.
// The signature is not checked here; that is for those it is shown to.
type TokenFile struct {
	file    watched[fileToken]
	subject string // fixed once there was a token
}

type fileToken struct {
	text    func() string // a closure, so that nothing prints it
	subject string
	expires time.Time
}

// OpenTokenFile reads the token. White space around it is dropped, since a
// header cannot carry it.
func OpenTokenFile(path string) (*TokenFile, error) {
	return openTokenFile(path, func(*jws.Token) error { return nil })
}

func openTokenFile(path string, accept func(*jws.Token) error) (*TokenFile, error) {
	f := &TokenFile{file: watched[fileToken]{from: File(path), limit: identity.MaxToken + 1024}}
	f.file.parse = func(content []byte) (fileToken, error) {
		text := string(bytes.TrimSpace(content))
		t, err := jws.Parse(text)
		if err != nil {
			return fileToken{}, fmt.Errorf("%w: want one JWT", err)
		}
		period, err := t.Claims.Period()
		if err != nil {
			return fileToken{}, fmt.Errorf("%w: want a token that expires", err)
		}
		subject, err := t.Claims.Subject()
		if err != nil {
			return fileToken{}, fmt.Errorf("%w: want a token with a subject", err)
		}
		if f.file.gen > 0 && subject != f.file.value.subject {
			return fileToken{}, fmt.Errorf("%w: not the one that the program started with", identity.ErrSubject)
		}
		return fileToken{func() string { return text }, subject, period.Expires}, accept(t)
	}
	first, _, fault := f.file.load()
	if fault != nil {
		return nil, fmt.Errorf("jwtid: token file: %w", fault)
	}
	f.subject = first.subject
	return f, nil
}

// Subject is that of the first token; a token of another subject is not taken.
func (f *TokenFile) Subject() string { return f.subject }

// Token returns the token in the file, or [identity.ErrExpired] if nobody has
// renewed it in time.
func (f *TokenFile) Token(now time.Time) (string, error) {
	token, _, fault := f.file.load()
	switch {
	case !now.After(token.expires):
		return token.text(), nil
	case fault != nil:
		return "", fmt.Errorf("%w, and the token file cannot be used: %w", identity.ErrExpired, fault)
	}
	return "", fmt.Errorf("%w: renew the token in %s", identity.ErrExpired, f.file.from)
}

// Fault is why the file's present content is not used, nil if it is.
func (f *TokenFile) Fault() error {
	_, _, fault := f.file.load()
	return fault
}

// Format writes the subject for every verb, never the token.
func (f *TokenFile) Format(s fmt.State, _ rune) { io.WriteString(s, "token file of "+f.subject) }

// Static is an identity whose tokens somebody else signs. Unlike upstream's
// static JWT, which has no signature key and so opens no session, the tokens
// carry the claim pubkey: see [identity.EncodePublicKey].
type Static struct {
	*TokenFile
	signer identity.Signer
}

var _ identity.Provider = (*Static)(nil)

// NewStatic reads tokens from a file and refuses those whose pubkey is not the
// signer's.
func NewStatic(path string, signer identity.Signer) (*Static, error) {
	want := identity.EncodePublicKey(signer.Public())
	f, err := openTokenFile(path, func(t *jws.Token) error {
		if text, err := t.Claims.Text("pubkey"); err != nil || text != want {
			return fmt.Errorf("%w: want claim pubkey with our key %s", identity.ErrNoPublicKey, want)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Static{TokenFile: f, signer: signer}, nil
}

// Signer is the key that the tokens name.
func (s *Static) Signer() identity.Signer { return s.signer }
