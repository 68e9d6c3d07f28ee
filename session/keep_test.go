package session_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

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

func TestSessionSurvivesRestart(t *testing.T) {
	for mode, tc := range modes {
		t.Run(mode, func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				alice, bob := newKeeping(t, nw, "org/ns/alice"), newKeeping(t, nw, "org/ns/bob")
				a, b := openBetween(t, alice.App, bob.App, tc.o, tc.lo)
				id, epoch := a.ID(), a.Epoch()
				for i := range 12 {
					text := fmt.Sprint("message ", i)
					send(t, a, text)
					confirm(t, b, take(t, b, text))
					send(t, b, "re: "+text)
					confirm(t, a, take(t, a, "re: "+text))
					switch i % 3 {
					case 1:
						a = alice.restart()
					case 2:
						b = bob.restart()
					}
					waitLinked(t, alice.App, bob.App)
				}
				if a.ID() != id || a.Epoch() != epoch || a.Peer().Key() != b.Local().Key() || b.PeerSubject() != a.Local().Path()+strings.TrimPrefix(alice.id.Subject(), "org/ns/alice") {
					t.Errorf("it is another session: id %d, epoch %d, peers %v and %s", a.ID(), a.Epoch(), a.Peer(), b.PeerSubject())
				}
				if a.Encrypted() != (tc.o.Security == session.RequireMLS) || a.Reliable() != (tc.o.Delivery == session.Reliable) || !a.Initiator() || b.Initiator() {
					t.Errorf("encrypted %v, reliable %v, initiators %v and %v", a.Encrypted(), a.Reliable(), a.Initiator(), b.Initiator())
				}
				if err := a.Close(); err != nil {
					t.Fatal(err)
				}
				<-b.Done()
				synctest.Wait()
				for _, k := range []*keeping{alice, bob} {
					if n := k.state.count("/"); n != 1 { // the app's own record
						t.Errorf("%s keeps %d records of a session that is over", k.path, n-1)
					}
				}
			})
		})
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

// What is not confirmed is shown again, in order, what is confirmed is not.
func TestUnconfirmedIsShownAgain(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := newKeeping(t, nw, "org/ns/alice"), newKeeping(t, nw, "org/ns/bob")
		a, b := openBetween(t, alice.App, bob.App, session.Options{}, session.ListenOptions{})
		for i := range 5 {
			if err := send(t, a, fmt.Sprint(i)).Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var read []session.Message
		for i := range 4 {
			read = append(read, take(t, b, fmt.Sprint(i)))
		}
		confirm(t, b, read[0])
		confirm(t, b, read[2])
		confirm(t, b, read[2])
		b = bob.restart()
		for _, want := range []string{"1", "3", "4"} {
			m := take(t, b, want)
			if m.Source.Key() != a.Local().Key() || m.Subject != alice.id.Subject() {
				t.Errorf("shown again as of %v, subject %q", m.Source, m.Subject)
			}
			confirm(t, b, m)
		}
		nothing(t, b)
		b = bob.restart()
		nothing(t, b)
		send(t, a, "on")
		take(t, b, "on")
	})
}

// What was published and not acknowledged is sent by the next process.
func TestUnacknowledgedIsSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := newKeeping(t, nw, "org/ns/alice"), newKeeping(t, nw, "org/ns/bob")
		a, b := openBetween(t, alice.App, bob.App, session.Options{}, session.ListenOptions{})
		if err := send(t, a, "0").Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		take(t, b, "0")
		nw.StopNode()
		for i := range 20 {
			send(t, a, fmt.Sprint(i+1))
		}
		alice.crash()
		nw.StartNode()
		alice.dial()
		a = alice.resumed()
		for i := range 20 {
			take(t, b, fmt.Sprint(i+1))
		}
		send(t, a, "new")
		take(t, b, "new")
		nothing(t, b)
	})
}

// A message is stored before its acknowledgement leaves.
func TestStoredBeforeAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), newKeeping(t, nw, "org/ns/bob")
		a, _ := openBetween(t, alice, bob.App, session.Options{}, session.ListenOptions{})
		stuck := make(chan struct{})
		bob.state.watch = func(changes map[string][]byte) {
			for k := range changes {
				if strings.Contains(k, "/in/") {
					<-stuck
				}
			}
		}
		r := send(t, a, "hello")
		time.Sleep(5 * time.Second)
		select {
		case <-r.Done():
			t.Error("acknowledged while it was not stored")
		default:
		}
		close(stuck)
		if err := r.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A session that cannot be stored ends, and nobody believes that it was.
func TestStateFails(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), newKeeping(t, nw, "org/ns/bob")
		a, b := openBetween(t, alice, bob.App, session.Options{}, session.ListenOptions{})
		send(t, a, "one")
		m := take(t, b, "one")
		left := bob.state.pull()
		if err := b.Confirm(m); !isCode(err, session.CodeState) || !errors.Is(err, errDisk) {
			t.Errorf("confirm: %v", err)
		}
		r := send(t, a, "two")
		<-b.Done()
		if !isCode(b.Err(), session.CodeState) {
			t.Errorf("the session ended with %v", b.Err())
		}
		if _, err := b.Publish(t.Context(), session.Message{}); !isCode(err, session.CodeState) {
			t.Errorf("publish: %v", err)
		}
		bob.state = left
		if err := bob.Suspend(); err != nil {
			t.Fatal(err)
		}
		bob.dial()
		b = bob.resumed()
		take(t, b, "one")
		take(t, b, "two")
		if err := r.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What was received before the end can be read and confirmed after a restart.
func TestOverButUnread(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), newKeeping(t, nw, "org/ns/bob")
		a, b := openBetween(t, alice, bob.App, session.Options{}, session.ListenOptions{})
		send(t, a, "one")
		send(t, a, "two")
		if err := a.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-b.Done()
		b = bob.restart()
		one := take(t, b, "one")
		two := take(t, b, "two")
		if _, err := b.Receive(t.Context()); !isCode(err, session.CodeClosed) {
			t.Errorf("after the last message: %v", err)
		}
		if b.Peer().Key() != a.Local().Key() {
			t.Errorf("the peer was %v", b.Peer())
		}
		confirm(t, b, one)
		if bob.state.count("/info") != 1 {
			t.Error("a session with an unconfirmed message was forgotten")
		}
		confirm(t, b, two)
		if n := bob.state.count("/"); n != 1 {
			t.Errorf("%d records are left", n-1)
		}
	})
}

// Unconfirmed messages are bounded: the peer waits, and loses nothing.
func TestUnconfirmedAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), newKeeping(t, nw, "org/ns/bob")
		a, b := openBetween(t, alice, bob.App, session.Options{MaxRetries: 30}, session.ListenOptions{})
		const all = 1100
		go func() {
			for i := range all {
				if _, err := a.Publish(t.Context(), session.Message{Payload: []byte(fmt.Sprint(i))}); err != nil {
					return
				}
			}
		}()
		var open []session.Message
		for i := range 1024 {
			open = append(open, take(t, b, fmt.Sprint(i)))
		}
		nothing(t, b)
		for _, m := range open {
			confirm(t, b, m)
		}
		for i := 1024; i < all; i++ {
			confirm(t, b, take(t, b, fmt.Sprint(i)))
		}
	})
}

// The state of another app is refused, with advice.
func TestForeignState(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice := newKeeping(t, nw, "org/ns/alice")
		state := alice.state.pull()
		other := testnet.Identity(t, testnet.Secret, "org/ns/alice")
		_, err := session.Dial(t.Context(), session.Config{
			Name: name.MustParse("org/ns/alice"), Identity: other, Verifier: other, NetDial: nw.Dial, Node: testnet.Endpoint, State: state,
		})
		if !isCode(err, session.CodeState) || !strings.Contains(err.Error(), "KeepSharedSecret") {
			t.Errorf("dial: %v", err)
		}
	})
}

// Suspend is a restart that loses nothing, not even what nobody relied on.
func TestSuspend(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := newKeeping(t, nw, "org/ns/alice"), nw.App("org/ns/bob", nil)
		a, b := openBetween(t, alice.App, bob, session.Options{EndWhenLost: true}, session.ListenOptions{})
		send(t, a, "one")
		take(t, b, "one")
		if err := alice.Suspend(); err != nil {
			t.Fatal(err)
		}
		<-a.Done()
		time.Sleep(2 * time.Minute)
		send(t, b, "while you were away")
		alice.dial()
		a = alice.resumed()
		take(t, a, "while you were away")
		send(t, a, "two")
		take(t, b, "two")
	})
}

// What waits for Accept goes on too.
func TestSuspendBeforeAccept(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), newKeeping(t, nw, "org/ns/bob")
		l, err := bob.Listen(session.ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		a, err := alice.Open(t.Context(), bob.Name().Service(), session.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := bob.Suspend(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Accept(t.Context()); !isCode(err, session.CodeClosed) {
			t.Errorf("accept: %v", err)
		}
		bob.dial()
		b := bob.resumed()
		time.Sleep(time.Minute)
		send(t, a, "one")
		take(t, b, "one")
	})
}
