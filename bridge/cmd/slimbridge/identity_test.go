package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/spiffe/workloadtest"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

func TestIdentitiesMeet(t *testing.T) {
	for kind, pair := range pairs {
		t.Run(kind, func(t *testing.T) {
			isolate(t)
			endpoint, _ := startNode(t)
			bob, alice := pair(t)
			at := func(flags []string, args ...string) []string {
				return slices.Concat(args, []string{"--node", endpoint}, flags)
			}
			r := startSpeaker(t, at(bob, "receive", "acme/people/bob", "--reply", "here", "-n", "1")...)
			r.stderr.expect(t, "listening as ")
			s := slimbridge(t, at(alice, "send", "acme/people/bob", "--request", "there?")...)
			if s.code != 0 || s.stdout != "here\n" || s.stderr != "" {
				t.Fatalf("send: %+v\n%s", s, r.stderr)
			}
			if code := r.wait(); code != 0 {
				t.Fatalf("receive ended with %d:\n%s", code, r.stderr)
			}
			j := startSpeaker(t, at(bob, "group", "join", "--as", "acme/people/bob", "--any")...)
			j.stderr.expect(t, "waits for an invitation")
			g := startSpeaker(t, at(alice, "group", "create", "acme/chat/lobby", "--invite", "acme/people/bob")...)
			g.say("Hello group!")
			j.stdout.expect(t, "> Hello group!")
			if code := g.end(); code != 0 {
				t.Errorf("create ended with %d:\n%s", code, g.stderr)
			}
			if code := j.wait(); code != 0 {
				t.Errorf("join ended with %d:\n%s", code, j.stderr)
			}
		})
	}
}

// TestIdentityStrangers are refused: bob warns, and does not answer.
func TestIdentityStrangers(t *testing.T) {
	key, public := pemFiles(t, p256Key(t))
	otherKey, otherPublic := pemFiles(t, p256Key(t))
	d := workloadtest.NewDomain(t, "example.org")
	agents := []string{"--spiffe", agentSocket(t, d, "spiffe://example.org/bob")}
	guests := []string{"--spiffe", agentSocket(t, d, "spiffe://example.org/alice")}
	strangers := []string{"--spiffe", agentSocket(t, workloadtest.NewDomain(t, "example.org"), "spiffe://example.org/alice")}
	mine := []string{"--jwt-key", key, "--jwt-verify", public}
	with := func(flags []string, more ...string) []string { return slices.Concat(flags, more) }
	tests := []struct {
		name          string
		bob, stranger []string
		want          error
	}{
		{"JWT of another key", mine, []string{"--jwt-key", otherKey, "--jwt-verify", otherPublic}, identity.ErrUntrusted},
		{"JWT of another issuer", with(mine, "--jwt-issuer", "us"), with(mine, "--jwt-issuer", "them"), identity.ErrIssuer},
		{"JWT for another audience", with(mine, "--jwt-audience", "us"), with(mine, "--jwt-audience", "them"), identity.ErrAudience},
		{"SVID of another authority", agents, strangers, identity.ErrUntrusted},
		{"SVID for another audience", with(agents, "--spiffe-audience", "us"), guests, identity.ErrAudience},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			isolate(t)
			endpoint, _ := startNode(t)
			r := startSpeaker(t, with(tc.bob, "receive", "acme/people/bob", "--node", endpoint)...)
			r.stderr.expect(t, "listening as ")
			s := startSpeaker(t, with(tc.stranger, "send", "acme/people/bob", "hello", "--node", endpoint)...)
			r.stderr.expect(t, tc.want.Error())
			s.stop(&signalError{syscall.SIGTERM})
			if code := s.wait(); code != 143 || r.stdout.String() != "" {
				t.Errorf("send ended with %d, bob heard %q", code, r.stdout)
			}
		})
	}
}

// TestIdentityOfMCP has two clients of one identity at once, as two MCP hosts of one
// user are: each gets its own answers.
func TestIdentityOfMCP(t *testing.T) {
	d := workloadtest.NewDomain(t, "example.org")
	key, public := pemFiles(t, p256Key(t))
	for name, flags := range map[string][2][]string{
		"SPIFFE": {{"--spiffe", agentSocket(t, d, "spiffe://example.org/server")}, {"--spiffe", agentSocket(t, d, "spiffe://example.org/user")}},
		"JWT":    {{"--jwt-key", key, "--jwt-verify", public}, {"--jwt-key", key, "--jwt-verify", public}},
	} {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			endpoint, _ := startNode(t)
			serveCalculator(t, endpoint, flags[0]...)
			var hosts []*host
			var lines []*bufio.Reader
			for range 2 {
				h := connectTo(t, append(flags[1], "--node", endpoint)...)
				hosts, lines = append(hosts, h), append(lines, bufio.NewReader(h.stdout))
			}
			for _, request := range []string{initialize, `{"jsonrpc":"2.0","id":1,"method":"ping"}`} {
				for i, h := range hosts {
					if text, code := h.request(t, lines[i], request); code != 0 {
						t.Fatalf("client %d: %d %q\n%s", i, code, text, h.stderr)
					}
				}
			}
		})
	}
}

// TestIdentityOfBothEnds needs two subjects, which not every kind can give.
func TestIdentityOfBothEnds(t *testing.T) {
	commands := [][]string{{"demo"}, {"bench", "--node", "embedded", "--sizes", "64", "--mls", "on", "-n", "3"}}
	for kind, pair := range pairs {
		t.Run(kind, func(t *testing.T) {
			isolate(t)
			flags, _ := pair(t)
			var one string
			for _, f := range []string{"--jwt-subject", "--jwt-token", "--spiffe"} {
				if slices.Contains(flags, f) {
					one = f
				}
			}
			for _, command := range commands {
				r := slimbridge(t, slices.Concat(command, flags)...)
				switch {
				case one == "" && (r.code != 0 || strings.Contains(r.stderr, "warning")):
					t.Errorf("%s: %+v", command, r)
				case one != "" && (r.code != exitUsage || !strings.Contains(r.stderr, one+" makes both ends one identity")):
					t.Errorf("%s: %+v", command, r)
				}
			}
		})
	}
}

func TestIdentityMistakes(t *testing.T) {
	key, public := pemFiles(t, p256Key(t))
	other, _ := pemFiles(t, p256Key(t))
	rs, _ := pemFiles(t, rsaKey(t))
	jwks := writeFile(t, `{"keys":[{"kty":"oct","kid":"alice","alg":"HS256","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}`)
	token := tokenFor(t, p256Key(t), p256Key(t), "s")
	agent := agentSocket(t, workloadtest.NewDomain(t, "example.org"), "spiffe://example.org/bob")
	tests := []struct {
		name, args string
		env        []string
		code       int
		want       string
	}{
		{"secret and JWT", "--secret-file x --jwt-key k", nil, exitUsage, "--secret-file and --jwt-key are both given: an app has one kind of identity"},
		{"JWT and SPIFFE", "--jwt-verify v --spiffe s", nil, exitUsage, "--jwt-verify and --spiffe are both given"},
		{"variables of two kinds", "", []string{"SLIM_SHARED_SECRET_FILE=x", "SLIM_SPIFFE=s"}, exitUsage, "SLIM_SHARED_SECRET_FILE and SLIM_SPIFFE are both given"},
		{"variables of two other kinds", "", []string{"SLIM_JWT_KEY=x", "SLIM_SPIFFE=s"}, exitUsage, "SLIM_JWT_KEY and SLIM_SPIFFE are both given"},
		{"a flag before variables of other kinds", "--secret-file /none", []string{"SLIM_JWT_KEY=x", "SLIM_SPIFFE=s"}, exitFailure, "no secret file /none"},
		{"no key", "--jwt-verify v", nil, exitUsage, "--jwt-verify is given, but not who we are: --jwt-key"},
		{"no key by variable", "", []string{"SLIM_JWT_ISSUER=i"}, exitUsage, "SLIM_JWT_ISSUER is given, but not who we are"},
		{"no verify", "--jwt-key k", nil, exitUsage, "--jwt-key is given, but not whom we believe: --jwt-verify"},
		{"token without key", "--jwt-token t --jwt-verify v", nil, exitUsage, "--jwt-token needs --jwt-key"},
		{"token with subject", "--jwt-token t --jwt-verify v --jwt-key k --jwt-subject s", nil, exitUsage, "the subject of --jwt-token is in the token"},
		{"algorithm", "--jwt-key k --jwt-verify v --jwt-algorithm none", nil, exitUsage, `--jwt-algorithm "none": want ES256, `},
		{"trust", "--jwt-key k --jwt-verify v --jwt-trust all", nil, exitUsage, `--jwt-trust "all": want apps or issuers`},
		{"issuers without issuer", "--jwt-key k --jwt-verify v --jwt-trust issuers", nil, exitUsage, "needs --jwt-issuer"},
		{"missing key file", "--jwt-key /none --jwt-verify " + public, nil, exitFailure, "--jwt-key: there is no file /none: make a key with `openssl genpkey"},
		{"missing key file by variable", "--jwt-verify " + public, []string{"SLIM_JWT_KEY=/none"}, exitFailure, "SLIM_JWT_KEY: there is no file /none"},
		{"missing public key", "--jwt-key " + key + " --jwt-verify /none", nil, exitFailure, "--jwt-verify: open /none"},
		{"public key to sign", "--jwt-key " + public + " --jwt-verify " + public, nil, exitFailure, "no private key to sign with"},
		{"RSA key without algorithm", "--jwt-key " + rs + " --jwt-verify " + public, nil, exitFailure, "RSA keys and HS secrets need --jwt-algorithm"},
		{"no key at all", "--jwt-key " + token + " --jwt-verify " + public, nil, exitFailure, "--jwt-key: jwtid: signing key: " + token},
		{"not our own key to verify", "--jwt-key " + other + " --jwt-verify " + public, nil, exitFailure, "--jwt-verify has no key for our own token: want the keys of all members there"},
		{"subject of nobody's key", "--jwt-key " + jwks + " --jwt-verify " + jwks, nil, exitFailure, "--jwt-verify lets our own key sign for its key id alone: use that with --jwt-subject"},
		{"token of another key", "--jwt-token " + token + " --jwt-key " + key + " --jwt-verify " + public, nil, exitFailure, "want claim pubkey with our key"},
		{"token with RSA key", "--jwt-token " + token + " --jwt-key " + rs + " --jwt-verify " + public, nil, exitFailure, "not a P-256 private key"},
		{"no Workload API", "--spiffe-audience slim", nil, exitUsage, "--spiffe-audience is given, but no Workload API: --spiffe with its socket"},
		{"bad address", "--spiffe http://127.0.0.1:1", nil, exitUsage, "--spiffe: spiffe: Config.Addr"},
		{"our own domain not believed", "--spiffe " + agent + " --spiffe-trust-domain example.com", nil, exitFailure, "our own identity spiffe://example.org/bob is not among those that we believe"},
		{"ID of somebody else", "--spiffe " + agent + " --spiffe-id spiffe://example.org/alice", nil, exitFailure, "no identity issued"},
		{"no agent", "--spiffe /none/agent.sock", nil, exitFailure, "is the agent running, and is this process registered with it?"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			isolate(t)
			for _, e := range tc.env {
				k, v, _ := strings.Cut(e, "=")
				t.Setenv(k, v)
			}
			for _, command := range []string{"mcp connect a/b/c", "receive a/b/c", "bench"} {
				r := slimbridge(t, strings.Fields(command+" "+tc.args)...)
				if r.code != tc.code || r.stdout != "" || !strings.Contains(r.stderr, tc.want) || strings.Contains(r.stderr, "eyJ") || strings.Contains(r.stderr, "MIG") {
					t.Errorf("%s: got %+v, want %d and %q", command, r, tc.code, tc.want)
				}
			}
		})
	}
}

// TestIdentityOfEveryCommand: none is left with the secret alone.
func TestIdentityOfEveryCommand(t *testing.T) {
	for _, command := range []string{"mcp serve a/b/c --spiffe /none/agent.sock -- go", "mcp connect a/b/c", "send a/b/c hi", "receive a/b/c", "group create a/b/c --invite a/b/d", "group join --as a/b/c --any", "demo", "bench"} {
		t.Run(command, func(t *testing.T) {
			isolate(t)
			if !strings.Contains(command, "--spiffe") {
				command += " --spiffe /none/agent.sock"
			}
			r := slimbridge(t, strings.Fields(command)...)
			if r.code != exitFailure || !strings.Contains(r.stderr, "--spiffe /none/agent.sock: spiffe: Workload API") {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestIdentityNames(t *testing.T) {
	n := name.MustParse("local/mcp/client")
	for _, tc := range []struct {
		subject string
		varied  bool
	}{
		{"spiffe://example.org/user", true},
		{"user 4711", true},
		{"local/mcp/client", false},
		{"acme/people/alice", false}, // warned about
	} {
		a, b := distinct(n, tc.subject), distinct(n, tc.subject)
		if varied := a != n; varied != tc.varied || varied && (a == b || !strings.HasPrefix(a.Path(), n.Path()+"-")) {
			t.Errorf("%s: %s and %s", tc.subject, a.Path(), b.Path())
		}
	}
	isolate(t)
	key, public := pemFiles(t, p256Key(t))
	i := identityFlags{jwt: jwtFlags{key: setting{"jwt-key", key}, verify: setting{"jwt-verify", public}}}
	c, err := i.jwt.open(newProgram(strings.NewReader(""), nil, newLineWriter()))
	if err != nil {
		t.Fatal(err)
	}
	var subjects []string
	for range 2 { // two processes
		me, _, err := c.of(n)
		if err != nil || !fits(me.Subject(), n) {
			t.Fatalf("%v, %v", me, err)
		}
		subjects = append(subjects, me.Subject())
	}
	if subjects[0] == subjects[1] || c.defaultName(n) != n {
		t.Errorf("subjects %v, name %s", subjects, c.defaultName(n).Path())
	}
	endpoint, _ := startNode(t)
	r := startSpeaker(t, "receive", "acme/people/bob", "--node", endpoint, "--jwt-key", key, "--jwt-verify", public, "--jwt-subject", "acme/people/alice")
	r.stderr.expect(t, "warning: our identity is acme/people/alice, which is not our name acme/people/bob")
}

func TestIdentityKeyReadableByOthers(t *testing.T) {
	isolate(t)
	endpoint, _ := startNode(t)
	key, public := pemFiles(t, p256Key(t))
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	r := startSpeaker(t, "receive", "acme/people/bob", "--node", endpoint, "--jwt-key", key, "--jwt-verify", public)
	r.stderr.expect(t, fmt.Sprintf("%s is accessible to others", key))
}

func TestIdentityVariables(t *testing.T) {
	var i identityFlags
	i.add(&cobra.Command{})
	for _, s := range []struct {
		s    *setting
		want string
	}{{&i.jwt.key, "SLIM_JWT_KEY"}, {&i.spiffe.socket, "SLIM_SPIFFE"}, {&i.spiffe.domains, "SLIM_SPIFFE_TRUST_DOMAIN"}} {
		if got := s.s.variable(); got != s.want {
			t.Errorf("--%s: %s, want %s", s.s.flag, got, s.want)
		}
	}
}
