package statefile

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

const childPath = "STATEFILE_TEST_CHILD_PATH"

// writeUntilKilled is the child of TestKilled: it prints each number when it is
// stored.
func writeUntilKilled(path string) error {
	f, err := Open(path, testKey)
	if err != nil {
		return err
	}
	got, err := read(f)
	if err != nil {
		return err
	}
	last, _ := strconv.Atoi(got["a"])
	for i := last + 1; ; i++ {
		value := []byte(strconv.Itoa(i))
		if err := f.Write(map[string][]byte{"a": value, "b": value, fmt.Sprint("c", i%50): make([]byte, i*37%9000)}); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// TestKilled kills a process that writes, again and again. What it said it had
// stored must be there, and no half of a Write.
func TestKilled(t *testing.T) {
	if path := os.Getenv(childPath); path != "" {
		t.Fatal(writeUntilKilled(path))
	}
	path := filepath.Join(t.TempDir(), "state")
	said := 0
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), childPath+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		take := func() {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatalf("child says %q", lines.Text())
			}
			said = n
		}
		for range 10 + round*7 {
			if !lines.Scan() {
				t.Fatal("child ended by itself")
			}
			take()
		}
		if _, err := Open(path, testKey); !errors.Is(err, ErrInUse) {
			t.Errorf("two processes: %v", err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			take()
		}
		cmd.Wait() // says that it was killed
		f := mustOpen(t, path)
		got, err := read(f)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := strconv.Atoi(got["a"])
		if a < said || a > said+1 || got["a"] != got["b"] || len(got[fmt.Sprint("c", a%50)]) != a*37%9000 {
			t.Errorf("child stored up to %d, file has %s and %s", said, got["a"], got["b"])
		}
		f.Close()
	}
	t.Logf("%d writes", said)
}
