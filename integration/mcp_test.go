package integration

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realmcp"
	"github.com/slimbridge/slimbridge/integration/realslim"
)

func TestMain(m *testing.M) {
	realmcp.TapMain()
	childMain()
	os.Exit(m.Run())
}

var buildOnce sync.Once
var built struct {
	path string
	err  error
}

// slimbridge builds the product's one binary, once.
func slimbridge(t testing.TB) string {
	t.Helper()
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "slimbridge-test-*")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "slimbridge")
		out, err := exec.Command("go", "build", "-o", built.path, "../bridge/cmd/slimbridge").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// process is a running slimbridge command.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	mu   sync.Mutex
	log  bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// stop asks the process to end and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// start runs slimbridge in the background, with an empty home of its own.
func start(t testing.TB, env []string, ready string, args ...string) *process {
	t.Helper()
	return startProgram(t, slimbridge(t), env, ready, args...)
}

// startProgram runs a program until it says on standard error that it is ready.
func startProgram(t testing.TB, program string, env []string, ready string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(p.stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s %s:\n%s", filepath.Base(program), strings.Join(args, " "), p.text())
		}
	})
	deadline := time.After(30 * time.Second)
	for !strings.Contains(p.text(), ready) {
		select {
		case <-p.done:
			t.Fatalf("%s %s ended:\n%s", filepath.Base(program), strings.Join(args, " "), p.text())
		case <-deadline:
			t.Fatalf("%s %s does not get ready", filepath.Base(program), strings.Join(args, " "))
		case <-time.After(10 * time.Millisecond):
		}
	}
	return p
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// mcpPath is an MCP server behind `mcp serve` and the command that leads to it.
type mcpPath struct {
	connect []string
	env     []string
	node    *process
	serve   *process
	addr    string
}

func newPath(t testing.TB, server []string) *mcpPath {
	t.Helper()
	home := t.TempDir()
	secret := filepath.Join(home, "secret")
	if err := os.WriteFile(secret, []byte(realslim.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freePort(t)
	p := &mcpPath{addr: addr, env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "SLIM_NODE=http://" + addr, "SLIM_SHARED_SECRET_FILE=" + secret,
	}}
	p.node = start(t, p.env, "listening", "node", "--listen", addr)
	p.serve = start(t, p.env, "serving", append([]string{"mcp", "serve", "org/mcp/server", "--"}, server...)...)
	p.connect = []string{slimbridge(t), "mcp", "connect", "org/mcp/server"}
	return p
}

// A server that nobody here wrote, and three clients: everything they do works,
// and every frame passes the bridge byte for byte, in both directions.
func TestMCPEverything(t *testing.T) {
	peers := realmcp.Require(t)
	clients := map[string]func(context.Context, realmcp.Server) realmcp.Report{
		"typescript": peers.RunTypeScript, "mcp-go": realmcp.RunMCPGo, "go-sdk": realmcp.RunGoSDK,
	}
	for name, run := range clients {
		t.Run(name, func(t *testing.T) {
			near, far := t.TempDir(), t.TempDir()
			child, err := realmcp.Tap(far, peers.Everything())
			if err != nil {
				t.Fatal(err)
			}
			path := newPath(t, child)
			front, err := realmcp.Tap(near, path.connect)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			report := run(ctx, realmcp.Server{Command: front, Env: path.env})
			for _, c := range report.Failed() {
				t.Errorf("%v", c)
			}
			t.Logf("%d checks, server %q", len(report.Checks), report.Server)
			path.serve.stop()
			compareTaps(t, near, far)
		})
	}
}

// compareTaps holds what passed in front of the bridge against what passed
// behind it. A client that begins with server/discover is probed for in a
// session, and so a child, of its own: the recordings behind are joined.
func compareTaps(t *testing.T, near, far string) {
	t.Helper()
	a, err := realmcp.Recordings(near)
	if err != nil {
		t.Fatal(err)
	}
	b, err := realmcp.Recordings(far)
	if err != nil {
		t.Fatal(err)
	}
	if len(a) != 1 || len(b) == 0 || len(b) > 2 {
		t.Fatalf("%d and %d recordings", len(a), len(b))
	}
	var behind realmcp.Recording
	for _, r := range b {
		behind.ToServer = append(behind.ToServer, r.ToServer...)
		behind.ToClient = append(behind.ToClient, r.ToClient...)
	}
	t.Logf("%d frames to the server, %d to the client", len(a[0].ToServer), len(a[0].ToClient))
	for _, d := range realmcp.CompareTaps(a[0], behind) {
		t.Errorf("%v", d)
	}
}
