package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The examples run as their README says.
func TestExampleMCPServer(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if out, err := exec.Command(slimbridge(t), "secret", "new", "--out", secret).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	binary := filepath.Join(dir, "mcp-server")
	if out, err := exec.Command("go", "build", "-o", binary, "../examples/mcp-server").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	addr := freePort(t)
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SLIM_NODE=http://" + addr, "SLIM_SHARED_SECRET_FILE=" + secret}
	start(t, env, "listening", "node", "--listen", addr)
	startProgram(t, binary, env, "serving")
	h := startHost(t, &mcpPath{connect: []string{slimbridge(t), "mcp", "connect", "org/examples/greeter"}, env: env}, "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got, err := h.call(ctx, "greet", map[string]any{"who": "SLIM"}); err != nil || got != "Hello SLIM!" {
		t.Errorf("greet: %q, %v", got, err)
	}
}
