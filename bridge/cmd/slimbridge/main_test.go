package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/server"
	"github.com/spf13/cobra"
	"go.uber.org/goleak"
)

// envRole makes the test binary play another program.
const envRole = "SLIMBRIDGE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case "slimbridge":
		main()
	case "calculator":
		if err := server.ServeStdio(calculator()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// isolate gives the test a home of its own and no settings from outside. It
// returns where the secret of the user would be.
func isolate(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	t.Setenv("AppData", filepath.Join(home, "config"))
	for _, name := range []string{envNode, envSecret, envSecretFile} {
		t.Setenv(name, "")
	}
	var i identityFlags
	i.add(&cobra.Command{})
	for _, s := range slices.Concat(i.jwt.all(), i.spiffe.all()) {
		t.Setenv(s.variable(), "")
	}
	path, err := userSecretFile()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// result of a command line.
type result struct {
	code           int
	stdout, stderr string
}

func slimbridge(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := newProgram(strings.NewReader(""), &stdout, &stderr).run(t.Context(), args)
	return result{code, stdout.String(), stderr.String()}
}

// running is a command line that has not ended.
type running struct {
	t      *testing.T
	stop   context.CancelCauseFunc
	stderr *lineWriter
	code   chan int
}

// start runs a command in the background until the end of the test at the
// latest.
func start(t *testing.T, stdin io.Reader, stdout io.Writer, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &running{t: t, stop: cancel, stderr: newLineWriter(), code: make(chan int, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { r.code <- newProgram(stdin, stdout, r.stderr).run(ctx, args) })
	t.Cleanup(func() {
		cancel(context.Canceled)
		wg.Wait()
	})
	return r
}

// wait returns the exit code.
func (r *running) wait() int {
	r.t.Helper()
	select {
	case code := <-r.code:
		return code
	case <-time.After(20 * time.Second):
		r.t.Fatalf("still running; standard error:\n%s", r.stderr)
		return -1
	}
}

// lineWriter lets a test wait for a line.
type lineWriter struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func newLineWriter() *lineWriter { return &lineWriter{more: make(chan struct{}, 1)} }

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	select {
	case w.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (w *lineWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// expect returns what follows mark in its line, once the line is complete.
func (w *lineWriter) expect(t *testing.T, mark string) string {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		if _, rest, ok := strings.Cut(w.String(), mark); ok {
			if line, _, ok := strings.Cut(rest, "\n"); ok {
				return line
			}
		}
		select {
		case <-w.more:
		case <-limit:
			t.Fatalf("no %q on standard error, only:\n%s", mark, w)
		}
	}
}

// startNode runs the node command and returns its endpoint.
func startNode(t *testing.T) (endpoint string, r *running) {
	t.Helper()
	r = start(t, strings.NewReader(""), io.Discard, "node", "--listen", "127.0.0.1:0", "--log-level", "warn")
	return r.stderr.expect(t, "listening at "), r
}
