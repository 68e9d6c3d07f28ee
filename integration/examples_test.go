package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
)

// example builds a program of examples/.
func example(t *testing.T, name string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", binary, "../examples/"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// userEnv is the environment of a user with the secret of genuine applications.
func userEnv(t *testing.T, node string) []string {
	t.Helper()
	home := t.TempDir()
	secret := filepath.Join(home, "secret")
	if err := os.WriteFile(secret, []byte(realslim.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "SLIM_NODE=" + node, "SLIM_SHARED_SECRET_FILE=" + secret}
}

// atOurNode is userEnv with the node command at its other end.
func atOurNode(t *testing.T) []string {
	t.Helper()
	addr := freePort(t)
	env := userEnv(t, "http://"+addr)
	start(t, env, "listening", "node", "--listen", addr)
	return env
}

// printer is a program in the background that prints on standard output.
type printer struct {
	*process
	file string
}

func startPrinter(t *testing.T, env []string, ready, program string, args ...string) *printer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stdout")
	shell := append([]string{"-c", `exec "$0" "$@" >"$STDOUT"`, program}, args...)
	return &printer{startProgram(t, "sh", append(slices.Clone(env), "STDOUT="+file), ready, shell...), file}
}

func (p *printer) printed(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// expect waits for text on standard output.
func (p *printer) expect(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(p.printed(t), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q on standard output, only:\n%s", text, p.printed(t))
		}
	}
}

// ends waits for the end by itself, without an error.
func (p *printer) ends(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("exit code %d:\n%s", code, p.text())
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("does not end:\n%s", p.text())
	}
}

// output runs a program to its end and returns what it printed.
func output(t *testing.T, env []string, stdin, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = env
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(program), strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// sorted is text with its lines in order.
func sorted(text string) string {
	lines := slices.Sorted(strings.Lines(text))
	return strings.Join(lines, "")
}

// eachGenuine runs f with a node and applications of each release.
func eachGenuine(t *testing.T, f func(t *testing.T, k realslim.Kind, start func(realslim.Kind, realslim.AppOptions) *realslim.App, env []string)) {
	p := realslim.Require(t)
	for _, k := range realslim.Kinds {
		t.Run(string(k), func(t *testing.T) {
			node := p.StartNode(t, k, realslim.NodeOptions{Strict: true})
			f(t, k, func(k realslim.Kind, o realslim.AppOptions) *realslim.App {
				o.Endpoint, o.Strict = node.Endpoint, true
				return p.StartApp(t, k, o)
			}, userEnv(t, node.Endpoint))
		})
	}
}

// converseAs sends a text in a session of a genuine application and returns the
// next message.
func converseAs(t *testing.T, s *realslim.Session, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Send(ctx, []byte(text)); err != nil {
		t.Fatal(err)
	}
	m, err := s.Recv(ctx, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return string(m.Payload)
}

// The examples run as their README says.
func TestExampleMCPServer(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if out, err := exec.Command(slimbridge(t), "secret", "new", "--out", secret).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	binary := example(t, "mcp-server")
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

func TestExampleFireAndForget(t *testing.T) {
	binary := example(t, "fire-and-forget")
	const sent = "sent 20.0 °C\nsent 20.1 °C\nsent 20.2 °C\nsent 20.3 °C\nsent 20.4 °C\n"
	t.Run("ours", func(t *testing.T) {
		env := atOurNode(t)
		display := startPrinter(t, env, "listens", binary, "display")
		if got := output(t, env, "", binary, "thermometer"); got != sent {
			t.Errorf("the thermometer prints %q", got)
		}
		display.expect(t, "org/examples/thermometer > 20.4 °C\n")
		if got, want := display.printed(t), strings.ReplaceAll(sent, "sent", "org/examples/thermometer >"); got != want {
			t.Errorf("the display prints %q, want %q", got, want)
		}
	})
	t.Run("kind of session", func(t *testing.T) {
		endpoint := startOurNode(t, realslim.NodeOptions{})
		l, err := ourApp(t, endpoint, "org/examples/display", nil).Listen(session.ListenOptions{Security: session.AllowPlain})
		if err != nil {
			t.Fatal(err)
		}
		output(t, userEnv(t, endpoint), "", binary, "thermometer")
		s, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Reliable() || !s.Encrypted() {
			t.Errorf("reliable %v, encrypted %v; want unreliable and encrypted", s.Reliable(), s.Encrypted())
		}
	})
	eachGenuine(t, func(t *testing.T, k realslim.Kind, start func(realslim.Kind, realslim.AppOptions) *realslim.App, env []string) {
		t.Run("display", func(t *testing.T) {
			display := start(k, realslim.AppOptions{Name: "org/examples/display", Accept: realslim.Drive})
			if got := output(t, env, "", binary, "thermometer"); got != sent {
				t.Errorf("the thermometer prints %q", got)
			}
			s, err := display.NextSession(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got string
			for range 5 {
				m, err := s.Recv(t.Context(), 20*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				got += "sent " + string(m.Payload) + "\n"
			}
			if got != sent {
				t.Errorf("the display hears %q", got)
			}
			display.Kill()
		})
		t.Run("thermometer", func(t *testing.T) {
			display := startPrinter(t, env, "listens", binary, "display")
			s, err := start(k, realslim.AppOptions{Name: "org/examples/thermometer"}).Open(t.Context(), realslim.OpenOptions{Peer: "org/examples/display", MLS: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Post(t.Context(), realslim.Message{Payload: []byte("-40")}); err != nil {
				t.Fatal(err)
			}
			display.expect(t, "org/examples/thermometer > -40\n")
		})
	})
}

func TestExampleRequestReply(t *testing.T) {
	binary := example(t, "request-reply")
	t.Run("ours", func(t *testing.T) {
		env := atOurNode(t)
		startProgram(t, binary, env, "listens", "server")
		const want = "org/examples/capitals > HELLO\norg/examples/capitals > WORLD\n"
		if got := output(t, env, "", binary, "client", "hello", "world"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	eachGenuine(t, func(t *testing.T, k realslim.Kind, start func(realslim.Kind, realslim.AppOptions) *realslim.App, env []string) {
		t.Run("server", func(t *testing.T) {
			server := start(k, realslim.AppOptions{Name: "org/examples/capitals", Accept: realslim.Echo})
			if got := output(t, env, "", binary, "client", "hello"); got != "org/examples/capitals > hello\n" {
				t.Errorf("got %q", got)
			}
			server.Kill()
		})
		t.Run("client", func(t *testing.T) {
			startProgram(t, binary, env, "listens", "server")
			s, err := start(k, realslim.AppOptions{Name: "org/examples/client"}).Open(t.Context(), realslim.OpenOptions{Peer: "org/examples/capitals", MLS: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"hello", "world"} {
				if got := converseAs(t, s, word); got != strings.ToUpper(word) {
					t.Errorf("got %q", got)
				}
			}
		})
	})
}

var answered = regexp.MustCompile(`(?m)^  ([0-9a-f-]{36}) answered (\d+)$`)

// spread checks what the client of the anycast example prints.
func spread(t *testing.T, text string) {
	t.Helper()
	plain, sticky, ok := strings.Cut(text, "30 requests, sticky true, instances 1\n")
	if !ok || !strings.HasPrefix(plain, "30 requests, sticky false, instances 3\n") {
		t.Fatalf("the client prints\n%s", text)
	}
	for _, part := range []struct {
		text      string
		instances int
		least     int // answers of each
	}{{plain, 3, 5}, {sticky, 1, 30}} {
		found := answered.FindAllStringSubmatch(part.text, -1)
		sum := 0
		for _, f := range found {
			n, _ := strconv.Atoi(f[2])
			if sum += n; n < part.least {
				t.Errorf("instance %s answered %d, want at least %d", f[1], n, part.least)
			}
		}
		if len(found) != part.instances || sum != 30 {
			t.Errorf("%d instances, %d answers:\n%s", len(found), sum, text)
		}
	}
}

func TestExampleAnycast(t *testing.T) {
	binary := example(t, "anycast")
	t.Run("ours", func(t *testing.T) {
		env := atOurNode(t)
		for range 3 {
			startProgram(t, binary, env, "listens", "instance")
		}
		spread(t, output(t, env, "", binary, "client"))
	})
	// Our node, since genuine ones choose at random.
	t.Run("instances of "+string(realslim.Core22)+" and "+string(realslim.Core34), func(t *testing.T) {
		p := realslim.Require(t)
		endpoint := startOurNode(t, realslim.NodeOptions{Strict: true})
		for _, k := range []realslim.Kind{realslim.Core22, realslim.Core34, realslim.Core34} {
			p.StartApp(t, k, realslim.AppOptions{Endpoint: endpoint, Name: "org/examples/service", Accept: realslim.Echo, Strict: true})
		}
		spread(t, output(t, userEnv(t, endpoint), "", binary, "client"))
	})
	for _, k := range realslim.Kinds {
		t.Run("client of "+string(k), func(t *testing.T) {
			p := realslim.Require(t)
			endpoint := startOurNode(t, realslim.NodeOptions{Strict: true})
			env := userEnv(t, endpoint)
			for range 3 {
				startProgram(t, binary, env, "listens", "instance")
			}
			client := p.StartApp(t, k, realslim.AppOptions{Endpoint: endpoint, Name: "org/examples/client", Strict: true})
			instances := map[string]bool{}
			for _, mls := range []bool{false, true, false, true} {
				s, err := client.Open(t.Context(), realslim.OpenOptions{Peer: "org/examples/service", MLS: mls})
				if err != nil {
					t.Fatal(err)
				}
				who := converseAs(t, s, "who is there?")
				instances[who] = true
				for range 3 {
					if again := converseAs(t, s, "who is there?"); again != who {
						t.Errorf("a session is with %q, then with %q", who, again)
					}
				}
			}
			if len(instances) != 3 {
				t.Errorf("four sessions met %v", instances)
			}
		})
	}
}
