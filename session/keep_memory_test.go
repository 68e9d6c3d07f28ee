package session_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
)

// What tests of kept sessions share.

var errDisk = errors.New("the disk is gone")

// memory is a state in memory that can be pulled out of a running app.
type memory struct {
	mu      sync.Mutex
	records map[string][]byte
	gone    bool
	writes  int
	watch   func(changes map[string][]byte) // called before a write
	fails   int                             // so many writes
}

func newMemory() *memory { return &memory{records: map[string][]byte{}} }

func (m *memory) Read(each func(string, []byte) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, v := range m.records {
		if err := each(k, v); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Write(changes map[string][]byte) error {
	if m.watch != nil {
		m.watch(changes)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone || m.fails > 0 {
		m.fails--
		return errDisk
	}
	m.writes++
	for k, v := range changes {
		if v == nil {
			delete(m.records, k)
			continue
		}
		m.records[k] = append([]byte{}, v...)
	}
	return nil
}

// pull takes what was stored and lets the app that used it run dry: what it does
// from now on is what a process does that is about to die.
func (m *memory) pull() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = true
	return &memory{records: maps.Clone(m.records)}
}

func (m *memory) count(part string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.records {
		if strings.Contains(k, part) {
			n++
		}
	}
	return n
}

// keeping is an app that keeps its sessions, and can crash.
type keeping struct {
	*session.App
	t     *testing.T
	nw    *testnet.Network
	path  string
	id    *identity.SharedSecret
	state *memory
	wrap  func(identity.Provider) identity.Provider // nil: the identity as it is

	rotateAfter time.Duration
	trust       identity.Verifier // nil: the identity
}

func newKeeping(t *testing.T, nw *testnet.Network, path string) *keeping {
	k := &keeping{t: t, nw: nw, path: path, id: testnet.Identity(t, testnet.Secret, path), state: newMemory()}
	k.dial()
	return k
}

func (k *keeping) dial() {
	k.t.Helper()
	k.App = k.nw.App(k.path, func(c *session.Config) {
		c.Identity, c.Verifier, c.State = k.id, k.id, k.state
		c.RotateAfter = k.rotateAfter
		if k.wrap != nil {
			c.Identity = k.wrap(k.id)
		}
		if k.trust != nil {
			c.Verifier = k.trust
		}
	})
}

// crash ends the app without a farewell; restart is a new process.
func (k *keeping) crash() {
	k.t.Helper()
	old := k.state.pull()
	if err := k.App.Suspend(); err != nil {
		k.t.Fatal(err)
	}
	k.state = old
}

func (k *keeping) restart() *session.Session {
	k.t.Helper()
	k.crash()
	k.dial()
	return k.resumed()
}

func (k *keeping) resumed() *session.Session {
	k.t.Helper()
	sessions, groups := k.Resumed()
	if len(sessions) != 1 || len(groups) != 0 {
		k.t.Fatalf("%d sessions and %d groups were resumed, want one session", len(sessions), len(groups))
	}
	return sessions[0]
}

func take(t *testing.T, s *session.Session, text string) session.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := s.Receive(ctx)
	if err != nil || string(m.Payload) != text {
		t.Fatalf("received %q, %v; want %q", m.Payload, err, text)
	}
	return m
}

func confirm(t *testing.T, s *session.Session, m session.Message) {
	t.Helper()
	if err := s.Confirm(m); err != nil {
		t.Fatal(err)
	}
}

// nothing checks that there is nothing to receive.
func nothing(t *testing.T, s *session.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if m, err := s.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("received %q, %v; want nothing", m.Payload, err)
	}
}

func waitLinked(t *testing.T, apps ...*session.App) {
	t.Helper()
	for range 1000 {
		up := true
		for _, a := range apps {
			up = up && a.Linked()
		}
		if up {
			synctest.Wait() // the sessions know
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("not linked")
}
