package bridge_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/slimbridge/slimbridge/bridge"
)

// childMode in the environment makes the test binary an MCP server.
const childMode = "BRIDGE_TEST_CHILD"

// runAsChild is the program that the tests start: it answers each line, and
// misbehaves as the method says.
func runAsChild() bool {
	mode := os.Getenv(childMode)
	switch mode {
	case "":
		return false
	case "grandchild":
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childMode+"=stubborn")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		fmt.Printf(`{"jsonrpc":"2.0","method":"pid","params":{"progressToken":%d}}`+"\n", cmd.Process.Pid)
	case "bridge": // starts a server that ends neither with its input nor by itself
		c, err := bridge.NewCommand(bridge.CommandConfig{Args: []string{os.Args[0]}, Env: childEnv("deaf")})
		if err != nil {
			panic(err)
		}
		p, err := c.Open(context.Background())
		if err != nil {
			panic(err)
		}
		if err := p.WriteFrame(context.Background(), []byte(request("1", "pid"))); err != nil {
			panic(err)
		}
		frame, err := p.ReadFrame(context.Background())
		if err != nil {
			panic(err)
		}
		fmt.Println(string(frame))
		select {}
	case "stubborn": // ends neither with its input nor by SIGTERM
		signal.Ignore(syscall.SIGTERM)
		fmt.Printf(`{"jsonrpc":"2.0","method":"ready"}` + "\n")
		time.Sleep(time.Minute) //nolint:forbidigo // a process under test, killed long before
		return true
	}
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			if mode == "deaf" { // needs SIGTERM
				select {}
			}
			return true
		}
		answerAsChild(line)
	}
}

func answerAsChild(line string) {
	var r struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if json.Unmarshal([]byte(line), &r) != nil {
		os.Exit(9)
	}
	answer := "true"
	switch r.Method {
	case "die":
		fmt.Fprintf(os.Stderr, "some words\nlast words\n\n")
		os.Exit(3)
	case "noise":
		fmt.Println("Need to install the following packages")
		fmt.Println("[INFO] ready")
		fmt.Printf("{\n  \"jsonrpc\": \"2.0\",\n  \"id\": %s,\n  \"result\": {\n    \"n\": 1.0\n  }\n}\n", r.ID)
		return
	case "pid":
		answer = strconv.Itoa(os.Getpid())
	case "stderr":
		fmt.Fprintln(os.Stderr, strings.Repeat("e", 1<<20))
	case "env":
		var names []string
		for _, e := range os.Environ() {
			names = append(names, strings.SplitN(e, "=", 2)[0])
		}
		sort.Strings(names)
		b, _ := json.Marshal(names)
		answer = string(b)
	}
	fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":%s}`+"\n", r.ID, answer)
}

// childEnv selects the mode of a child, and spares it the second that the race
// detector waits at exit.
func childEnv(mode string) []string {
	return []string{childMode + "=" + mode, "GORACE=atexit_sleep_ms=0"}
}

func newChild(t *testing.T, mode string, log zerolog.Logger) bridge.FramePipe {
	t.Helper()
	c, err := bridge.NewCommand(bridge.CommandConfig{Args: []string{os.Args[0]}, Env: childEnv(mode), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	c.HurryForTest(time.Second, time.Second)
	p, err := c.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Close()
		_ = c.Close()
		if _, err := c.Open(context.Background()); !errors.Is(err, os.ErrClosed) {
			t.Errorf("opened after Close: %v", err)
		}
	})
	return p
}

func readChild(t *testing.T, p bridge.FramePipe) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	frame, err := p.ReadFrame(ctx)
	return string(frame), err
}

func callChild(t *testing.T, p bridge.FramePipe, method string) string {
	t.Helper()
	if err := p.WriteFrame(t.Context(), []byte(request("1.0", method))); err != nil {
		t.Fatal(err)
	}
	frame, err := readChild(t, p)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func TestChild(t *testing.T) {
	t.Setenv("SLIM_SHARED_SECRET", "must not be seen")
	t.Setenv("OTHER", "x")
	var log bytes.Buffer
	p := newChild(t, "echo", zerolog.New(zerolog.SyncWriter(&log)))
	if got, want := callChild(t, p, "a"), `{"jsonrpc":"2.0","id":1.0,"result":true}`; got != want {
		t.Errorf("got %s", got)
	}
	if got, want := callChild(t, p, "noise"), `{"jsonrpc":"2.0","id":1.0,"result":{"n":1.0}}`; got != want {
		t.Errorf("got %s", got)
	}
	if got := callChild(t, p, "stderr"); !strings.Contains(got, "true") { // would block if stderr were not read
		t.Errorf("got %s", got)
	}
	if got := callChild(t, p, "env"); strings.Contains(got, "SLIM") || strings.Contains(got, "OTHER") || !strings.Contains(got, `"PATH"`) || !strings.Contains(got, childMode) {
		t.Errorf("environment %s", got)
	}
	if err := p.WriteFrame(t.Context(), []byte(request("2", "die"))); err != nil {
		t.Fatal(err)
	}
	_, err := readChild(t, p)
	var exit *bridge.ExitError
	if !errors.As(err, &exit) || exit.Status != "exit status 3" || exit.LastLine != "last words" {
		t.Errorf("got %v", err)
	}
	_ = p.Close() // the log is complete
	for _, want := range []string{"Need to install", "[INFO] ready", "last words"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log misses %q", want)
		}
	}
	for line := range strings.Lines(log.String()) {
		if len(line) > 5000 {
			t.Errorf("a log line of %d bytes", len(line))
		}
	}
}

func TestChildStops(t *testing.T) {
	tests := []struct {
		mode     string
		min, max time.Duration
	}{
		{"echo", 0, 900 * time.Millisecond},             // by its closed input
		{"deaf", time.Second, 1900 * time.Millisecond},  // by SIGTERM
		{"stubborn", 2 * time.Second, 10 * time.Second}, // by SIGKILL
	}
	for _, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			p := newChild(t, test.mode, zerolog.Nop())
			if test.mode == "stubborn" {
				if _, err := readChild(t, p); err != nil { // the signal is ignored by now
					t.Fatal(err)
				}
			} else {
				callChild(t, p, "a")
			}
			start := time.Now()
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d < test.min || d > test.max {
				t.Errorf("took %v", d)
			}
			if frame, err := readChild(t, p); err == nil {
				t.Errorf("read %s after Close", frame)
			}
		})
	}
}

func TestCommandErrors(t *testing.T) {
	tests := []struct {
		name   string
		config bridge.CommandConfig
		want   string
	}{
		{"nothing", bridge.CommandConfig{}, "no command"},
		{"not found", bridge.CommandConfig{Args: []string{"no-such-program-anywhere"}}, "command not found"},
		{"secret", bridge.CommandConfig{Args: []string{os.Args[0]}, Env: []string{"slim_shared_secret=x"}}, "must not reach"},
		{"no name", bridge.CommandConfig{Args: []string{os.Args[0]}, Env: []string{"=x"}}, "without a name"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := bridge.NewCommand(test.config); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A whole far side with real processes.
func TestServeCommand(t *testing.T) {
	command, err := bridge.NewCommand(bridge.CommandConfig{Args: []string{os.Args[0]}, Env: childEnv("echo")})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(c *bridge.ServeConfig) { c.Backend = command })
	c := s.client()
	c.send(request("1", "initialize"))
	c.want(`{"jsonrpc":"2.0","id":1,"result":true}`)
	c.send(request("2", "die"))
	c.wantError("2", "MCP server ended (exit status 3): last words")
	c.wantEnd()
}
