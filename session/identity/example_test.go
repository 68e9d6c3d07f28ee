package identity_test

import (
	"fmt"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
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
