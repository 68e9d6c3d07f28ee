package identity_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/statefile"
)

func ExampleNewSharedSecret() {
	secret := identity.GenerateSecret() // or identity.ReadSecretFile
	alice, err := identity.NewSharedSecret(secret, "org/ns/alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	bob, err := identity.NewSharedSecret(secret, "org/ns/bob")
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
	fmt.Println(claims.Subject == alice.Subject(), err)

	sig, err := alice.Signer().Sign([]byte("message"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(identity.VerifySignature(claims.PublicKey, []byte("message"), sig))
	fmt.Println(secret)
	// Output:
	// true <nil>
	// <nil>
	// [redacted]
}

func ExampleKeepSharedSecret() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	secret, key := identity.GenerateSecret(), make([]byte, 32)
	rand.Read(key) // keep it where secrets are kept

	var subjects []string
	for range 2 { // the second time is after a restart
		state, err := statefile.Open(filepath.Join(dir, "alice.state"), key)
		if err != nil {
			fmt.Println(err)
			return
		}
		alice, err := identity.KeepSharedSecret(secret, "org/ns/alice", state)
		if err != nil {
			fmt.Println(err)
			return
		}
		subjects = append(subjects, alice.Subject())
		if err := state.Close(); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println(subjects[0] == subjects[1])
	// Output: true
}
