package session_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode"
	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs f in fake time on a new network; everything must end with it.
func bubble(t *testing.T, f func(t *testing.T, nw *testnet.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, testnet.New(t, testnet.Options{})) })
}

// pairUp connects alice to bob and opens a session.
func pairUp(t *testing.T, nw *testnet.Network, o session.Options, lo session.ListenOptions) (a, b *session.Session) {
	t.Helper()
	alice, bob := nw.App("org/ns/alice", nil), nw.App("org/ns/bob", nil)
	return openBetween(t, alice, bob, o, lo)
}

func openBetween(t *testing.T, alice, bob *session.App, o session.Options, lo session.ListenOptions) (a, b *session.Session) {
	t.Helper()
	l, err := bob.Listen(lo)
	if err != nil {
		t.Fatal(err)
	}
	a, err = alice.Open(t.Context(), bob.Name().Service(), o)
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// patience is how long, in the time of the bubble, a test waits for what should
// come. Without a limit a lost message would not fail a test but stop it:
// heartbeats keep the clock of a bubble going for ever.
const patience = 5 * time.Minute

func send(t *testing.T, s *session.Session, text string) *session.Receipt {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := s.Publish(ctx, session.Message{Payload: []byte(text)})
	if err != nil {
		t.Fatalf("publish %q: %v", text, err)
	}
	return r
}

func expect(t *testing.T, s *session.Session, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := s.Receive(ctx)
	if err != nil {
		t.Fatalf("receive, want %q: %v", text, err)
	}
	if string(m.Payload) != text {
		t.Fatalf("received %q, want %q", m.Payload, text)
	}
}

func isCode(err error, c session.Code) bool { return errors.Is(err, &session.Error{Code: c}) }

var modes = map[string]struct {
	o  session.Options
	lo session.ListenOptions
}{
	"mls":              {},
	"plain":            {session.Options{Security: session.AllowPlain}, session.ListenOptions{Security: session.AllowPlain}},
	"unreliable":       {o: session.Options{Delivery: session.Unreliable}},
	"unreliable plain": {session.Options{Delivery: session.Unreliable, Security: session.AllowPlain}, session.ListenOptions{Security: session.AllowPlain}},
}

func TestTalk(t *testing.T) {
	n := 300
	if testing.Short() {
		n = 100
	}
	for mode, tc := range modes {
		t.Run(mode, func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				a, b := pairUp(t, nw, tc.o, tc.lo)
				if a.Encrypted() != (tc.o.Security == session.RequireMLS) || a.Encrypted() != b.Encrypted() || a.Reliable() != b.Reliable() {
					t.Errorf("encrypted %v/%v, reliable %v/%v", a.Encrypted(), b.Encrypted(), a.Reliable(), b.Reliable())
				}
				if a.Peer().Key() != b.Local().Key() || b.Peer().Key() != a.Local().Key() {
					t.Errorf("peers %v, %v", a.Peer(), b.Peer())
				}
				for i := range n {
					text := fmt.Sprint("message ", i)
					r := send(t, a, text)
					expect(t, b, text)
					send(t, b, "re: "+text)
					expect(t, a, "re: "+text)
					if err := r.Wait(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if err := a.Close(); err != nil {
					t.Fatal(err)
				}
				if _, err := b.Receive(t.Context()); !isCode(err, session.CodeClosedByPeer) || !errors.Is(err, net.ErrClosed) {
					t.Errorf("bob's end: %v", err)
				}
				if _, err := a.Publish(t.Context(), session.Message{}); !isCode(err, session.CodeClosed) {
					t.Errorf("publish after close: %v", err)
				}
			})
		})
	}
}

func TestResponderCloses(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, b := pairUp(t, nw, session.Options{}, session.ListenOptions{})
		send(t, b, "last words")
		if err := b.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(t, a, "last words")
		if _, err := a.Receive(t.Context()); !isCode(err, session.CodeClosedByPeer) {
			t.Errorf("alice's end: %v", err)
		}
	})
}

// A farewell whose answer is lost is answered again, though the session is gone.
func TestFarewellAnswerLost(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, _ := pairUp(t, nw, session.Options{}, session.ListenOptions{})
		nw.Tap(testnet.Drop(1, pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK))
		start := time.Now()
		_ = a.Close()
		if took := time.Since(start); took > 2*time.Second || a.Err() == nil {
			t.Errorf("close took %v: %v", took, a.Err())
		}
	})
}

func TestNobodyThere(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice := nw.App("org/ns/alice", nil)
		nw.App("org/ns/deaf", nil) // subscribed, but not listening
		for _, peer := range []string{"org/ns/nobody", "org/ns/deaf"} {
			_, err := alice.Open(t.Context(), name.MustParse(peer), session.Options{MaxRetries: 2})
			if !isCode(err, session.CodeNoPeer) {
				t.Errorf("open %s: %v", peer, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := alice.Open(ctx, name.MustParse("org/ns/nobody"), session.Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("open with a deadline: %v", err)
		}
	})
}

// A join without MLS is refused unless the listener allows it.
func TestPlainJoinRefused(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), nw.App("org/ns/bob", nil)
		if _, err := bob.Listen(session.ListenOptions{}); err != nil {
			t.Fatal(err)
		}
		_, err := alice.Open(t.Context(), bob.Name().Service(), session.Options{Security: session.AllowPlain, MaxRetries: 1})
		if !isCode(err, session.CodeTimeout) {
			t.Errorf("open: %v", err)
		}
	})
}

func TestAnycastThenSticky(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice := nw.App("org/ns/alice", nil)
		var wg sync.WaitGroup
		t.Cleanup(wg.Wait) // runs after the instances are closed
		var mu sync.Mutex
		got := map[string]map[string]bool{} // session -> instances that saw it
		for i := range 3 {
			instance := nw.App("org/ns/service", nil)
			l, err := instance.Listen(session.ListenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				for {
					s, err := l.Accept(context.Background())
					if err != nil {
						return
					}
					wg.Go(func() {
						for {
							m, err := s.Receive(context.Background())
							if err != nil {
								return
							}
							mu.Lock()
							if got[string(m.Payload)] == nil {
								got[string(m.Payload)] = map[string]bool{}
							}
							got[string(m.Payload)][fmt.Sprint(i)] = true
							mu.Unlock()
						}
					})
				}
			})
			t.Cleanup(func() { _ = instance.Close() })
		}
		instances := map[name.Key]int{}
		for i := range 6 {
			s, err := alice.Open(t.Context(), name.MustParse("org/ns/service"), session.Options{})
			if err != nil {
				t.Fatal(err)
			}
			instances[s.Peer().Key()]++
			for range 5 {
				if err := send(t, s, fmt.Sprint("session ", i)).Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			_ = s.Close()
		}
		if len(instances) != 3 {
			t.Errorf("6 sessions went to %d of 3 instances", len(instances))
		}
		mu.Lock()
		defer mu.Unlock()
		for s, by := range got {
			if len(by) != 1 {
				t.Errorf("%s was seen by %d instances", s, len(by))
			}
		}
	})
}

func TestRequestReply(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, b := pairUp(t, nw, session.Options{}, session.ListenOptions{})
		var wg sync.WaitGroup
		wg.Go(func() { // answers "slow" late, the others at once
			for {
				m, err := b.Receive(context.Background())
				if err != nil {
					return
				}
				if string(m.Payload) == "slow" {
					time.Sleep(5 * time.Second)
				}
				_, _ = b.Reply(context.Background(), m, session.Message{Payload: append([]byte("re: "), m.Payload...)})
			}
		})
		defer wg.Wait()
		defer func() { _ = a.Close() }()
		ask := func(text string) (string, error) {
			m, err := a.Request(t.Context(), session.Message{Payload: []byte(text)}, 3*time.Second)
			return string(m.Payload), err
		}
		if got, err := ask("one"); err != nil || got != "re: one" {
			t.Errorf("ask one: %q, %v", got, err)
		}
		if _, err := ask("slow"); !isCode(err, session.CodeTimeout) {
			t.Errorf("ask slow: %v", err)
		}
		if got, err := ask("two"); err != nil || got != "re: two" {
			t.Errorf("ask two: %q, %v; the late reply must not be taken for it", got, err)
		}
		var both sync.WaitGroup
		for _, text := range []string{"x", "y", "z"} {
			both.Go(func() {
				if got, err := ask(text); err != nil || got != "re: "+text {
					t.Errorf("ask %s: %q, %v", text, got, err)
				}
			})
		}
		both.Wait()
	})
}

// What the peer said before the request was sent is no reply to it.
func TestRequestBehindFullWindow(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, b := pairUp(t, nw, session.Options{MaxRetries: 30}, session.ListenOptions{})
		if err := send(t, a, "first").Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		nw.Tap(testnet.Drop(1<<30, ackType))
		full := false
		for !full {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			_, err := a.Publish(ctx, session.Message{Payload: []byte("filler")})
			cancel()
			full = err != nil
		}
		send(t, b, "unrelated news")
		if m, err := a.Request(t.Context(), session.Message{Payload: []byte("question")}, 3*time.Second); !isCode(err, session.CodeTimeout) {
			t.Errorf("reply to a request that was never sent: %q, %v", m.Payload, err)
		}
		expect(t, a, "unrelated news")
	})
}

// Under 20 % loss, duplication and reordering everything arrives once and in
// order, both ways, while keys rotate.
func TestLossyNode(t *testing.T) {
	for _, mode := range []string{"mls", "plain"} {
		t.Run(mode, func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				rotate := func(c *session.Config) { c.RotateMessages = 40 }
				alice, bob := nw.App("org/ns/alice", rotate), nw.App("org/ns/bob", rotate)
				nw.Tap(testnet.Chaos(7, 0.2))
				o, lo := modes[mode].o, modes[mode].lo
				o.MaxRetries = 40
				a, b := openBetween(t, alice, bob, o, lo)
				const n = 200
				var wg sync.WaitGroup
				for _, dir := range [][2]*session.Session{{a, b}, {b, a}} {
					wg.Go(func() {
						for i := range n {
							send(t, dir[0], fmt.Sprint(i))
						}
					})
					wg.Go(func() {
						for i := range n {
							expect(t, dir[1], fmt.Sprint(i))
						}
					})
				}
				wg.Wait()
				if mode == "mls" && a.Epoch() < 3 {
					t.Errorf("epoch %d after %d messages, want some rotations", a.Epoch(), n)
				}
				nw.Tap(nil)
			})
		})
	}
}

// A node that restarts costs time, not messages and not the session.
func TestNodeRestart(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, b := pairUp(t, nw, session.Options{EndWhenLost: true}, session.ListenOptions{EndWhenLost: true})
		if err := send(t, a, "before").Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(t, b, "before")
		nw.StopNode()
		r := send(t, a, "while the node is away")
		time.Sleep(20 * time.Second)
		nw.StartNode()
		expect(t, b, "while the node is away")
		if err := r.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		send(t, b, "after")
		expect(t, a, "after")
	})
}

func TestNodeGoneForGood(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, _ := pairUp(t, nw, session.Options{EndWhenLost: true}, session.ListenOptions{EndWhenLost: true})
		nw.StopNode()
		start := time.Now()
		_, err := a.Receive(t.Context())
		if took := time.Since(start).Round(time.Second); !isCode(err, session.CodePeerGone) || took != session.LostAfter {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

func TestIdleSessionsLive(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, b := pairUp(t, nw, session.Options{EndWhenLost: true}, session.ListenOptions{EndWhenLost: true})
		time.Sleep(2 * time.Hour) // two rotations by time, and tokens expire
		if a.Epoch() < 3 || a.Epoch() != b.Epoch() {
			t.Errorf("epochs %d and %d after two hours", a.Epoch(), b.Epoch())
		}
		send(t, a, "still there?")
		expect(t, b, "still there?")
	})
}

func TestBackPressure(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, b := pairUp(t, nw, session.Options{MaxRetries: 60}, session.ListenOptions{})
		const n = 1400 // more than both windows hold: 1024 unread and 256 unacknowledged
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range n {
				send(t, a, fmt.Sprint(i))
			}
		}()
		time.Sleep(1500 * time.Millisecond) // all is sent once more meanwhile
		select {
		case <-done:
			t.Error("nothing held the sender back while nobody read")
		default:
		}
		for i := range n {
			expect(t, b, fmt.Sprint(i))
		}
		<-done
	})
}

func TestBadInput(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, _ := pairUp(t, nw, session.Options{}, session.ListenOptions{})
		if _, err := a.Publish(t.Context(), session.Message{Payload: make([]byte, session.MaxPayload+1)}); !isCode(err, session.CodeTooLarge) {
			t.Errorf("too large: %v", err)
		}
		if _, err := a.Publish(t.Context(), session.Message{Metadata: map[string]string{"slim-x": "y"}}); !isCode(err, session.CodeInvalid) {
			t.Errorf("reserved metadata: %v", err)
		}
		if _, err := session.Dial(t.Context(), session.Config{}); err == nil {
			t.Error("Dial without a name")
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := a.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
	})
}

func TestLargestMessage(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, b := pairUp(t, nw, session.Options{}, session.ListenOptions{})
		payload := make([]byte, session.MaxPayload)
		r, err := a.Publish(t.Context(), session.Message{Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		m, err := b.Receive(t.Context())
		if err != nil || len(m.Payload) != len(payload) {
			t.Fatalf("received %d bytes, %v", len(m.Payload), err)
		}
		if err := r.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A node that refuses a name: the call says so, and the app lives on.
func TestNameRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := testnet.New(t, testnet.Options{Node: func(c *slimnode.Config) { c.MaxSubscriptions = 2 }})
		alice, bob := nw.App("org/ns/alice", nil), nw.App("org/ns/bob", nil)
		if err := bob.Subscribe(t.Context(), name.MustParse("org/ns/alias")); !isCode(err, session.CodeRejected) {
			t.Errorf("subscribe: %v", err)
		}
		id := testnet.Identity(t, testnet.Secret, "org/ns/carol")
		_, err := session.Dial(t.Context(), session.Config{
			Name: name.MustParse("org/ns/carol"), Identity: id, Verifier: id, Node: testnet.Endpoint, NetDial: nw.Dial,
		})
		if !isCode(err, session.CodeRejected) {
			t.Errorf("dial: %v", err)
		}
		a, b := openBetween(t, alice, bob, session.Options{}, session.ListenOptions{})
		send(t, a, "hello")
		expect(t, b, "hello")
	})
}

// An app is found under every name it subscribed, and answers under that name.
func TestAlias(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice := nw.App("org/ns/alice", func(c *session.Config) { c.Names = identity.OwnID })
		strict, bob := nw.App("org/ns/strict", nil), nw.App("org/ns/bob", nil)
		alias := name.MustParse("org/ns/alias")
		if err := bob.Subscribe(t.Context(), alias); err != nil {
			t.Fatal(err)
		}
		l, err := bob.Listen(session.ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// bob's identity does not spell the alias: by default it is not his name
		if _, err := strict.Open(t.Context(), alias, session.Options{MaxRetries: 1}); !isCode(err, session.CodeNoPeer) {
			t.Errorf("a name that is not the identity's: %v", err)
		}
		a, err := alice.Open(t.Context(), alias, session.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b.Local().Path() != alias.Path() || a.Peer().Key() != b.Local().Key() {
			t.Errorf("local %v, peer %v", b.Local(), a.Peer())
		}
		send(t, a, "hello")
		expect(t, b, "hello")
		_ = a.Close()
		if err := bob.Unsubscribe(t.Context(), alias); err != nil {
			t.Fatal(err)
		}
		if _, err := alice.Open(t.Context(), alias, session.Options{MaxRetries: 1}); !isCode(err, session.CodeNoPeer) {
			t.Errorf("open after unsubscribe: %v", err)
		}
	})
}
