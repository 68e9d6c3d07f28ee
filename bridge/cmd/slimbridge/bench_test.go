package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestBenchJSON(t *testing.T) {
	isolate(t)
	endpoint, _ := startNode(t)
	r := slimbridge(t, "bench", "--node", endpoint, "--sizes", "1, 3000", "--reliable", "both", "-n", "10", "-o", "json")
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("got %+v", r)
	}
	var cases []map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &cases); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1B-plain-unreliable", "1B-mls-unreliable", "1B-plain-reliable", "1B-mls-reliable",
		"3000B-plain-unreliable", "3000B-mls-unreliable", "3000B-plain-reliable", "3000B-mls-reliable",
	}
	if len(cases) != len(want) {
		t.Fatalf("%d cases, want %d:\n%s", len(cases), len(want), r.stdout)
	}
	for i, c := range cases {
		if c["case"] != want[i] || c["n"] != 10.0 || c["lost"] != 0.0 || c["one_way_n"] != 10.0 || c["node"] != endpoint {
			t.Errorf("case %d: %v", i, c)
		}
		for _, figure := range []string{"p50_ms", "p99_ms", "msgs_per_s", "one_way_msgs_per_s"} {
			if v, ok := c[figure].(float64); !ok || v <= 0 {
				t.Errorf("case %d: %s is %v", i, figure, c[figure])
			}
		}
	}
}

// TestBenchTo measures against an echo app of another bench, which is a foreign
// app as far as this one knows.
func TestBenchTo(t *testing.T) {
	isolate(t)
	endpoint, _ := startNode(t)
	path := secretFile(t)
	p := newProgram(strings.NewReader(""), nil, newLineWriter())
	secret, err := p.readSecret(path)
	if err != nil {
		t.Fatal(err)
	}
	echo, err := startEcho(t.Context(), p, endpoint, secretCredentials{secret})
	if err != nil {
		t.Fatal(err)
	}
	defer echo.close()
	r := slimbridge(t, "bench", "--node", endpoint, "--to", "local/bench/echo", "--secret-file", path, "--sizes", "100", "--reliable", "both", "--mls", "on", "-n", "5")
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if r.code != 0 || len(lines) != 3 {
		t.Fatalf("got %+v", r)
	}
	for i, want := range []string{"100B-mls-unreliable", "100B-mls-reliable"} {
		if f := strings.Fields(lines[i+1]); len(f) != 8 || f[0] != want || f[1] != "5" || (f[6] == "-") != (i == 0) {
			t.Errorf("line %d: %q", i+1, lines[i+1])
		}
	}
}

// TestBenchBringsANode relies on nothing: a node at the default address, if the
// machine has one, is used instead.
func TestBenchBringsANode(t *testing.T) {
	isolate(t)
	r := slimbridge(t, "bench", "--node", "embedded", "--sizes", "64", "--mls", "on", "-n", "3")
	if r.code != 0 || !strings.HasPrefix(r.stderr, "slimbridge: using a node of its own at http://127.0.0.1:") || !strings.Contains(r.stdout, "64B-mls-reliable") {
		t.Errorf("got %+v", r)
	}
}

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	tests := []struct {
		name   string
		sorted []time.Duration
		p      int
		want   time.Duration
	}{
		{"nothing", nil, 50, 0},
		{"one", []time.Duration{7}, 99, 7},
		{"median of two", []time.Duration{1, 2}, 50, 1},
		{"median of three", []time.Duration{1, 2, 3}, 50, 2},
		{"99 of 100", hundred, 99, 99},
		{"99 of 10", hundred[:10], 99, 10},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got := percentile(tc.sorted, tc.p); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}
