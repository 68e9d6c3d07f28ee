package integration

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/statefile"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// mortalArg makes the test binary an app of ours that keeps its sessions in a
// file, and that its parent kills.
const mortalArg = "integration-mortal"

// init does not return in such a process; the tests' own main must not run there.
func init() {
	if len(os.Args) != 4 || os.Args[1] != mortalArg {
		return
	}
	run, err := strconv.Atoi(os.Args[3])
	if err == nil {
		err = live(os.Args[2], run)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// role is what such a process does with its life.
type role string

const (
	roleTalk   role = "talk"   // a session with one peer, see talk
	roleMember role = "member" // of a group; driven over pipes, see Mortal
)

// orders are the same for all runs of one app. They lie in its directory.
type orders struct {
	Role           role
	Endpoint, Name string
	Peer           string // to open a session to; empty: the peer opens it
	Count          int    // of messages in each direction
}

// Files in the directory of a mortal app.
const (
	ordersFile    = "orders.json"
	keyFile       = "key" // of the state
	stateFile     = "state"
	receivedFile  = "received"  // see journal
	publishedFile = "published" // see journal
)

// live is one run of a mortal app.
func live(dir string, run int) error {
	var o orders
	text, err := os.ReadFile(filepath.Join(dir, ordersFile))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return err
	}
	app, state, err := revive(dir, &o)
	if err != nil {
		return err
	}
	if o.Role == roleMember {
		err = serveMortal(app)
	} else {
		err = talk(app, dir, run, &o)
	}
	return errors.Join(err, app.Close(), state.Close())
}

// revive dials with what earlier runs left.
func revive(dir string, o *orders) (*session.App, *statefile.File, error) {
	key, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, nil, err
	}
	state, err := statefile.Open(filepath.Join(dir, stateFile), key)
	if err != nil {
		return nil, nil, err
	}
	secret, err := identity.NewSecret([]byte(realslim.Secret))
	if err != nil {
		return nil, nil, err
	}
	id, err := identity.KeepSharedSecret(secret, o.Name, state)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := bounded()
	defer cancel()
	app, err := session.Dial(ctx, session.Config{
		Name: name.MustParse(o.Name), Identity: id, Verifier: id, Node: o.Endpoint, State: state,
	})
	return app, state, err
}

// lives are the runs of one mortal app, one after the other.
type lives struct {
	t     *testing.T
	dir   string
	key   []byte
	kills int

	cmd    *exec.Cmd
	stderr bytes.Buffer
	in     io.WriteCloser
	out    io.ReadCloser

	held int // times that a confidential payload lay in the state after a kill
}

// newLives starts the first run.
func newLives(t *testing.T, o orders) *lives {
	t.Helper()
	l := &lives{t: t, dir: t.TempDir(), key: make([]byte, statefile.MinKey)}
	rand.Read(l.key)
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{ordersFile: text, keyFile: l.key} {
		if err := os.WriteFile(filepath.Join(l.dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if l.cmd != nil {
			_ = l.cmd.Process.Kill()
			_ = l.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("%s was killed %d times; it said:\n%s", o.Name, l.kills, l.stderr.String())
		}
	})
	if err := l.begin(); err != nil {
		t.Fatal(err)
	}
	return l
}

// begin starts a run.
func (l *lives) begin() (err error) {
	l.cmd = exec.Command(testBinary(l.t), mortalArg, l.dir, strconv.Itoa(l.kills))
	l.cmd.Stderr = &l.stderr
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		return err
	}
	if l.out, err = l.cmd.StdoutPipe(); err != nil {
		return err
	}
	return l.cmd.Start()
}

// awaitListening waits until the run can be found by those who look for it.
func (l *lives) awaitListening() error {
	line, err := bufio.NewReader(l.out).ReadString('\n')
	if err == nil && line != listening+"\n" {
		err = fmt.Errorf("the first run said %q", line)
	}
	return err
}

// restart ends the run with SIGKILL, looks at what it left on the disk, and
// starts the next. A run that ended by itself before is an error.
func (l *lives) restart() error {
	if err := l.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("run %d ended by itself: %w", l.kills, err)
	}
	_ = l.cmd.Wait()
	if code := l.cmd.ProcessState.ExitCode(); code >= 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("run %d ended by itself with code %d", l.kills, code)
	}
	l.kills++
	if err := l.inspect(); err != nil {
		l.t.Error(err)
	}
	return l.begin()
}

// end waits until the last run ends by itself, and without an error. Nothing of
// its sessions may be left.
func (l *lives) end() error {
	timer := time.AfterFunc(patience, func() { _ = l.cmd.Process.Kill() })
	defer timer.Stop()
	err := l.cmd.Wait()
	l.cmd = nil
	if err != nil {
		return fmt.Errorf("the last run: %w", err)
	}
	records, err := l.records()
	if err != nil {
		return err
	}
	for record := range records {
		if record != "session/app" && record != "identity/shared-secret" {
			return fmt.Errorf("the state still holds %s", record)
		}
	}
	return nil
}

const (
	// confidential begins the payloads that lives count.
	confidential = "confidential-payload-7d1f3c"
	// mortalSpace is in all names of these tests.
	mortalSpace = "org/mortal-ns/"
)

// inspect looks for plaintext on the disk, and whether there was any to hide.
func (l *lives) inspect() error {
	path := filepath.Join(l.dir, stateFile)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // killed before it was made
	}
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode != 0o600 && runtime.GOOS != "windows" {
		return fmt.Errorf("the state has mode %o", mode)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// Payloads, the secret, names of all kinds, keys of records and of JSON.
	for _, text := range []string{confidential, realslim.Secret, "mortal-ns", "session/", "identity/", "Subject"} {
		if bytes.Contains(content, []byte(text)) {
			return fmt.Errorf("the state shows %q", text)
		}
	}
	records, err := l.records()
	for _, value := range records {
		if bytes.Contains(value, []byte(confidential)) {
			l.held++
			break
		}
	}
	return err
}

// records opens a copy of the state.
func (l *lives) records() (map[string][]byte, error) {
	content, err := os.ReadFile(filepath.Join(l.dir, stateFile))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(l.t.TempDir(), "copy")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return nil, err
	}
	f, err := statefile.Open(path, l.key)
	if err != nil {
		return nil, fmt.Errorf("the state after %d kills: %w", l.kills, err)
	}
	all := map[string][]byte{}
	err = f.Read(func(key string, value []byte) error {
		all[key] = bytes.Clone(value)
		return nil
	})
	return all, errors.Join(err, f.Close())
}
