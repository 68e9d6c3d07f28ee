package realmcp_test

import (
	"context"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realmcp"
)

// TestNoServer shows that a command that is no server gives a report, in time.
func TestNoServer(t *testing.T) {
	p := realmcp.Require(t)
	commands := map[string][]string{"exits": {"false"}, "is silent": {"sleep", "1000"}, "does not exist": {"/nonexistent"}}
	clients := map[string]func(context.Context, realmcp.Server) realmcp.Report{
		"TypeScript": p.RunTypeScript, "mcp-go": realmcp.RunMCPGo, "go-sdk": realmcp.RunGoSDK,
	}
	for what, command := range commands {
		for name, run := range clients {
			t.Run(name+" and a command that "+what, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				r := run(ctx, realmcp.Server{Command: command})
				if failed := r.Failed(); len(failed) != len(realmcp.CheckNames) || failed[0].Detail == "" {
					t.Errorf("%d checks failed: %v", len(failed), failed)
				}
			})
		}
	}
}

func TestClients(t *testing.T) {
	p := realmcp.Require(t)
	direct := realmcp.Server{Command: p.Everything()}
	legacy := realmcp.Server{Command: p.Everything(), Legacy: true}
	tests := []struct {
		name   string
		server realmcp.Server
		run    func(context.Context, realmcp.Server) realmcp.Report
	}{
		{"TypeScript", direct, p.RunTypeScript},
		{"mcp-go", direct, realmcp.RunMCPGo},
		{"mcp-go legacy", legacy, realmcp.RunMCPGo},
		{"go-sdk", direct, realmcp.RunGoSDK},
		{"go-sdk legacy", legacy, realmcp.RunGoSDK},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			r := tc.run(ctx, tc.server)
			for _, c := range r.Checks {
				t.Log(c)
			}
			for _, c := range r.Failed() {
				t.Error(c)
			}
			if r.Server != "mcp-servers/everything" {
				t.Errorf("server %q", r.Server)
			}
		})
	}
}
