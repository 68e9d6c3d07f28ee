package session_test

import (
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity/jwtid"
)

// shortLived gives an app tokens that live for minutes, as SVIDs of SPIFFE do.
func shortLived(t *testing.T, path string, rotateAfter time.Duration) func(*session.Config) {
	t.Helper()
	key := jwtid.Key{From: jwtid.Data([]byte("a secret of at least 32 bytes for all")), Format: jwtid.Raw, Algorithm: jwtid.HS256}
	me, err := jwtid.New(jwtid.Config{Key: key, Subject: path, Lifetime: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	peers, err := jwtid.NewVerifier(jwtid.VerifierConfig{Keys: key})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *session.Config) { c.Identity, c.Verifier, c.RotateAfter = me, peers, rotateAfter }
}

// TestShortTokensAreRenewed: both ends of a session have new leaves before their
// tokens expire, since the real library looks at that.
func TestShortTokensAreRenewed(t *testing.T) {
	for name, tc := range map[string]struct {
		rotateAfter time.Duration // of the initiator
		renewals    uint64        // in 5 minutes, at least
	}{
		"both":          {0, 2},
		"the responder": {-1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				alice := nw.App("org/ns/alice", shortLived(t, "org/ns/alice", tc.rotateAfter))
				a, b := openBetween(t, alice, nw.App("org/ns/bob", shortLived(t, "org/ns/bob", 0)), session.Options{}, session.ListenOptions{})
				for range 6 {
					epoch := a.Epoch()
					time.Sleep(5 * time.Minute)
					send(t, a, "to bob")
					expect(t, b, "to bob")
					if a.Epoch() != b.Epoch() || a.Epoch() < epoch+tc.renewals || a.Epoch() > epoch+4 {
						t.Errorf("epochs %d and %d after %d", a.Epoch(), b.Epoch(), epoch)
					}
				}
			})
		})
	}
}
