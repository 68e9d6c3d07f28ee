package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session/identity/jwtid"
	"github.com/slimbridge/slimbridge/session/identity/spiffe/workloadtest"
)

// The commands meet real apps with JWT and SPIFFE identities, as they do with a
// shared secret.
func TestInteropCommandIdentities(t *testing.T) {
	p := realslim.Require(t)
	file := func(t *testing.T, text string) string {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ask := func(t *testing.T, kind realslim.Kind, bob realslim.AppOptions, flags ...string) {
		t.Helper()
		bob.Endpoint, bob.Name, bob.Accept, bob.Binding = startNode(t, p, ours, realslim.NodeOptions{}), "org/ns/bob", realslim.Echo, "enforce"
		p.StartApp(t, kind, bob)
		args := append([]string{"send", bob.Name, "--request", "there?", "--node", bob.Endpoint}, flags...)
		if out, err := exec.Command(slimbridge(t), args...).CombinedOutput(); err != nil || string(out) != "there?\n" {
			t.Errorf("%q, %v", out, err)
		}
	}
	for _, kind := range realslim.Kinds {
		for _, alg := range []jwtid.Algorithm{jwtid.HS256, jwtid.ES256} {
			t.Run(string(kind)+"/"+string(alg), func(t *testing.T) {
				keys := newJWTKeys(t, alg)
				ask(t, kind, realslim.AppOptions{JWT: keys.real("org/ns/bob")},
					"--jwt-key", file(t, keys.sign), "--jwt-verify", file(t, keys.verify), "--jwt-algorithm", string(alg),
					"--jwt-issuer", jwtIssuer, "--jwt-audience", jwtAudience)
			})
		}
		t.Run(string(kind)+"/SPIFFE", func(t *testing.T) {
			domain := workloadtest.NewDomain(t, "example.org")
			alice, bob := serveAgent(t, domain.Agent(t, "spiffe://example.org/alice")), serveAgent(t, domain.Agent(t, "spiffe://example.org/bob"))
			ask(t, kind, realslim.AppOptions{SPIRE: &realslim.SPIRE{Socket: bob}}, "--spiffe", alice)
		})
	}
}
