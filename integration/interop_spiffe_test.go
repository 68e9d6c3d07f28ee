package integration

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity/spiffe"
	"github.com/slimbridge/slimbridge/session/identity/spiffe/workloadtest"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// serveAgent serves a Workload API on a socket and returns its path.
func serveAgent(t *testing.T, a *workloadtest.Agent) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "workload") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	a.Serve(t, l)
	return path
}

// A real app and ours, each with a SPIFFE identity from an agent of one trust
// domain; either one opens, with MLS.
func TestInteropSPIFFE(t *testing.T) {
	p := realslim.Require(t)
	const alice, bob = "spiffe://example.org/ns/default/sa/alice", "spiffe://example.org/ns/default/sa/bob"
	for _, kind := range realslim.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			domain := workloadtest.NewDomain(t, "example.org")
			socket, theirs := serveAgent(t, domain.Agent(t, alice)), serveAgent(t, domain.Agent(t, bob))
			endpoint := startNode(t, p, ours, realslim.NodeOptions{})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			me, err := spiffe.Open(ctx, spiffe.Config{Addr: socket})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = me.Close() })
			app := ourApp(t, endpoint, "org/ns/alice", func(c *session.Config) { c.Identity, c.Verifier = me, me })
			startEcho(t, app, bob)
			real := p.StartApp(t, kind, realslim.AppOptions{
				Endpoint: endpoint, Name: "org/ns/bob", SPIRE: &realslim.SPIRE{Socket: theirs}, Accept: realslim.Echo, Binding: "enforce",
			})
			if want := name.IDOf(bob).String(); real.ID != want {
				t.Errorf("the real app has id %s, we derive %s", real.ID, want)
			}
			converseOnce(t, ourTalker{App: app}, "org/ns/bob")
			converseOnce(t, realTalker{real}, "org/ns/alice")
			noIdentityWarnings(t, real)
		})
	}
}
