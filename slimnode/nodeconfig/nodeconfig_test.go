package nodeconfig

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/slimnode"
)

var fixed = Sources{
	Env: func(n string) (string, bool) {
		v, ok := map[string]string{"EP": "127.0.0.1:1", "N": "4", "NL": "secret-host\n"}[n]
		return v, ok
	},
	File: func(p string) ([]byte, error) {
		if p == "/ep" {
			return []byte("127.0.0.1:2\n"), nil
		}
		return nil, errors.New("open " + p + ": no such file")
	},
}

const minimal = "services: {slim/0: {dataplane: {servers: [{endpoint: '0.0.0.0:46357', tls: {insecure: true}}]}}}\n"

func TestDecode(t *testing.T) {
	one := slimnode.Config{Listeners: []slimnode.Listener{{Endpoint: "0.0.0.0:46357"}}}
	defaults := Settings{LogLevel: "info", DrainTimeout: 10 * time.Second}
	for _, tc := range []struct {
		name string
		file string // of testdata, or
		yaml string
		want slimnode.Config
		set  Settings
	}{
		{name: "minimal", yaml: minimal, want: one, set: defaults},
		{name: "tutorial, old form", file: "tutorial.yaml", want: one, set: Settings{
			LogLevel: "info", DrainTimeout: 10 * time.Second,
			Warnings: []string{"line 11: services.slim/0.pubsub: old name of dataplane; real nodes of today reject it"},
		}},
		{name: "every accepted key", file: "full.yaml",
			want: slimnode.Config{
				NodeID:     "node-a",
				RequirePQC: true,
				Listeners: []slimnode.Listener{
					{Endpoint: "[::]:46357", AllowNoMAC: true, NegotiationTimeout: 7 * time.Second},
					{Endpoint: "ws://localhost:8080/slim"},
				},
				Clients: []slimnode.Client{{Endpoint: "http://other:46357", LinkID: "l1", AllowNoMAC: true}, {Endpoint: "ws://other:8080/slim"}},
			},
			set: Settings{LogLevel: "debug", DrainTimeout: 90 * time.Second, Warnings: []string{
				"line 6: tracing.filters: no effect: this node has no log targets, log_level decides",
				"line 9: runtime.n_cores: no effect: set GOMAXPROCS in the environment instead",
				"line 15: services.gateway/main-1.domain_name: no effect: it is for peers and control planes, which this node does not have",
				"line 29: services.gateway/main-1.dataplane.servers[0].max_frame_size: no effect: this node has its own limits",
				"line 30: services.gateway/main-1.dataplane.servers[0].keepalive: no effect: this node pings every 120 s and waits 20 s",
				"line 42: services.gateway/main-1.dataplane.clients[0].backoff: no effect: this node waits 0.1 s, doubling up to 5 s, without limit",
			}},
		},
		{name: "environment", yaml: strings.ReplaceAll(minimal, "0.0.0.0:46357", "${env:EP}"),
			want: slimnode.Config{Listeners: []slimnode.Listener{{Endpoint: "127.0.0.1:1"}}}, set: defaults},
		{name: "only whole values are replaced", yaml: "runtime: {thread_name: 'a${env:UNSET}b'}\n" + minimal, want: one, set: defaults},
		{name: "anchors", yaml: "services: {slim/0: {dataplane: {servers: [{endpoint: '1.2.3.4:1', tls: &t {insecure: true}}, {endpoint: '1.2.3.4:2', tls: *t}]}}}",
			want: slimnode.Config{Listeners: []slimnode.Listener{{Endpoint: "1.2.3.4:1"}, {Endpoint: "1.2.3.4:2"}}}, set: defaults},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.file != "" {
				b, err := os.ReadFile(filepath.Join("testdata", tc.file))
				if err != nil {
					t.Fatal(err)
				}
				tc.yaml = string(b)
			}
			cfg, set, err := Decode([]byte(tc.yaml), fixed)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(cfg, tc.want) {
				t.Errorf("config\n got %+v\nwant %+v", cfg, tc.want)
			}
			if !reflect.DeepEqual(set, tc.set) {
				t.Errorf("settings\n got %q\nwant %q", set, tc.set)
			}
		})
	}
}

// Each refusal names the line, the key and what to do.
func TestRefused(t *testing.T) {
	server := func(s string) string {
		return "services:\n  slim/0:\n    dataplane:\n      servers:\n        - endpoint: 1.2.3.4:5\n          tls: {insecure: true}\n          " + s + "\n"
	}
	client := func(s string) string { return strings.Replace(server(s), "servers:", "clients:", 1) }
	endpoint := func(s string) string {
		return strings.ReplaceAll(minimal, "'0.0.0.0:46357'", s)
	}
	const noTLS = "TLS is not supported by this version"
	for _, tc := range []struct{ name, yaml, want string }{
		{"empty", "", "the configuration is empty"},
		{"two documents", minimal + "---\n" + minimal, "more than one YAML document"},
		{"no mapping", "[1]", "line 1: want a mapping of keys, not a list"},
		{"no services", "tracing: {}", "line 1: services: missing"},
		{"no service", "services: {}", "line 1: services: want one service"},
		{"two services", "services:\n  slim/0: {}\n  slim/1: {}", "line 3: services: a second service"},
		{"service key", "services: {slim: {}}", `line 1: services: service key "slim": want kind/name`},
		{"nothing to do", "services: {slim/0: {dataplane: {}}}", "dataplane needs at least one server or client"},
		{"top level", "a: 1\n" + minimal, `line 1: unknown key "a"; known are: runtime, services, tracing`},
		{"tracing", "tracing: {filter: x}\n" + minimal, `line 1: tracing: unknown key "filter"; known are: display_thread_ids, display_thread_names, filters,`},
		{"twice", "tracing: {}\ntracing: {}\n" + minimal, `line 2: key "tracing" appears twice`},
		{"log level", "tracing: {log_level: loud}\n" + minimal, `line 1: tracing.log_level: "loud" is none of trace, debug`},
		{"opentelemetry", "tracing: {opentelemetry: {enabled: true}}\n" + minimal, "tracing.opentelemetry.enabled: OpenTelemetry is not supported; set it to false"},
		{"bare duration", "runtime: {drain_timeout: 10}\n" + minimal, `line 1: runtime.drain_timeout: want a duration with a unit`},
		{"negative duration", "runtime: {drain_timeout: '-1s'}\n" + minimal, `want a duration with a unit`},
		{"numbers cannot be substituted", "runtime: {n_cores: '${env:N}'}\n" + minimal, "line 1: runtime.n_cores: want a number"},
		{"unset variable", endpoint("'${env:UNSET}'"), "line 1: ${env:UNSET}: the environment variable is not set"},
		{"unreadable file", endpoint("'${file:/none}'"), "line 1: ${file:/none}: open /none: no such file"},
		{"unknown provider", endpoint("'${vault:x}'"), `line 1: ${vault:x}: unknown provider "vault"`},
		{"newline of a file", endpoint("'${file:/ep}'"), "the value of ${file:/ep}: want an IP address and a port"},
		{"service unknown", "services: {slim/0: {data_plane: {}}}", `line 1: services.slim/0: unknown key "data_plane"`},
		{"service auth", "services: {slim/0: {auth: {type: jwt}}}", "services.slim/0.auth: it identifies a node to a control plane"},
		{"peers", "services:\n  slim/0:\n    peers: {topology: full_mesh}", "line 3: services.slim/0.peers: replicas are not supported"},
		{"controller", "services:\n  slim/0:\n    controller:\n      servers: []\n      clients:\n        - endpoint: x", "line 5: services.slim/0.controller.clients: a control plane is not supported; remove the entries"},
		{"outbound clients", "services: {slim/0: {dataplane: {outbound_clients: [1]}}}", "outbound_clients: links ordered by a control plane are not supported"},
		{"both names", "services: {slim/0: {dataplane: {}, pubsub: {}}}", "dataplane and its old name pubsub are both given"},
		{"default gateway", "services: {slim/0: {default_gateway: on-demand}}", `default_gateway: "on-demand" is none of auto, off`},
		{"unknown in server", server("end_point: x"), `line 7: services.slim/0.dataplane.servers[0]: unknown key "end_point"`},
		{"unknown in tls", endpoint("'1.2.3.4:5', x: 1"), `unknown key "x"`},
		{"server auth", server("auth: {type: basic, username: u, password: p}"), "line 7: services.slim/0.dataplane.servers[0].auth: authentication of connections is not supported"},
		{"server auth, no type", server("auth: {key: x}"), "authentication of connections is not supported"},
		{"mac", server("require_header_mac: maybe"), "line 7: services.slim/0.dataplane.servers[0].require_header_mac: want true or false, not text"},
		{"timeout 0", server("negotiation_timeout_secs: 0"), "0 would refuse every link"},
		{"both timeouts", server("negotiation_timeout_secs: 1\n          link_hmac_timeout_secs: 1"), "line 8: services.slim/0.dataplane.servers[0].link_hmac_timeout_secs: negotiation_timeout_secs and its old name"},
		{"no endpoint", "services:\n  slim/0:\n    dataplane:\n      servers:\n        - tls: {insecure: true}", "line 5: services.slim/0.dataplane.servers[0]: endpoint is missing"},
		{"no tls block", "services: {slim/0: {dataplane: {servers: [{endpoint: '1.2.3.4:5'}]}}}", "without a tls block SLIM uses TLS"},
		{"tls on", "services: {slim/0: {dataplane: {servers: [{endpoint: '1.2.3.4:5', tls: {insecure: false}}]}}}", "servers[0].tls: " + noTLS},
		{"certificate", strings.ReplaceAll(minimal, "insecure: true", "insecure: true, source: {type: file, cert: c, key: k}"), "tls.source: " + noTLS},
		{"old certificate", strings.ReplaceAll(minimal, "insecure: true", "cert_file: c"), "tls.cert_file: " + noTLS},
		{"host name", endpoint("'localhost:46357'"), `"localhost:46357": want an IP address, not a host name`},
		{"http listener", endpoint("'http://0.0.0.0:46357'"), "want an IP address and a port"},
		{"wss listener", endpoint("'wss://0.0.0.0:46357'"), "TLS and unix sockets are not supported"},
		{"unix listener", endpoint("'unix:///tmp/s'"), "TLS and unix sockets are not supported"},
		{"number as endpoint", endpoint("46357"), "want text, not a number"},
		{"bare client", client("metadata: {}"), `line 5: services.slim/0.dataplane.clients[0].endpoint: "1.2.3.4:5": want http://host:port`},
		{"https client", strings.Replace(client(""), "1.2.3.4:5", "https://h:1", 1), `"https://h:1": want http://host:port`},
		{"connection type", client("connection_type: peer"), `line 7: services.slim/0.dataplane.clients[0].connection_type: "peer": only edge links are supported`},
		{"request timeout", client("request_timeout: 5s"), "request_timeout: it would end the link after that time"},
		{"headers", client("headers: {a: b}"), "headers: extra headers are not supported"},
		{"proxy", client("proxy: {url: http://p}"), "proxy: a proxy is not supported"},
		{"server name", client("server_name: x"), "server_name: it is for TLS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, _, err := Decode([]byte(tc.yaml), fixed)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if len(cfg.Listeners)+len(cfg.Clients) != 0 {
				t.Errorf("a refused file gave %+v", cfg)
			}
		})
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, _, err := Decode([]byte("runtime: {n_cores: x}\nfoo: 1\nservices:\n  slim/0:\n    peers: {a: b}\n    dataplane: {servers: [{endpoint: 5}]}\n"), fixed)
	want := []string{"line 1: runtime.n_cores", `line 2: unknown key "foo"`, "line 5: services.slim/0.peers", "line 6: services.slim/0.dataplane.servers[0].endpoint", "line 6: services.slim/0.dataplane.servers[0]: without a tls block"}
	got := strings.Split(err.Error(), "\n")
	if len(got) != len(want) {
		t.Fatalf("got %d lines, want %d:\n%v", len(got), len(want), err)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

func TestSubstitutedValuesStayPrivate(t *testing.T) {
	_, _, err := Decode([]byte(strings.ReplaceAll(minimal, "0.0.0.0:46357", "${env:NL}")), fixed)
	if err == nil || strings.Contains(err.Error(), "secret-host") {
		t.Errorf("got %v", err)
	}
}

func TestLoad(t *testing.T) {
	if _, _, err := Load("testdata/none.yaml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, _, err := Load("testdata/tutorial.yaml"); err != nil {
		t.Error(err)
	}
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, make([]byte, MaxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(big); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("big file: %v", err)
	}
	t.Setenv("SLIMNODE_TEST_ENDPOINT", "127.0.0.1:9")
	cfg, _, err := Decode([]byte(strings.ReplaceAll(minimal, "0.0.0.0:46357", "${env:SLIMNODE_TEST_ENDPOINT}")), Sources{})
	if err != nil || cfg.Listeners[0].Endpoint != "127.0.0.1:9" {
		t.Errorf("process environment: %+v, %v", cfg, err)
	}
}

// FuzzDecode: no input panics, and what is accepted is a valid configuration.
func FuzzDecode(f *testing.F) {
	for _, file := range []string{"tutorial.yaml", "full.yaml"} {
		b, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(minimal))
	f.Add([]byte("services: &a {slim/0: {dataplane: {servers: &s [*s, *a]}}}"))
	f.Add([]byte("? [a]\n: {<<: 1}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg, set, err := Decode(b, fixed)
		if err != nil {
			return
		}
		if err := cfg.Validate(); err != nil || len(cfg.Listeners)+len(cfg.Clients) == 0 || set.LogLevel == "" || set.DrainTimeout < 0 {
			t.Errorf("accepted %+v, %+v: %v", cfg, set, err)
		}
	})
}

// The tutorial's file starts a node (on another port, so that tests may run
// beside one).
func TestTutorialStarts(t *testing.T) {
	b, err := os.ReadFile("testdata/tutorial.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, _, err := Decode([]byte(strings.Replace(string(b), "0.0.0.0:46357", "127.0.0.1:0", 1)), Sources{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := slimnode.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Start(t.Context()); err != nil || len(n.Endpoints()) != 1 {
		t.Errorf("Start: %v, endpoints %v", err, n.Endpoints())
	}
}
