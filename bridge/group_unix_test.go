//go:build unix

package bridge_test

import (
	"strconv"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"github.com/slimbridge/slimbridge/adapters/mcp"
)

// The launcher ends by its closed input and leaves a server behind that heeds
// neither that nor SIGTERM.
func TestGrandchildIsStopped(t *testing.T) {
	p := newChild(t, "grandchild", zerolog.Nop())
	pid := 0
	for ready := false; pid == 0 || !ready; {
		frame, err := readChild(t, p)
		if err != nil {
			t.Fatal(err)
		}
		h, err := mcp.Scan([]byte(frame))
		if err != nil {
			t.Fatal(err)
		}
		if h.Method == "pid" {
			pid, _ = strconv.Atoi(string(h.ProgressToken))
		}
		ready = ready || h.Method == "ready"
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the grandchild does not run: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if running(pid) {
		t.Errorf("process %d is still there", pid)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
