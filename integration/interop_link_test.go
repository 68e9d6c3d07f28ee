package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
)

// Carriers and link keys: WebSocket, and the hybrid key agreement.

func TestInteropWebSocket(t *testing.T) {
	p := realslim.Require(t)
	for _, node := range allKinds {
		for _, app := range allKinds {
			if node != ours && app != ours {
				continue // no claim of ours
			}
			t.Run(fmt.Sprintf("%s at the node of %s", app, node), func(t *testing.T) {
				endpoint := startNode(t, p, node, realslim.NodeOptions{WebSocket: true, Strict: node == ours})
				to := startTalker(t, p, app, talkerOptions{endpoint: endpoint, name: "org/ns/responder", echo: true})
				from := startTalker(t, p, ours, talkerOptions{endpoint: endpoint, name: "org/ns/initiator"})
				shortTalk(t, from, to, "org/ns/responder")
			})
		}
	}
}

// A node that insists on X25519 and ML-KEM-768, and apps that do.
func TestInteropHybridLink(t *testing.T) {
	p := realslim.Require(t)
	for _, node := range allKinds {
		for _, app := range allKinds {
			if node != ours && app != ours {
				continue
			}
			t.Run(fmt.Sprintf("%s at the node of %s", app, node), func(t *testing.T) {
				endpoint := startNode(t, p, node, realslim.NodeOptions{PQC: true})
				to := startTalker(t, p, app, talkerOptions{endpoint: endpoint, name: "org/ns/responder", echo: true, pqc: true})
				from := startTalker(t, p, ours, talkerOptions{endpoint: endpoint, name: "org/ns/initiator", pqc: true})
				// Real apps with enforce_pqc ask for an MLS suite that no
				// published peer can speak, so the session is plain.
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				c, err := from.open(ctx, "org/ns/responder", false)
				if err != nil {
					t.Fatal(err)
				}
				if err := c.pump(ctx, 100, 256, 32); err != nil {
					t.Error(err)
				}
				_ = c.close(ctx)
				_ = to
			})
		}
	}
}

// shortTalk exchanges messages over MLS and closes.
func shortTalk(t *testing.T, from, to talker, peer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := from.open(ctx, peer, true)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	other, err := to.accepted(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.pump(ctx, 100, 256, 32); err != nil {
		t.Error(err)
	}
	if err := c.pump(ctx, 5, 64<<10, 5); err != nil {
		t.Error(err)
	}
	if err := c.close(ctx); err != nil {
		t.Error(err)
	}
	if err := other.waitClosed(ctx); err != nil {
		t.Error(err)
	}
}

// A 3.x app that refuses whoever is not bound to its identity takes ours, as
// initiator and as responder, and has nothing to complain about.
func TestInteropIdentityBinding(t *testing.T) {
	p := realslim.Require(t)
	endpoint := startOurNode(t, realslim.NodeOptions{Strict: true})
	strictApp := func(t *testing.T, path string, accept realslim.Accept) *realslim.App {
		return p.StartApp(t, realslim.Core34, realslim.AppOptions{
			Endpoint: endpoint, Name: path, Accept: accept, Strict: true, Binding: "enforce",
		})
	}
	for _, mls := range []bool{false, true} {
		t.Run(fmt.Sprintf("mls=%v", mls), func(t *testing.T) {
			realEcho := strictApp(t, "org/ns/real", realslim.Echo)
			ourEcho := startOurs(t, talkerOptions{endpoint: endpoint, name: "org/ns/ours", echo: true})
			realCaller := strictApp(t, "org/ns/caller", realslim.Nothing)
			converse(t, ourEcho, realTalker{realEcho}, "org/ns/real", mls, false)
			converse(t, realTalker{realCaller}, ourEcho, "org/ns/ours", mls, true)
			for _, app := range []*realslim.App{realEcho, realCaller} {
				if w := app.IdentityWarnings(); len(w) > 0 {
					t.Errorf("%v warns: %q", app, w)
				}
			}
		})
	}
}

// What real applications wait for a round trip through our node, beside their
// own node, in one run. Unmodified real clients leave Nagle's algorithm on;
// our node acknowledges at once, which is why it is fast. The bound is a tenth.
func TestInteropRoundTripOfRealApps(t *testing.T) {
	p := realslim.Require(t)
	median := func(t *testing.T, endpoint string, kind realslim.Kind) float64 {
		t.Helper()
		p.StartApp(t, kind, realslim.AppOptions{Endpoint: endpoint, Name: "org/ns/echo", Accept: realslim.Echo, Strict: true})
		app := p.StartApp(t, kind, realslim.AppOptions{Endpoint: endpoint, Name: "org/ns/caller", Strict: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := app.Open(ctx, realslim.OpenOptions{Peer: "org/ns/echo", MLS: true})
		if err != nil {
			t.Fatal(err)
		}
		report, err := s.RTT(ctx, 50, 256)
		if err != nil || !report.OK {
			t.Fatalf("%+v, %v", report, err)
		}
		return report.RTTP50MS
	}
	for _, kind := range realslim.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			ownMS := median(t, startNode(t, p, kind, realslim.NodeOptions{Strict: true}), kind)
			ourMS := median(t, startOurNode(t, realslim.NodeOptions{Strict: true}), kind)
			t.Logf("median round trip of real apps (MLS, 256 B): %.2f ms through our node, %.2f ms through their own", ourMS, ownMS)
			if ourMS > ownMS/10 {
				t.Errorf("our node: %.2f ms, more than a tenth of %.2f ms", ourMS, ownMS)
			}
		})
	}
}
