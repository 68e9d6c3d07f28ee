package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestNodeStopsOnSignals(t *testing.T) {
	tests := []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGTERM, 143}, {syscall.SIGINT, 130}, {syscall.SIGHUP, 129}}
	for _, tc := range tests {
		t.Run(tc.signal.String(), func(t *testing.T) {
			_, r := startNode(t)
			r.stop(&signalError{tc.signal})
			if code := r.wait(); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
		})
	}
}

// TestSignalsOfTheSystem runs the program as a process.
func TestSignalsOfTheSystem(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows has no signals to send")
	}
	tests := []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGTERM, 143}, {syscall.SIGINT, 130}}
	for _, tc := range tests {
		t.Run(tc.signal.String(), func(t *testing.T) {
			isolate(t)
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(exe, "node", "--listen", "127.0.0.1:0")
			cmd.Env = append(os.Environ(), envRole+"=slimbridge")
			stderr := newLineWriter()
			cmd.Stderr = stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stderr.expect(t, "slimbridge: SLIM node listening at http://127.0.0.1:")
			if err := cmd.Process.Signal(tc.signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // is an error for every exit code but 0
			if code := cmd.ProcessState.ExitCode(); code != tc.code {
				t.Errorf("exit code %d, want %d; standard error:\n%s", code, tc.code, stderr)
			}
		})
	}
}

func TestSecondSignalForces(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows has no signals to send")
	}
	codes := make(chan int, 1)
	ctx, stop := watchSignals(t.Context(), func(code int) { codes <- code })
	defer stop()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if len(codes) != 0 {
		t.Fatal("the first signal already forces")
	}
	if err := self.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-codes:
		if code != 130 {
			t.Errorf("exit code %d, want 130", code)
		}
	case <-time.After(10 * time.Second):
		t.Error("the second signal is ignored")
	}
}

func TestNodeListensTwice(t *testing.T) {
	r := start(t, strings.NewReader(""), io.Discard, "node", "--listen", "127.0.0.1:0", "--listen", "ws://127.0.0.1:0/slim", "--log-format", "json")
	line := r.stderr.expect(t, "listening at ")
	if !strings.HasPrefix(line, "http://127.0.0.1:") || !strings.Contains(line, " and ws://127.0.0.1:") || !strings.HasSuffix(line, "/slim") {
		t.Errorf("got %q", line)
	}
	for l := range strings.Lines(r.stderr.String()) {
		if strings.HasPrefix(l, "slimbridge: ") {
			continue
		}
		var entry struct{ Level, Time, Message string }
		if err := json.Unmarshal([]byte(l), &entry); err != nil || entry.Level == "" || entry.Message == "" {
			t.Errorf("log line %q: %v", l, err)
		} else if _, err := time.Parse(time.RFC3339, entry.Time); err != nil {
			t.Error(err)
		}
	}
}

// TestNodeTutorialConfig starts the file of the SLIM tutorial in its older form.
func TestNodeTutorialConfig(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	text := "tracing:\n  log_level: error\nservices:\n  slim/0:\n    pubsub:\n      servers:\n        - endpoint: \"127.0.0.1:0\"\n          tls:\n            insecure: true\n      clients: []\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, strings.NewReader(""), io.Discard, "node", "--config", config)
	r.stderr.expect(t, "listening at http://127.0.0.1:")
	if strings.Contains(r.stderr.String(), "INF") {
		t.Errorf("the log level of the file is ignored:\n%s", r.stderr)
	}
	r.stop(&signalError{syscall.SIGTERM})
	if code := r.wait(); code != 143 {
		t.Errorf("exit code %d, want 143", code)
	}
}
