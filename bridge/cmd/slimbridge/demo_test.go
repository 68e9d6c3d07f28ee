package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slimbridge/slimbridge/slimnode"
)

// segments is a frame of the test.
type segments [][]byte

// Segments implements what [attach] asks for.
func (s segments) Segments() [][]byte { return s }

func TestDemo(t *testing.T) {
	secret := isolate(t)
	r := slimbridge(t, "demo")
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("got %+v", r)
	}
	patterns := []string{
		`^node      listens at http://127\.0\.0\.1:\d+;`,
		`^server    acme/tools/calculator/[0-9a-f-]{36} subscribed$`,
		`^client    acme/people/alice/[0-9a-f-]{36} subscribed,`,
		`^discovery the client asked for acme/tools/calculator, instance [0-9a-f-]{36} answered$`,
		`^session   \d+ with that instance, .*MLS_128_DHKEMP256_AES128GCM_SHA256_P256, epoch [1-9]`,
		`^identity  the server proved to be acme/tools/calculator_`,
		`^MCP       revision 20\d\d-\d\d-\d\d, tools of calculator: add, now, reverse$`,
		`^call      add \{"a":2,"b":40\} -> 42 \(`,
		`^call      now \{\} -> 20`,
		`^call      reverse \{"text":"SLIM keeps secrets"\} -> sterces speek MILS \(`,
		`^client    saw \{.*sterces speek MILS.*\}$`,
		`^node      saw \d+ bytes for it: the names acme tools calculator people alice, MLS epoch [1-9], and \d+ bytes of ciphertext [0-9a-f]{64}\.\.\.$`,
	}
	lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
	if len(lines) != len(patterns) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(patterns), r.stdout)
	}
	for i, p := range patterns {
		if !regexp.MustCompile(p).MatchString(lines[i]) {
			t.Errorf("line %d: %q does not match %s", i+1, lines[i], p)
		}
	}
	for _, dir := range []string{filepath.Dir(secret), os.Getenv("XDG_CONFIG_HOME")} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("the demo wrote to %s", dir)
		}
	}
}

func TestDemoFails(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.Canceled)
	var out, stderr strings.Builder
	code := newProgram(strings.NewReader(""), &out, &stderr).run(ctx, []string{"demo"})
	if code != exitFailure || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("exit code %d, stderr %q, want 1 and one line", code, stderr.String())
	}
}

func TestWiretap(t *testing.T) {
	secretText := "very secret"
	cipher := append([]byte("head"), 0, 1, 0, 2, // mls10, private message
		1, 'g', 0, 0, 0, 0, 0, 0, 0, 7, 1, // group, epoch, application
		0, 2, 's', 's', 3, 'a', 'b', 'c', // authenticated data, sender, ciphertext
		'r', 'e', 's', 't')
	tests := []struct {
		name   string
		frames []tapped
		want   string
		err    string
	}{
		{"nothing", nil, "", "no encrypted answer"},
		{"only a request", []tapped{{1, 2, cipher}}, "", "no encrypted answer"},
		{"request, ack, answer", []tapped{{1, 2, cipher}, {2, 1, []byte("ack")}, {2, 1, cipher}}, "abc", ""},
		{"a cut answer", []tapped{{1, 2, cipher}, {2, 1, cipher[:len(cipher)-5]}}, "", "no encrypted answer"},
		{"clear text", []tapped{{1, 2, cipher}, {2, 1, []byte("a very secret answer")}}, "", `"very secret" in clear`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			w := &wiretap{frames: tc.frames}
			got, err := w.answer(secretText)
			if string(got.ciphertext) != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got %q, %v, want %q, %q", got.ciphertext, err, tc.want, tc.err)
			}
		})
	}
	w := &wiretap{}
	var tap func(from, to slimnode.ConnID, f segments) []segments
	attach(w, &tap)
	for range maxTapped + 5 {
		if out := tap(1, 2, segments{[]byte("a"), []byte("b")}); out != nil {
			t.Fatal("the tap changes traffic")
		}
	}
	if len(w.frames) != maxTapped || string(w.frames[0].bytes) != "ab" {
		t.Errorf("%d frames of %q", len(w.frames), w.frames[0].bytes)
	}
}
