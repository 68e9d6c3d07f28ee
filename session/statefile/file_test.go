package statefile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	testKey  = []byte("0123456789abcdef0123456789abcdef")
	otherKey = []byte("0123456789abcdef0123456789abcdeX")
)

type contents map[string]string

func mustOpen(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path, testKey)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func mustWrite(t testing.TB, f *File, changes map[string][]byte) {
	t.Helper()
	if err := f.Write(changes); err != nil {
		t.Fatal(err)
	}
}

func read(f *File) (contents, error) {
	got := contents{}
	err := f.Read(func(name string, value []byte) error {
		if _, ok := got[name]; ok {
			return errors.New("a record came twice")
		}
		got[name] = string(value)
		return nil
	})
	return got, err
}

func wantContents(t testing.TB, f *File, want contents) {
	t.Helper()
	got, err := read(f)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("file has %q, want %q", got, want)
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// copyOf is what a crash would leave: the file as it is now.
func copyOf(t testing.TB, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(to, mustRead(t, path), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := mustOpen(t, path)
	wantContents(t, f, contents{})
	mustWrite(t, f, map[string][]byte{"a": []byte("1"), "b": []byte("2"), "empty": {}, "": []byte("no name")})
	mustWrite(t, f, map[string][]byte{"a": []byte("one"), "b": nil, "never there": nil})
	mustWrite(t, f, nil)
	big := strings.Repeat("x", 1<<20)
	mustWrite(t, f, map[string][]byte{strings.Repeat("n", MaxName): []byte(big)})
	want := contents{"a": "one", "empty": "", "": "no name", strings.Repeat("n", MaxName): big}
	wantContents(t, f, want)
	for range 3 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f = mustOpen(t, path)
		wantContents(t, f, want)
		mustWrite(t, f, map[string][]byte{"more": []byte(big)})
		want["more"] = big
	}
}

func TestReadOrderAndStop(t *testing.T) {
	f := mustOpen(t, filepath.Join(t.TempDir(), "state"))
	for i := range 20 {
		mustWrite(t, f, map[string][]byte{fmt.Sprint(i): {byte(i)}})
	}
	order := func() (names []string) {
		if err := f.Read(func(name string, _ []byte) error { names = append(names, name); return nil }); err != nil {
			t.Fatal(err)
		}
		return names
	}
	if a, b := order(), order(); fmt.Sprint(a) != fmt.Sprint(b) || len(a) != 20 {
		t.Errorf("order %q, then %q", a, b)
	}
	stop, calls := errors.New("stop"), 0
	if err := f.Read(func(string, []byte) error { calls++; return stop }); err != stop || calls != 1 {
		t.Errorf("%d calls, error %v", calls, err)
	}
	// A callback may write, and sees the records from before.
	calls = 0
	err := f.Read(func(name string, _ []byte) error {
		calls++
		return f.Write(map[string][]byte{name: nil, "new " + name: make([]byte, 100_000)})
	})
	if err != nil || calls != 20 {
		t.Errorf("%d calls, error %v", calls, err)
	}
}

func TestCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := mustOpen(t, path)
	want := contents{}
	for i := range 30 {
		name := fmt.Sprint(i % 7)
		mustWrite(t, f, map[string][]byte{name: bytes.Repeat([]byte{byte(i)}, 300*i), fmt.Sprint((i + 3) % 7): nil})
		want[name] = strings.Repeat(string([]byte{byte(i)}), 300*i)
		delete(want, fmt.Sprint((i+3)%7))
		after := mustOpen(t, copyOf(t, path))
		wantContents(t, after, want)
		mustWrite(t, after, map[string][]byte{"goes on": {}})
		after.Close()
	}
}

func TestInterruptedFirstOpen(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	noHeader := filepath.Join(dir, "no header")
	db, err := bbolt.Open(noHeader, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	for _, path := range []string{empty, noHeader} {
		f := mustOpen(t, path)
		mustWrite(t, f, map[string][]byte{"a": {}})
		f.Close()
		wantContents(t, mustOpen(t, path), contents{"a": ""})
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	f := mustOpen(t, good)
	mustWrite(t, f, map[string][]byte{"a": {}})
	f.Close()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("text\n"), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign")
	withHeader(t, foreign, nil)
	newer := filepath.Join(dir, "newer")
	withHeader(t, newer, []byte(family+"2 and so on"))
	short := filepath.Join(dir, "short")
	withHeader(t, short, []byte(magic))

	tests := []struct {
		name, path string
		key        []byte
		want       error
		text       string
	}{
		{"wrong key", good, otherKey, ErrKey, "wrong key"},
		{"longer key", good, append(bytes.Clone(testKey), 0, 1), ErrKey, "wrong key"},
		{"short key", good, testKey[1:], nil, "31 bytes"},
		{"no key", filepath.Join(dir, "x"), nil, nil, "at least 32"},
		{"not bbolt", text, testKey, ErrFormat, "not a state file"},
		{"other program", foreign, testKey, ErrFormat, "not a state file"},
		{"newer version", newer, testKey, ErrFormat, "version"},
		{"half a header", short, testKey, ErrDamaged, "damaged"},
		{"no directory", filepath.Join(dir, "none", "state"), testKey, fs.ErrNotExist, "mkdir"},
		{"directory", dir, testKey, nil, "not a regular file"},
		{"below a file", filepath.Join(good, "state"), testKey, nil, "not a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, _ := os.ReadFile(tt.path)
			f, err := Open(tt.path, tt.key)
			if f != nil || err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v", err)
			}
			if _, ok := errors.AsType[*fault](err); ok {
				t.Errorf("not noticed before it did harm: %v", err)
			}
			if err != nil && bytes.Contains([]byte(err.Error()), testKey[:8]) {
				t.Errorf("key in %v", err)
			}
			if after, _ := os.ReadFile(tt.path); !bytes.Equal(before, after) {
				t.Error("file was changed")
			}
		})
	}
	wantContents(t, mustOpen(t, good), contents{"a": ""})
}

// withHeader makes a sound bbolt file, with a header if that is not nil.
func withHeader(t *testing.T, path string, header []byte) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("of somebody else"))
		if err != nil || header == nil {
			return err
		}
		b, err := tx.CreateBucket(bucketFile)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucket(bucketRecords); err != nil {
			return err
		}
		return b.Put(keyHeader, header)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := mustOpen(t, path)
	begin := time.Now()
	if _, err := Open(path, testKey); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	mustWrite(t, f, map[string][]byte{"a": {}})
	f.Close()
	wantContents(t, mustOpen(t, path), contents{"a": ""})
}

func TestMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows has no mode bits")
	}
	path := filepath.Join(t.TempDir(), "state")
	mustOpen(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestNothingReadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := mustOpen(t, path)
	name, value := "session/4711/org/ns/alice", strings.Repeat("payload-of-bob ", 1000)
	mustWrite(t, f, map[string][]byte{name: []byte(value), "session/4712/org/ns/bob": []byte("x")})
	mustWrite(t, f, map[string][]byte{name: nil})
	disk := mustRead(t, path)
	for _, secret := range []string{"session/", "4711", "alice", "payload-of", "org/ns", string(testKey[:8]), string(f.keys.root[:8]), string(f.keys.names[:8]), string(f.keys.set[:8])} {
		if bytes.Contains(disk, []byte(secret)) {
			t.Errorf("%q is in the file", secret)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, f); got != "state file "+path {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func TestClose(t *testing.T) {
	f := mustOpen(t, filepath.Join(t.TempDir(), "state"))
	k := f.keys
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range [][]byte{k.root, k.names, k.set, k.check} {
		if len(b) != keySize || !bytes.Equal(b, make([]byte, keySize)) {
			t.Error("a key is still there")
		}
	}
	if err := f.Write(map[string][]byte{"a": {}}); !errors.Is(err, ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	if err := f.Write(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("empty Write: %v", err)
	}
	if _, err := read(f); !errors.Is(err, ErrClosed) {
		t.Errorf("Read: %v", err)
	}
}

func TestLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := mustOpen(t, path)
	for name, changes := range map[string]map[string][]byte{
		"value": {"a": {}, "b": make([]byte, MaxValue+1)},
		"name":  {"a": {}, strings.Repeat("secret", MaxName): {}},
	} {
		t.Run(name, func(t *testing.T) {
			err := f.Write(changes)
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %.200v", err)
			}
			wantContents(t, f, contents{})
		})
	}
	mustWrite(t, f, map[string][]byte{"largest": make([]byte, MaxValue)}) // and Writes still work
	f.Close()
	got, err := read(mustOpen(t, path))
	if err != nil || len(got["largest"]) != MaxValue {
		t.Errorf("largest value: %d bytes, %v", len(got["largest"]), err)
	}
}
