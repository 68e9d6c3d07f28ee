package bridge_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A bridge that is killed takes its servers along.
func TestKilledBridgeLeavesNoChild(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv("bridge")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var answer struct{ Result int }
	if err := json.NewDecoder(out).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if answer.Result == 0 || syscall.Kill(answer.Result, 0) != nil {
		t.Fatalf("process %d does not run", answer.Result)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if running(answer.Result) {
		t.Errorf("process %d is still there", answer.Result)
		_ = syscall.Kill(answer.Result, syscall.SIGKILL)
	}
}

// running reports whether a process still runs shortly after it was killed. One
// that only waits to be collected by init does not.
func running(pid int) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") || strings.Contains(string(stat), ") X ") {
			return false
		}
	}
	return true
}
