package jwtid

import (
	"bytes"
	"testing"

	"github.com/slimbridge/slimbridge/session/identity"
)

func TestGivenSigner(t *testing.T) {
	signer, err := identity.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	private, public := pemOf(t, newEC(t))
	verifier, err := NewVerifier(VerifierConfig{Keys: Key{From: Data(public)}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // as before and after a restart
		p, err := New(Config{Key: Key{From: Data(private)}, Subject: subject, Signer: signer})
		if err != nil {
			t.Fatal(err)
		}
		token, err := p.Token(noon)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := verifier.Verify(token, noon)
		if err != nil {
			t.Fatal(err)
		}
		if p.Signer() != signer || !bytes.Equal(claims.PublicKey, signer.Public()) {
			t.Error("token or provider has another key")
		}
	}
}
