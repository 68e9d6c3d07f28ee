package spiffe

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/spiffe/workloadtest"
)

func TestGivenSigner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signer, err := identity.NewSigner()
		if err != nil {
			t.Fatal(err)
		}
		d := workloadtest.NewDomain(t, "example.org")
		peer := source(t, d.Agent(t, bob), Config{})
		for range 2 { // as before and after a restart
			me := source(t, d.Agent(t, alice), Config{Signer: signer})
			claims, err := peer.Verify(token(t, me), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if me.Signer() != signer || !bytes.Equal(claims.PublicKey, signer.Public()) {
				t.Error("token or source has another key")
			}
		}
	})
}
