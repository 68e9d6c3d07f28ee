package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
)

// startNode starts a node of any kind and returns the endpoint to dial.
func startNode(t *testing.T, p realslim.Peers, k realslim.Kind, o realslim.NodeOptions) string {
	t.Helper()
	if k == ours {
		return startOurNode(t, o)
	}
	return p.StartNode(t, k, o).Endpoint
}

// Every kind of application with every other, over every kind of node, with
// and without MLS: all that is sent comes back in order and unchanged, and a
// close is seen by the other side.
func TestInteropMatrix(t *testing.T) {
	p := realslim.Require(t)
	for _, node := range allKinds {
		t.Run("node="+string(node), func(t *testing.T) {
			endpoint := startNode(t, p, node, realslim.NodeOptions{Strict: true})
			for _, responder := range allKinds {
				for _, initiator := range allKinds {
					t.Run(fmt.Sprintf("%s opens to %s", initiator, responder), func(t *testing.T) {
						to := startTalker(t, p, responder, talkerOptions{endpoint: endpoint, name: "org/ns/responder", echo: true, strict: true})
						from := startTalker(t, p, initiator, talkerOptions{endpoint: endpoint, name: "org/ns/initiator", strict: true})
						t.Run("plain", func(t *testing.T) { converse(t, from, to, "org/ns/responder", false, false) })
						t.Run("mls", func(t *testing.T) { converse(t, from, to, "org/ns/responder", true, true) })
					})
				}
			}
		})
	}
}

// converse opens a session, pumps, and closes it from one side.
func converse(t *testing.T, from, to talker, peer string, mls, responderCloses bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c, err := from.open(ctx, peer, mls)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	other, err := to.accepted(ctx)
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	if err := c.pump(ctx, 1000, 256, 32); err != nil {
		t.Errorf("1000 messages of 256 B: %v", err)
	}
	if err := c.pump(ctx, 50, 64<<10, 32); err != nil {
		t.Errorf("50 messages of 64 KiB: %v", err)
	}
	closeSeen(ctx, t, c, other, responderCloses)
	// Once more, closed from the other side.
	if c, err = from.open(ctx, peer, mls); err != nil {
		t.Fatalf("open again: %v", err)
	}
	if other, err = to.accepted(ctx); err != nil {
		t.Fatalf("accept again: %v", err)
	}
	closeSeen(ctx, t, c, other, !responderCloses)
}

// closeSeen closes a session from one side; the other must notice.
func closeSeen(ctx context.Context, t *testing.T, initiator, responder conversation, responderCloses bool) {
	t.Helper()
	closer, other := initiator, responder
	if responderCloses {
		closer, other = responder, initiator
	}
	if err := closer.close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := other.waitClosed(ctx); err != nil {
		t.Errorf("the other side did not see the close: %v", err)
	}
}
