package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	mcpclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// childArg makes the test binary a stdio MCP server, of both protocol eras.
const childArg = "integration-mcp-child"

// childMain does not return if the process was started as that server.
func childMain() {
	if len(os.Args) < 2 || os.Args[1] != childArg {
		return
	}
	s := server.NewMCPServer("child", "1.0.0", server.WithToolCapabilities(false))
	s.AddTool(mcp.NewTool("echo", mcp.WithString("text")), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(r.GetString("text", "")), nil
	})
	s.AddTool(mcp.NewTool("wait", mcp.WithNumber("ms")), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		select {
		case <-time.After(time.Duration(r.GetInt("ms", 0)) * time.Millisecond):
		case <-ctx.Done():
		}
		return mcp.NewToolResultText("waited"), nil
	})
	if server.ServeStdio(s) != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// host is an MCP client that started `mcp connect`, as an MCP host does.
type host struct {
	*mcpclient.Client
	cmd     *exec.Cmd
	version string
}

func startHost(t *testing.T, path *mcpPath, version string) *host {
	t.Helper()
	h := &host{}
	launch := func(ctx context.Context, _ string, _, _ []string) (*exec.Cmd, error) {
		h.cmd = exec.CommandContext(ctx, path.connect[0], path.connect[1:]...)
		h.cmd.Env = path.env
		return h.cmd, nil
	}
	var options []mcpclient.ClientOption
	if version != "" {
		options = append(options, mcpclient.WithProtocolVersion(version))
	}
	h.Client = mcpclient.NewClient(transport.NewStdioWithOptions(path.connect[0], nil, nil, transport.WithCommandFunc(launch)), options...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := h.Start(context.WithoutCancel(ctx)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	answer, err := h.Initialize(ctx, mcp.InitializeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	h.version = answer.ProtocolVersion
	return h
}

func (h *host) call(ctx context.Context, tool string, args map[string]any) (string, error) {
	var r mcp.CallToolRequest
	r.Params.Name, r.Params.Arguments = tool, args
	answer, err := h.CallTool(ctx, r)
	if err != nil {
		return "", err
	}
	return mcp.GetTextFromContent(answer.Content[0]), nil
}

func (h *host) echo(t *testing.T, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got, err := h.call(ctx, "echo", map[string]any{"text": text}); err != nil || got != text {
		t.Errorf("echo %q: %q, %v", text, got, err)
	}
}

// processesOf lists live processes whose command line has the mark.
func processesOf(t *testing.T, mark string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		skipUnlessLinux(t, "processes cannot be counted without /proc")
	}
	var found []string
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), mark) {
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}

// skipUnlessLinux skips where there is no /proc; on Linux its absence is a fault.
func skipUnlessLinux(t *testing.T, why string) {
	t.Helper()
	if runtime.GOOS == "linux" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// The node dies in the middle of calls and comes back: calls under way complete,
// new ones work, nobody is restarted, and in the end no process is left.
func TestMCPNodeRestart(t *testing.T) {
	for _, version := range []string{"", "2025-11-25"} {
		t.Run("version "+version, func(t *testing.T) {
			mark := fmt.Sprintf("mark-%d-%s", time.Now().UnixNano(), version)
			path := newPath(t, []string{testBinary(t), childArg, mark})
			h := startHost(t, path, version)
			if version == "" && h.version != "2026-07-28" {
				t.Errorf("negotiated %s, want the stateless revision", h.version)
			}
			h.echo(t, "before")
			if n := len(processesOf(t, mark)); n == 0 {
				t.Error("no child process carries the mark: the count below would prove nothing")
			}
			type answer struct {
				text string
				err  error
			}
			answers := make(chan answer, 5)
			for range cap(answers) {
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					text, err := h.call(ctx, "wait", map[string]any{"ms": 1500})
					answers <- answer{text, err}
				}()
			}
			h.echo(t, "the calls are under way")
			_ = path.node.cmd.Process.Kill()
			<-path.node.done
			time.Sleep(2 * time.Second) // real processes: the answers become due while there is no node
			path.node = start(t, path.env, "listening", "node", "--listen", path.addr)
			for range cap(answers) {
				if a := <-answers; a.err != nil || a.text != "waited" {
					t.Errorf("call over the restart: %q, %v", a.text, a.err)
				}
			}
			h.echo(t, "after")
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			path.serve.stop()
			if left := processesOf(t, mark); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// The server's end is killed: who waits for an answer gets an error that says
// so, in good time.
func TestMCPServerKilled(t *testing.T) {
	mark := fmt.Sprintf("mark-%d-killed", time.Now().UnixNano())
	path := newPath(t, []string{testBinary(t), childArg, mark})
	h := startHost(t, path, "2025-11-25")
	h.echo(t, "before")
	failed := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := h.call(ctx, "wait", map[string]any{"ms": 50_000})
		failed <- err
	}()
	h.echo(t, "the call is under way")
	for _, f := range mustGlob(t, "/proc/[0-9]*/cmdline") {
		b, err := os.ReadFile(f)
		if err == nil && strings.HasPrefix(string(b), testBinary(t)+"\x00"+childArg+"\x00"+mark) {
			var pid int
			if _, err := fmt.Sscanf(filepath.Base(filepath.Dir(f)), "%d", &pid); err != nil {
				t.Fatal(err)
			}
			p, err := os.FindProcess(pid)
			if err != nil {
				t.Fatal(err)
			}
			_ = p.Kill()
		}
	}
	select {
	case err := <-failed:
		if err == nil || !strings.Contains(err.Error(), "exit") && !strings.Contains(err.Error(), "kill") {
			t.Errorf("the call: %v, want an error that tells of the server's end", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the call hangs after its server was killed")
	}
}

func mustGlob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		skipUnlessLinux(t, "processes cannot be found without /proc")
	}
	return files
}

func testBinary(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
