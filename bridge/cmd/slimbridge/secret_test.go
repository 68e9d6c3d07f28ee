package main

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/slimbridge/slimbridge/session/identity"
)

// unusedAddress is where nothing listens.
func unusedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was accepted
	return l.Addr().String()
}

func secretFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := identity.WriteSecretFile(path, identity.GenerateSecret()); err != nil {
		t.Fatal(err)
	}
	return path
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestSecretNew(t *testing.T) {
	a, b := slimbridge(t, "secret", "new"), slimbridge(t, "secret", "new")
	if a.code != 0 || a.stderr != "" || len(a.stdout) != 44 || a.stdout == b.stdout {
		t.Errorf("got %+v and %+v, want two different lines of 43 characters", a, b)
	}
	if _, err := identity.NewSecret([]byte(strings.TrimSuffix(a.stdout, "\n"))); err != nil {
		t.Error(err)
	}
}

func TestSecretNewOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if r := slimbridge(t, "secret", "new", "--out", path); r != (result{}) {
		t.Fatalf("got %+v, want silence", r)
	}
	if m := mode(t, path); m != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %o, want 600", m)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := slimbridge(t, "secret", "new", "--out", path)
	if r.code != exitFailure || !strings.Contains(r.stderr, path+" exists and is not replaced") {
		t.Errorf("second time: %+v", r)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the file was replaced (%v)", err)
	}
	if r := slimbridge(t, "secret", "new", "--out", ""); r.code != exitFailure || r.stdout != "" {
		t.Errorf("empty --out: %+v", r)
	}
}

// load runs the choice of a secret by one side.
func load(t *testing.T, flag string, serving bool) (secret, stderr string, err error) {
	t.Helper()
	w := newLineWriter()
	p := newProgram(strings.NewReader(""), nil, w)
	f := secretFlag{file: flag}
	choose := f.forConnecting
	if serving {
		choose = f.forServing
	}
	s, err := choose(p)
	return string(s.Reveal()), w.String(), err
}

func TestSecretOrder(t *testing.T) {
	const value = "0123456789abcdef0123456789abcdef"
	byFlag, byEnv := secretFile(t), secretFile(t)
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(string(b), "\n")
	}
	tests := []struct {
		name             string
		flag, file, text string
		want             string
		wantErr          string
	}{
		{name: "flag", flag: byFlag, want: read(byFlag)},
		{name: "flag before file variable", flag: byFlag, file: byEnv, want: read(byFlag)},
		{name: "flag before both variables", flag: byFlag, file: byEnv, text: value, want: read(byFlag)},
		{name: "file variable", file: byEnv, want: read(byEnv)},
		{name: "value variable", text: value, want: value},
		{name: "both variables", file: byEnv, text: value, wantErr: "SLIM_SHARED_SECRET_FILE and SLIM_SHARED_SECRET are both set"},
		{name: "short value", text: "hunter2", wantErr: "SLIM_SHARED_SECRET: identity: secret has 7 bytes"},
		{name: "missing file", file: "/no/such", wantErr: "no secret file /no/such"},
	}
	for _, tc := range tests {
		for _, serving := range []bool{true, false} {
			t.Run(tc.name, func(t *testing.T) {
				path := isolate(t)
				t.Setenv(envSecretFile, tc.file)
				t.Setenv(envSecret, tc.text)
				got, _, err := load(t, tc.flag, serving)
				if (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want %q", err, tc.wantErr)
				}
				if got != tc.want {
					t.Error("another secret")
				}
				if _, err := os.Stat(path); err == nil {
					t.Error("the secret of the user was made although one was named")
				}
			})
		}
	}
}

func TestSecretOfTheUser(t *testing.T) {
	path := isolate(t)
	if _, _, err := load(t, "", false); err == nil || !strings.Contains(err.Error(), "there is no "+path) {
		t.Fatalf("connecting first: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Fatal("the connecting side made the directory")
	}
	first, stderr, err := load(t, "", true)
	if err != nil || stderr != "slimbridge: made a shared secret for this user in "+path+"; both ends need it\n" {
		t.Fatalf("serving: %q, %v", stderr, err)
	}
	if runtime.GOOS != "windows" && (mode(t, path) != 0o600 || mode(t, filepath.Dir(path)) != 0o700) {
		t.Errorf("modes %o in %o, want 600 in 700", mode(t, path), mode(t, filepath.Dir(path)))
	}
	for _, serving := range []bool{true, false} {
		again, stderr, err := load(t, "", serving)
		if err != nil || stderr != "" || again != first {
			t.Errorf("again: %q, %v, same secret %v", stderr, err, again == first)
		}
	}
}

func TestSecretReadableByOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows has no mode bits")
	}
	isolate(t)
	path := secretFile(t)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, stderr, err := load(t, path, false)
	if err != nil || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "chmod 600") {
		t.Errorf("got %q, %v, want one line of warning", stderr, err)
	}
}

func TestSecretWithoutHome(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows has other variables")
	}
	isolate(t)
	t.Setenv("HOME", "")
	t.Setenv("XDG_CONFIG_HOME", "")
	for _, serving := range []bool{true, false} {
		if _, _, err := load(t, "", serving); err == nil || !strings.Contains(err.Error(), envSecretFile) {
			t.Errorf("got %v, want an error that names %s", err, envSecretFile)
		}
	}
}

// TestSecretConcurrentStart starts many at once: one makes the secret, all have
// the same, no draft is left.
func TestSecretConcurrentStart(t *testing.T) {
	path := isolate(t)
	const n = 32
	var wg sync.WaitGroup
	secrets, made := make([]string, n), make([]bool, n)
	for i := range n {
		wg.Go(func() {
			w := newLineWriter()
			s, err := (&secretFlag{}).forServing(newProgram(strings.NewReader(""), nil, w))
			if err != nil {
				t.Error(err)
			}
			secrets[i], made[i] = string(s.Reveal()), w.String() != ""
		})
	}
	wg.Wait()
	makers := 0
	for i := range n {
		if secrets[i] != secrets[0] || secrets[i] == "" {
			t.Errorf("%d has another secret", i)
		}
		if made[i] {
			makers++
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || makers != 1 {
		t.Errorf("%d made it, %d files, %v; want one each", makers, len(entries), err)
	}
}
