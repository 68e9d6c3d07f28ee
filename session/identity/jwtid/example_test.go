package jwtid_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/slimbridge/slimbridge/session/identity/jwtid"
)

// Two apps that an issuer's key vouches for. Both hold a file: the signer the
// private key, everybody the public one.
func Example() {
	dir, err := os.MkdirTemp("", "jwtid")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	// openssl genpkey -algorithm Ed25519 -out issuer.pem
	// openssl pkey -in issuer.pem -pubout -out issuer.pub
	private, public := filepath.Join(dir, "issuer.pem"), filepath.Join(dir, "issuer.pub")
	os.WriteFile(private, []byte(`-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
`), 0o600)
	os.WriteFile(public, []byte(`-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
`), 0o644)

	alice, err := jwtid.New(jwtid.Config{
		Key:     jwtid.Key{From: jwtid.File(private)},
		Subject: "org/ns/alice", Issuer: "https://example.org", Audience: []string{"slim"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	bob, err := jwtid.NewVerifier(jwtid.VerifierConfig{
		Keys:   jwtid.Key{From: jwtid.File(public)},
		Issuer: "https://example.org", Audience: []string{"slim"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	token, err := alice.Token(time.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	claims, err := bob.Verify(token, time.Now())
	fmt.Println(claims.Subject, err)
	_, err = bob.Verify(token, time.Now().Add(2*time.Hour))
	fmt.Println(err)
	// Output:
	// org/ns/alice <nil>
	// identity: token expired
}
