package session_test

import (
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
)

// TestResponderRenewsItsLeaf: an initiator that never rotates keeps a responder
// whose token would grow older than an hour.
func TestResponderRenewsItsLeaf(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice := nw.App("org/ns/alice", func(c *session.Config) { c.RotateAfter, c.RotateMessages = -1, -1 })
		a, b := openBetween(t, alice, nw.App("org/ns/bob", nil), session.Options{}, session.ListenOptions{})
		epoch := b.Epoch()
		for hour := range 2 {
			time.Sleep(time.Hour)
			send(t, a, "to bob")
			expect(t, b, "to bob")
			send(t, b, "to alice")
			expect(t, a, "to alice")
			if a.Epoch() != b.Epoch() || b.Epoch() == epoch {
				t.Errorf("after %d hours: epochs %d and %d", hour+1, a.Epoch(), b.Epoch())
			}
			epoch = b.Epoch()
		}
	})
}
