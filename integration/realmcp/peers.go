package realmcp

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
)

//go:embed scripts/client.mjs
var typeScriptClient []byte

// Peers is an installation of the real programs.
type Peers struct {
	dir string
}

// Require finds the installation of .ci/peers. Without one the test is skipped, or failed if SLIM_INTEROP=require.
func Require(t testing.TB) Peers {
	t.Helper()
	return Peers{dir: realslim.Require(t).Dir()}
}

// Everything is the command of the reference server over stdio.
func (p Peers) Everything() []string {
	return []string{"node", filepath.Join(p.dir, "npm/node_modules/@modelcontextprotocol/server-everything/dist/index.js"), "stdio"}
}

// Server is what a client starts.
type Server struct {
	Command []string // program and arguments; MCP on its standard input and output
	Env     []string // "NAME=value", added to a small environment (PATH, HOME, ...)
	Legacy  bool     // the Go clients begin with initialize instead of server/discover; the TypeScript client always does
}

func (s Server) environment() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()}
	return append(env, s.Env...)
}

// command prepares the server as a child of a Go client, in a process group that is killed when ctx ends.
func (s Server) command(ctx context.Context, stderr *output) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.Command[0], s.Command[1:]...)
	cmd.Env = s.environment()
	cmd.Stderr = stderr
	endWithContext(cmd)
	return cmd
}

// output collects what a child writes; it may be read before the child is gone.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func endWithContext(cmd *exec.Cmd) {
	ownGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = time.Second
}

// RunTypeScript runs the scenario with the TypeScript SDK.
func (p Peers) RunTypeScript(ctx context.Context, s Server) Report {
	r, err := p.runTypeScript(ctx, s)
	if err != nil {
		r.Client = "TypeScript SDK"
		r.Checks = append(r.Checks, Check{Name: "initialize", Detail: err.Error()})
	}
	return r
}

func (p Peers) runTypeScript(ctx context.Context, s Server) (Report, error) {
	dir, err := os.MkdirTemp("", "realmcp-")
	if err != nil {
		return Report{}, err
	}
	defer os.RemoveAll(dir)
	script := filepath.Join(dir, "client.mjs")
	if err := os.WriteFile(script, typeScriptClient, 0o600); err != nil {
		return Report{}, err
	}
	env := map[string]string{}
	for _, e := range s.environment() {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	args, err := json.Marshal(map[string]any{"command": s.Command, "env": env})
	if err != nil {
		return Report{}, err
	}
	cmd := exec.CommandContext(ctx, "node", script, string(args))
	cmd.Env = append(os.Environ(), "SLIMBRIDGE_PEERS="+p.dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	endWithContext(cmd)
	err = cmd.Run()
	r := Report{Stderr: stderr.String()}
	if err != nil {
		return r, fmt.Errorf("TypeScript client: %w: %s", err, r.Stderr)
	}
	return r, json.Unmarshal(stdout.Bytes(), &r)
}
