package realmcp_test

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slimbridge/slimbridge/integration/realmcp"
)

func TestMain(m *testing.M) {
	realmcp.TapMain()
	goleak.VerifyTestMain(m)
}

func frames(lines ...string) realmcp.Recording {
	var r realmcp.Recording
	for _, l := range lines {
		r.ToClient = append(r.ToClient, []byte(l))
	}
	return r
}

func TestCompare(t *testing.T) {
	const (
		one    = `{"jsonrpc":"2.0","id":1,"result":{"n":1.0}}`
		two    = `{"jsonrpc":"2.0","id":"1","result":{"text":"created at 10:30:11 PM"}}`
		notice = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`
		later  = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":2}}`
	)
	a := frames(notice, later, one, two)
	tests := []struct {
		name       string
		b          realmcp.Recording
		taps, runs []string // kinds of differences
	}{
		{"equal", frames(notice, later, one, two), nil, nil},
		{"responses in another order", frames(notice, later, two, one), []string{"reordered"}, nil},
		{"notifications in another order", frames(later, notice, one, two), []string{"changed", "changed"}, []string{"changed", "changed"}},
		{"response lost", frames(notice, later, one), []string{"missing"}, []string{"missing"}},
		{"notification repeated", frames(notice, later, later, one, two), []string{"extra"}, []string{"extra"}},
		{"number written anew", frames(notice, later, `{"jsonrpc":"2.0","id":1,"result":{"n":1}}`, two), []string{"changed"}, []string{"changed"}},
		{"id of another type", frames(notice, later, one, `{"jsonrpc":"2.0","id":1,"result":{"text":"created at 10:30:11 PM"}}`),
			[]string{"missing", "extra"}, []string{"missing", "extra"}},
		{"time of day", frames(notice, later, one, `{"jsonrpc":"2.0","id":"1","result":{"text":"created at 1:02:03 AM"}}`), []string{"changed"}, nil},
		{"no JSON", frames(notice, later, one, two, "garbage"), []string{"extra"}, []string{"extra"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			check := func(what string, got []realmcp.Difference, want []string) {
				var kinds []string
				for _, d := range got {
					kinds = append(kinds, d.Kind)
				}
				if !slices.Equal(kinds, want) {
					t.Errorf("%s: %v, want %q", what, got, want)
				}
			}
			check("CompareTaps", realmcp.CompareTaps(a, tc.b), tc.taps)
			check("CompareRuns", realmcp.CompareRuns(a, tc.b), tc.runs)
		})
	}
}

func TestTapIsTransparent(t *testing.T) {
	dir := t.TempDir()
	command, err := realmcp.Tap(dir, []string{"sh", "-c", "cat; exit 7"})
	if err != nil {
		t.Fatal(err)
	}
	input := "one\n\ntwo \xff\nunfinished"
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin = bytes.NewReader([]byte(input))
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exit: %v", err)
	}
	if string(out) != input {
		t.Errorf("output %q, want %q", out, input)
	}
	recordings, err := realmcp.Recordings(dir)
	if err != nil || len(recordings) != 1 {
		t.Fatalf("%d recordings, %v", len(recordings), err)
	}
	for _, got := range [][][]byte{recordings[0].ToServer, recordings[0].ToClient} {
		if text := string(bytes.Join(got, []byte("\n"))); text != input || len(got) != 4 {
			t.Errorf("recorded %q", got)
		}
	}
}

// TestTaps proves both comparisons with the real programs: two taps in a row, and two runs.
func TestTaps(t *testing.T) {
	p := realmcp.Require(t)
	run := func(t *testing.T, dirs ...string) realmcp.Recording {
		command := p.Everything()
		for _, dir := range dirs {
			var err error
			if command, err = realmcp.Tap(dir, command); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		for _, c := range p.RunTypeScript(ctx, realmcp.Server{Command: command}).Failed() {
			t.Error(c)
		}
		return only(t, dirs[len(dirs)-1])
	}
	child, parent := t.TempDir(), t.TempDir()
	a := run(t, child, parent)
	if len(a.ToServer) < 100 || len(a.ToClient) < 100 {
		t.Errorf("recorded %d and %d frames", len(a.ToServer), len(a.ToClient))
	}
	for _, d := range realmcp.CompareTaps(a, only(t, child)) {
		t.Error("taps:", d)
	}
	for _, d := range realmcp.CompareRuns(a, run(t, t.TempDir())) {
		t.Error("runs:", d)
	}
}

func only(t *testing.T, dir string) realmcp.Recording {
	t.Helper()
	recordings, err := realmcp.Recordings(dir)
	if err != nil || len(recordings) != 1 {
		t.Fatalf("%d recordings in %s: %v", len(recordings), dir, err)
	}
	return recordings[0]
}
