package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	mcpgo "github.com/mark3labs/mcp-go/mcp"
)

// serveCalculator runs mcp serve with this test binary as the MCP server.
func serveCalculator(t *testing.T, endpoint string, flags ...string) *running {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"mcp", "serve", "acme/tools/calculator", "--node", endpoint, "--env", envRole + "=calculator"}, flags...)
	r := start(t, strings.NewReader(""), io.Discard, append(args, "--", exe)...)
	line := r.stderr.expect(t, "slimbridge: serving acme/tools/calculator through "+endpoint)
	if want := ", connect with: slimbridge mcp connect acme/tools/calculator --node " + endpoint; line != want {
		t.Errorf("announced %q, want %q", line, want)
	}
	return r
}

// host is the MCP host that a connect talks to.
type host struct {
	*running
	stdin  io.WriteCloser
	stdout *io.PipeReader
}

func connectTo(t *testing.T, args ...string) *host {
	t.Helper()
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = stdout.Close()
	})
	return &host{start(t, in, out, append([]string{"mcp", "connect", "acme/tools/calculator"}, args...)...), stdin, stdout}
}

func TestServeAndConnect(t *testing.T) {
	secret := isolate(t) // both ends use the secret of the user
	endpoint, _ := startNode(t)
	server := serveCalculator(t, endpoint)
	if !strings.Contains(server.stderr.String(), "made a shared secret for this user in "+secret) {
		t.Errorf("no word about the new secret:\n%s", server.stderr)
	}
	h := connectTo(t, "--node", endpoint)
	c := client.NewClient(transport.NewIO(h.stdout, h.stdin, io.NopCloser(strings.NewReader(""))))
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Initialize(t.Context(), mcpgo.InitializeRequest{}); err != nil {
		t.Fatalf("initialize: %v\n%s", err, h.stderr)
	}
	call := mcpgo.CallToolRequest{}
	call.Params.Name, call.Params.Arguments = "add", map[string]any{"a": 2, "b": 40}
	res, err := c.CallTool(t.Context(), call)
	if err != nil || len(res.Content) != 1 || mcpgo.GetTextFromContent(res.Content[0]) != "42" {
		t.Fatalf("add 2 40: %v, %v", res, err)
	}
	if err := h.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if code := h.wait(); code != 0 {
		t.Errorf("connect ended with %d after its host closed the input:\n%s", code, h.stderr)
	}
	_ = c.Close()
	server.stop(&signalError{syscall.SIGTERM})
	if code := server.wait(); code != 143 {
		t.Errorf("serve ended with %d, want 143", code)
	}
}

// request sends a line and returns the answer.
func (h *host) request(t *testing.T, lines *bufio.Reader, line string) (text string, code int) {
	t.Helper()
	if _, err := io.WriteString(h.stdin, line+"\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := lines.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		ID    json.RawMessage
		Error struct {
			Code    int
			Message string
		}
	}
	if err := json.Unmarshal(answer, &m); err != nil || len(m.ID) == 0 {
		t.Fatalf("answer %q: %v", answer, err)
	}
	return m.Error.Message, m.Error.Code
}

const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

// TestConnectBeforeNode starts in the wrong order: requests are answered with
// the reason until everything is there.
func TestConnectBeforeNode(t *testing.T) {
	isolate(t)
	secret := secretFile(t)
	address := unusedAddress(t)
	endpoint := "http://" + address
	h := connectTo(t, "--node", endpoint, "--secret-file", secret)
	lines := bufio.NewReader(h.stdout)
	text, code := h.request(t, lines, initialize)
	if code != -32603 || !strings.Contains(text, "cannot reach a SLIM node at "+endpoint+": connection refused; start one with `slimbridge node`") {
		t.Fatalf("without a node: %d %q", code, text)
	}
	start(t, strings.NewReader(""), io.Discard, "node", "--listen", address).stderr.expect(t, "listening at ")
	serveCalculator(t, endpoint, "--secret-file", secret)
	if text, code := h.request(t, lines, initialize); code != 0 {
		t.Fatalf("with node and server: %d %q\n%s", code, text, h.stderr)
	}
	h.stop(&signalError{syscall.SIGINT})
	if code := h.wait(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
}

// TestConnectUnused is a host that starts its servers and never speaks.
func TestConnectUnused(t *testing.T) {
	isolate(t)
	r := slimbridge(t, "mcp", "connect", "a/b/c", "--node", "http://"+unusedAddress(t), "--secret-file", secretFile(t))
	if r != (result{}) {
		t.Errorf("got %+v, want exit code 0 and silence", r)
	}
}

func TestServeEmbeddedPortInUse(t *testing.T) {
	isolate(t)
	r := start(t, strings.NewReader(""), io.Discard, "node", "--listen", defaultListen)
	select {
	case <-r.code: // somebody else has the port, which serves as well
	default:
		r.stderr.expect(t, "46357")
	}
	got := slimbridge(t, "mcp", "serve", "a/b/c", "--node", "embedded", "--", "go")
	if got.code != exitFailure || !strings.Contains(got.stderr, "slimbridge: --node embedded: 127.0.0.1:46357 is already in use, perhaps by another node") {
		t.Errorf("got %+v", got)
	}
}
