package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUsageErrors(t *testing.T) {
	tests := []struct {
		name string
		args string // separated by spaces
		want string // on standard error
		help string // the command whose help is named
	}{
		{"nothing", "", "which command?", "slimbridge"},
		{"unknown command", "frobnicate", `unknown command "frobnicate"`, "slimbridge"},
		{"misspelled command", "bnech", `did you mean "bench"?`, "slimbridge"},
		{"misspelled subcommand", "mcp conect a/b/c", `did you mean "connect"?`, "slimbridge mcp"},
		{"group alone", "mcp", "which command?", "slimbridge mcp"},
		{"completion alone", "completion", "which command?", "slimbridge completion"},
		{"completion for another shell", "completion tcsh", `unknown command "tcsh"`, "slimbridge completion"},
		{"help for nothing", "help nosuch", `unknown command "nosuch"`, "slimbridge help"},
		{"help for nothing below", "help mcp serv", `did you mean "serve"?`, "slimbridge help"},
		{"secret alone", "secret", "which command?", "slimbridge secret"},
		{"unknown flag", "node --frob", "unknown flag: --frob", "slimbridge node"},
		{"argument too many", "version now", `unknown command "now"`, "slimbridge version"},
		{"log level", "version --log-level loud", `--log-level "loud": want trace, debug, info, warn, error or off`, "slimbridge version"},
		{"log format", "version --log-format xml", `--log-format "xml": want text or json`, "slimbridge version"},
		{"node with scheme http", "node --listen http://127.0.0.1:1", "written without scheme", "slimbridge node"},
		{"node without port", "node --listen localhost", "want host:port", "slimbridge node"},
		{"node config and listen", "node --listen 127.0.0.1:0 --config x.yaml", "--listen and --config are both given", "slimbridge node"},
		{"connect without name", "mcp connect", "accepts 1 arg(s), received 0", "slimbridge mcp connect"},
		{"connect to two parts", "mcp connect a/b", "want three parts, organisation/namespace/app", "slimbridge mcp connect"},
		{"connect to colon", "mcp connect a/b/c:d", "not allowed", "slimbridge mcp connect"},
		{"connect own name", "mcp connect a/b/c --name me", "--name: name \"me\"", "slimbridge mcp connect"},
		{"connect ftp", "mcp connect a/b/c --node ftp://h", `scheme "ftp" is not supported: want http, https, ws or wss`, "slimbridge mcp connect"},
		{"connect no URL", "mcp connect a/b/c --node localhost:46357", "is no URL", "slimbridge mcp connect"},
		{"connect no host", "mcp connect a/b/c --node http://", "has no host", "slimbridge mcp connect"},
		{"connect bad port", "mcp connect a/b/c --node http://h:99999", "not in 1 to 65535", "slimbridge mcp connect"},
		{"connect password", "mcp connect a/b/c --node http://u:hunter2@h", "no user name or password", "slimbridge mcp connect"},
		{"connect embedded", "mcp connect a/b/c --node embedded", "embedded is for mcp serve", "slimbridge mcp connect"},
		{"connect mls", "mcp connect a/b/c --mls maybe", `--mls "maybe": want on or off`, "slimbridge mcp connect"},
		{"connect era", "mcp connect a/b/c --peer-era old", `--peer-era "old": want auto, legacy or modern`, "slimbridge mcp connect"},
		{"connect timeout", "mcp connect a/b/c --timeout -1s", "is negative", "slimbridge mcp connect"},
		{"connect timeout without unit", "mcp connect a/b/c --timeout 5", "missing unit", "slimbridge mcp connect"},
		{"secret as a flag", "mcp connect a/b/c --secret hunter2", "unknown flag: --secret", "slimbridge mcp connect"},
		{"serve without name", "mcp serve", "which name?", "slimbridge mcp serve"},
		{"serve command without name", "mcp serve -- cat", "which name?", "slimbridge mcp serve"},
		{"serve without command", "mcp serve a/b/c", "put its command after --", "slimbridge mcp serve"},
		{"serve with empty command", "mcp serve a/b/c --", "put its command after --", "slimbridge mcp serve"},
		{"serve without dashes", "mcp serve a/b/c cat", "put its command after --", "slimbridge mcp serve"},
		{"serve with two names", "mcp serve a/b/c d -- cat", "one argument too many", "slimbridge mcp serve"},
		{"serve children", "mcp serve a/b/c --max-children 0 -- cat", "want at least 1", "slimbridge mcp serve"},
		{"bench n", "bench -n 0", "-n 0: want 1 to", "slimbridge bench"},
		{"bench negative n", "bench -n -5", "-n -5: want 1 to", "slimbridge bench"},
		{"bench size 0", "bench --sizes 0", `--sizes "0": want byte counts from 1 to 3600000`, "slimbridge bench"},
		{"bench size above", "bench --sizes 256,3600001", "from 1 to 3600000", "slimbridge bench"},
		{"bench size text", "bench --sizes 1k", `--sizes "1k"`, "slimbridge bench"},
		{"bench sizes empty", "bench --sizes=", `--sizes ""`, "slimbridge bench"},
		{"bench mls", "bench --mls yes", "want on, off or both", "slimbridge bench"},
		{"bench reliable", "bench --reliable yes", "want on, off or both", "slimbridge bench"},
		{"bench output", "bench -o csv", "want table or json", "slimbridge bench"},
		{"bench to", "bench --to x", "--to: name", "slimbridge bench"},
		{"bench timeout", "bench --timeout 0s", "want more than 0", "slimbridge bench"},
		{"send without name", "send", "accepts between 1 and 2 arg(s), received 0", "slimbridge send"},
		{"send to two parts", "send a/b hi", "peer name: name", "slimbridge send"},
		{"send own name", "send a/b/c hi --name me", "--name: name", "slimbridge send"},
		{"send two words", "send a/b/c hello there", "accepts between 1 and 2 arg(s), received 3", "slimbridge send"},
		{"send reliable", "send a/b/c hi --reliable maybe", `--reliable "maybe": want on or off`, "slimbridge send"},
		{"send mls", "send a/b/c hi --mls maybe", `--mls "maybe": want on or off`, "slimbridge send"},
		{"send timeout alone", "send a/b/c hi --timeout 1s", "add --request", "slimbridge send"},
		{"send timeout 0", "send a/b/c hi --request --timeout 0s", "--timeout 0s: want more than 0", "slimbridge send"},
		{"send node", "send a/b/c hi --node localhost", "is no URL", "slimbridge send"},
		{"receive without name", "receive", "accepts 1 arg(s), received 0", "slimbridge receive"},
		{"receive under two parts", "receive a/b", "our name: name", "slimbridge receive"},
		{"receive two answers", "receive a/b/c --echo --reply x", "--echo and --reply are both given", "slimbridge receive"},
		{"receive number", "receive a/b/c -n 0", "--number 0: want at least 1", "slimbridge receive"},
		{"receive embedded", "receive a/b/c --node embedded", "is no URL", "slimbridge receive"},
		{"group alone", "group", "which command?", "slimbridge group"},
		{"group misspelled", "group jion", `did you mean "join"?`, "slimbridge group"},
		{"create without channel", "group create --invite a/b/c", "accepts 1 arg(s), received 0", "slimbridge group create"},
		{"create bad channel", "group create lobby --invite a/b/c", "channel name: name", "slimbridge group create"},
		{"create alone", "group create a/b/c", "whom to invite? --invite", "slimbridge group create"},
		{"create bad member", "group create a/b/c --invite bob", `--invite: name "bob"`, "slimbridge group create"},
		{"create wait", "group create a/b/c --invite a/b/d --wait -1s", "--wait -1s is negative", "slimbridge group create"},
		{"create secret as a flag", "group create a/b/c --invite a/b/d --secret hunter2", "unknown flag: --secret", "slimbridge group create"},
		{"join without name", "group join --any", "who are we? --as", "slimbridge group join"},
		{"join bad name", "group join --as bob --any", `--as: name "bob"`, "slimbridge group join"},
		{"join nobody", "group join --as a/b/c", "who may invite us? --moderator", "slimbridge group join"},
		{"join both", "group join --as a/b/c --any --moderator a/b/d", "--moderator and --any are both given", "slimbridge group join"},
		{"join bad moderator", "group join --as a/b/c --moderator x", `--moderator: name "x"`, "slimbridge group join"},
		{"join argument", "group join a/b/c", "unknown command", "slimbridge group join"},
		{"secret new argument", "secret new hunter2", "unknown command", "slimbridge secret new"},
		{"demo argument", "demo x", "unknown command", "slimbridge demo"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			isolate(t)
			r := slimbridge(t, strings.Fields(tc.args)...)
			if r.code != exitUsage || r.stdout != "" {
				t.Errorf("exit code %d and %q on stdout, want %d and nothing", r.code, r.stdout, exitUsage)
			}
			want := "\nsee " + tc.help + " --help\n"
			if !strings.Contains(r.stderr, tc.want) || !strings.HasSuffix(r.stderr, want) || !strings.Contains(r.stderr, "slimbridge: ") {
				t.Errorf("stderr:\n%s\nwant %q and at the end %q", r.stderr, tc.want, want)
			}
			if strings.Contains(r.stderr, "hunter2") && tc.name == "connect password" {
				t.Error("the password is shown")
			}
		})
	}
}

func TestUsageErrorsOfTheEnvironment(t *testing.T) {
	isolate(t)
	t.Setenv(envNode, "gopher://x")
	r := slimbridge(t, "mcp", "connect", "a/b/c")
	if r.code != exitUsage || !strings.HasPrefix(r.stderr, `slimbridge: SLIM_NODE "gopher://x": scheme "gopher" is not supported`) {
		t.Errorf("got %+v", r)
	}
}

// TestFailures are errors of the run: one line, no usage, exit code 1.
func TestFailures(t *testing.T) {
	endpoint, _ := startNode(t)
	inUse := strings.TrimPrefix(endpoint, "http://")
	dir := t.TempDir()
	config := filepath.Join(dir, "node.yaml")
	if err := os.WriteFile(config, []byte("services:\n  slim/0:\n    dataplane:\n      serverz: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(dir, "short")
	if err := os.WriteFile(short, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	free := unusedAddress(t)
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	web := server.URL
	tests := []struct {
		name string
		args string
		want []string
	}{
		{"port in use", "node --listen " + inUse, []string{inUse, "already in use", "--listen"}},
		{"config missing", "node --config " + dir + "/none.yaml", []string{"none.yaml", "no such file"}},
		{"config unknown key", "node --config " + config, []string{"node.yaml", "line 4", "serverz"}},
		{"server command missing", "mcp serve a/b/c -- no-such-program", []string{"command not found", "no-such-program"}},
		{"server variable of SLIM", "mcp serve a/b/c --env SLIM_SHARED_SECRET -- go", []string{"SLIM_SHARED_SECRET must not reach the server"}},
		{"serve unreachable node", "mcp serve a/b/c --node http://" + free + " -- go", []string{"cannot reach a SLIM node at http://" + free + ": connection refused; start one with `slimbridge node`"}},
		{"bench unreachable node", "bench -n 1 --node http://" + free, []string{"cannot reach a SLIM node at http://" + free + ": connection refused"}},
		{"bench unreachable websocket", "bench -n 1 --node ws://" + free + "/", []string{"cannot reach a SLIM node at ws://" + free}},
		{"serve at a web server", "mcp serve a/b/c --node " + web + " -- go", []string{"cannot reach a SLIM node at " + web + ": what listens there does not speak gRPC"}},
		{"serve without TLS", "mcp serve a/b/c --node https://" + inUse + " -- go", []string{"cannot reach a SLIM node at https://" + inUse, "does not speak TLS"}},
		{"send unreachable node", "send a/b/c hi --secret-file " + secretFile(t) + " --node http://" + free, []string{"cannot reach a SLIM node at http://" + free + ": connection refused"}},
		{"send without secret", "send a/b/c hi", []string{"no shared secret", "`receive`", "--secret-file", envSecretFile}},
		{"join unreachable node", "group join --as a/b/c --any --node http://" + free, []string{"cannot reach a SLIM node at http://" + free + ": connection refused"}},
		{"bench nobody there", "bench -n 1 --to a/b/nobody --timeout 500ms --secret-file " + secretFile(t) + " --node " + endpoint, []string{"no answer from a/b/nobody within 500ms", "same secret"}},
		{"connect without secret", "mcp connect a/b/c", []string{"no shared secret", "slimbridge mcp serve", "--secret-file", envSecretFile}},
		{"connect short secret", "mcp connect a/b/c --secret-file " + short, []string{"secret has 7 bytes, needs at least 32", "slimbridge secret new", short}},
		{"connect missing secret", "mcp connect a/b/c --secret-file " + dir + "/none", []string{"no secret file " + dir + "/none", "slimbridge secret new --out"}},
		{"connect directory as secret", "mcp connect a/b/c --secret-file " + dir, []string{"is a directory"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			isolate(t)
			r := slimbridge(t, append(strings.Fields(tc.args), "--log-level", "off")...)
			lines := strings.Split(strings.TrimSuffix(r.stderr, "\n"), "\n")
			last := lines[len(lines)-1]
			if r.code != exitFailure || r.stdout != "" || !strings.HasPrefix(last, "slimbridge: ") {
				t.Fatalf("got %+v, want exit code 1 and one line", r)
			}
			if made := strings.HasPrefix(lines[0], "slimbridge: made a shared secret"); len(lines) > 1 && !(made && len(lines) == 2) {
				t.Errorf("more than one line:\n%s", r.stderr)
			}
			for _, want := range tc.want {
				if !strings.Contains(last, want) {
					t.Errorf("no %q in %q", want, last)
				}
			}
			if strings.Contains(r.stderr, "hunter2") {
				t.Error("the secret is shown")
			}
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	commands := []string{"node", "mcp serve", "mcp connect", "send", "receive", "group create", "group join", "bench", "demo", "secret new", "version"}
	for _, c := range commands {
		t.Run(c, func(t *testing.T) {
			r := slimbridge(t, append(strings.Fields(c), "--help")...)
			if r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, "Examples:\n  slimbridge "+c) {
				t.Errorf("got %+v", r)
			}
		})
	}
	if a, b := slimbridge(t, "help", "mcp", "serve"), slimbridge(t, "mcp", "serve", "--help"); a != b {
		t.Errorf("help and --help differ:\n%+v\n%+v", a, b)
	}
	root := slimbridge(t, "--help")
	for _, want := range append(commands[:1:1], "slimbridge demo", envNode, envSecret, envSecretFile, "130 SIGINT") {
		if !strings.Contains(root.stdout, want) {
			t.Errorf("the help of the root has no %q", want)
		}
	}
	for line := range strings.Lines(root.stdout) {
		if len(line) > 121 {
			t.Errorf("line of %d characters: %s", len(line), line)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := slimbridge(t, "completion", shell); r.code != 0 || !strings.Contains(r.stdout, "slimbridge") {
			t.Errorf("%s: exit code %d, %d bytes, %s", shell, r.code, len(r.stdout), r.stderr)
		}
	}
	r := slimbridge(t, "__complete", "mcp", "connect", "--peer-era", "")
	if !strings.HasPrefix(r.stdout, "auto\nlegacy\nmodern\n") {
		t.Errorf("values of --peer-era: %q", r.stdout)
	}
}
