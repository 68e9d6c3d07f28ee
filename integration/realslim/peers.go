package realslim

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Kind is a release of the genuine library.
type Kind string

// The releases that .ci/peers installs, named by their core version.
const (
	Core22 Kind = "slim 2.2.0"
	Core34 Kind = "slim 3.4.6"
)

// Kinds are all kinds, for tables of tests.
var Kinds = []Kind{Core22, Core34}

//go:embed scripts/slim22.mjs
var slim22 []byte

//go:embed scripts/slim34.py
var slim34 []byte

// Peers is an installation of the genuine programs.
type Peers struct {
	dir string
}

// Require finds the installation of .ci/peers ($SLIMBRIDGE_PEERS, default slimbridge-peers in the temporary directory). Without one
// the test is skipped with the reason, or failed if SLIM_INTEROP=require.
func Require(t testing.TB) Peers {
	t.Helper()
	p, err := find()
	if err == nil {
		return p
	}
	if os.Getenv("SLIM_INTEROP") == "require" {
		t.Fatalf("genuine SLIM is required (SLIM_INTEROP=require): %v; install it with .ci/peers", err)
	}
	t.Skipf("genuine SLIM is not installed: %v; install it with .ci/peers", err)
	return Peers{}
}

func find() (Peers, error) {
	dir := os.Getenv("SLIMBRIDGE_PEERS")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "slimbridge-peers")
	}
	// The pin files are written last: an interrupted installation has none.
	for _, part := range []string{"npm", "python"} {
		if _, err := os.Stat(filepath.Join(dir, part, ".pins")); err != nil {
			return Peers{}, err
		}
	}
	if _, err := exec.LookPath("node"); err != nil {
		return Peers{}, err
	}
	return Peers{dir: dir}, nil
}

// Dir is the directory of the installation.
func (p Peers) Dir() string { return p.dir }

// command returns the program and first arguments that run kind's script, which it writes to dir.
func (p Peers) command(k Kind, dir string) ([]string, error) {
	var program, script string
	var text []byte
	switch k {
	case Core22:
		program, script, text = "node", "slim22.mjs", slim22
	case Core34:
		program, script, text = filepath.Join(p.dir, "python", "bin", "python"), "slim34.py", slim34
	default:
		return nil, fmt.Errorf("unknown kind %q", k)
	}
	path := filepath.Join(dir, script)
	return []string{program, path}, os.WriteFile(path, text, 0o600)
}
