package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/slimbridge/slimbridge/integration/realslim"
)

// The bench command measures any app that echoes, through any node, with the
// fields that scripts rely on.
func TestBenchCommand(t *testing.T) {
	p := realslim.Require(t)
	for _, kind := range realslim.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			node := p.StartNode(t, kind, realslim.NodeOptions{Strict: true})
			p.StartApp(t, kind, realslim.AppOptions{Endpoint: node.Endpoint, Name: "org/ns/echo", Accept: realslim.Echo, Strict: true})
			secret := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(secret, []byte(realslim.Secret), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(slimbridge(t), "bench", "--node", node.Endpoint, "--to", "org/ns/echo",
				"--secret-file", secret, "--sizes", "256,65536", "--mls", "both", "-n", "20", "-o", "json")
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var rows []map[string]any
			if err := json.Unmarshal(out, &rows); err != nil || len(rows) != 4 {
				t.Fatalf("%d rows, %v:\n%s", len(rows), err, out)
			}
			for _, row := range rows {
				for _, field := range []string{"n", "p50_ms", "p99_ms", "msgs_per_s"} {
					if v, ok := row[field].(float64); !ok || v <= 0 {
						t.Errorf("%v: %s = %v", row["case"], field, row[field])
					}
				}
				t.Logf("%v: p50 %.2f ms, %.0f round trips/s", row["case"], row["p50_ms"], row["msgs_per_s"])
			}
		})
	}
}
