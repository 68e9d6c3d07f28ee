package session_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Crashes at the ends of things, and states that fail or are slow.

// A farewell that nobody answered is said again by the next process that has a
// link.
func TestFarewellSurvivesRestart(t *testing.T) {
	for _, inVain := range []int{0, 1, 2} {
		t.Run(fmt.Sprint(inVain, " in vain"), func(t *testing.T) { farewellAfter(t, inVain) })
	}
}

func farewellAfter(t *testing.T, inVain int) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := newKeeping(t, nw, "org/ns/alice"), nw.App("org/ns/bob", nil)
		a, b := openBetween(t, alice.App, bob, session.Options{}, session.ListenOptions{})
		nw.Tap(func(*wire.Frame) []*wire.Frame { return nil })
		go func() { _ = a.Close() }()
		time.Sleep(2 * time.Second)
		alice.crash()
		nw.Tap(nil)
		for range inVain {
			_, err := session.Dial(t.Context(), session.Config{
				Name: name.MustParse(alice.path), Identity: alice.id, Verifier: alice.id, State: alice.state,
				NetDial: func(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed },
			})
			if !isCode(err, session.CodeLinkDown) {
				t.Fatal(err)
			}
		}
		alice.dial()
		select {
		case <-b.Done():
		case <-time.After(10 * time.Second):
			t.Error("bob does not know that the session is over")
		}
		if !isCode(b.Err(), session.CodeClosedByPeer) {
			t.Errorf("it ended with %v", b.Err())
		}
	})
}

// A message that is confirmed while the end of its session is being stored does
// not take away what the records of the session need.
func TestConfirmWhileTheEndIsStored(t *testing.T) {
	for _, crash := range []bool{true, false} {
		t.Run(fmt.Sprintf("crash=%v", crash), func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				alice, bob := nw.App("org/ns/alice", nil), newKeeping(t, nw, "org/ns/bob")
				a, b := openBetween(t, alice, bob.App, session.Options{}, session.ListenOptions{})
				send(t, a, "one")
				m := take(t, b, "one")
				ending, goOn := make(chan struct{}), make(chan struct{})
				bob.state.watch = func(changes map[string][]byte) {
					for k, v := range changes {
						if strings.HasSuffix(k, "/state") && v == nil {
							close(ending)
							<-goOn
						}
					}
				}
				go func() { _ = a.Close() }()
				<-ending
				confirm(t, b, m)
				before := bob.state
				if crash {
					before = bob.state.pull()
				}
				close(goOn)
				<-b.Done()
				if n := bob.state.count("/"); !crash && n != 1 { // the app's own record
					t.Errorf("%d records of a session are left that is over and confirmed", n-1)
				}
				if err := bob.Suspend(); err != nil {
					t.Fatal(err)
				}
				bob.state = before
				bob.dial()
				if sessions, _ := bob.Resumed(); crash != (len(sessions) == 1) {
					t.Errorf("%d sessions were resumed", len(sessions))
				}
			})
		})
	}
}

// A crash between the last confirmation and the end of what is stored of a session
// leaves nothing behind.
func TestCrashAfterTheLastConfirm(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), newKeeping(t, nw, "org/ns/bob")
		a, b := openBetween(t, alice, bob.App, session.Options{}, session.ListenOptions{})
		send(t, a, "one")
		if err := a.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-b.Done()
		m := take(t, b, "one")
		var left *memory
		bob.state.watch = func(changes map[string][]byte) {
			for k := range changes {
				if strings.HasSuffix(k, "/info") {
					left = bob.state.pull()
				}
			}
		}
		if err := b.Confirm(m); !isCode(err, session.CodeState) {
			t.Errorf("confirm: %v", err)
		}
		if err := bob.Suspend(); err != nil {
			t.Fatal(err)
		}
		bob.state = left
		bob.dial()
		sessions, _ := bob.Resumed()
		if n := bob.state.count("/"); n != 1 || len(sessions) != 0 {
			t.Errorf("%d records are left, %d sessions were resumed", n-1, len(sessions))
		}
	})
}

// A session that could not be stored once is over, and nothing of it is stored
// later: it would lack what could not be stored then.
func TestNothingIsStoredAfterAFailure(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := newKeeping(t, nw, "org/ns/alice"), nw.App("org/ns/bob", nil)
		a, b := openBetween(t, alice.App, bob, session.Options{}, session.ListenOptions{})
		if err := send(t, a, "one").Wait(t.Context()); err != nil { // that it is acknowledged waits to be stored
			t.Fatal(err)
		}
		take(t, b, "one")
		alice.state.mu.Lock()
		alice.state.fails = 1
		alice.state.mu.Unlock()
		if _, err := a.Publish(t.Context(), session.Message{Payload: []byte("two")}); !isCode(err, session.CodeState) {
			t.Errorf("publish: %v", err)
		}
		<-a.Done()
		if err := alice.Suspend(); err != nil {
			t.Fatal(err)
		}
		alice.dial()
		send(t, alice.resumed(), "three")
		take(t, b, "three")
	})
}

// One that dies after it asked to be let in anew takes the answer that was made
// for it: without it it would understand nothing until the next heartbeats.
func TestRejoinSurvivesRestart(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		bob := &keeping{t: t, nw: nw, path: "org/ns/bob", id: testnet.Identity(t, testnet.Secret, "org/ns/bob"), state: newMemory()}
		bob.rotateAfter = time.Minute // a responder adds two
		bob.dial()
		a, _ := openBetween(t, nw.App("org/ns/alice", nil), bob.App, session.Options{}, session.ListenOptions{})
		epoch := a.Epoch()
		asked := make(chan struct{}, 8)
		nw.Tap(func(f *wire.Frame) []*wire.Frame {
			m, _ := f.Message()
			switch m.GetPublish().GetSession().GetSessionMessageType() {
			case pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST:
				asked <- struct{}{}
			case pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REPLY, pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_UPDATE:
				return nil
			}
			return testnet.Pass(f)
		})
		select {
		case <-asked:
		case <-time.After(patience):
			t.Fatal("bob did not ask to be let in anew")
		}
		synctest.Wait()
		b := bob.restart()
		nw.Tap(nil)
		if a.Epoch() != epoch+1 {
			t.Fatalf("alice is in epoch %d after %d", a.Epoch(), epoch)
		}
		send(t, a, "new keys")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if m, err := b.Receive(ctx); err != nil || string(m.Payload) != "new keys" {
			t.Errorf("received %q, %v", m.Payload, err)
		}
		if b.Epoch() != a.Epoch() {
			t.Errorf("epochs %d and %d", a.Epoch(), b.Epoch())
		}
	})
}

// A state that is slow, or stuck, holds up nobody but the sessions it keeps.
func TestSlowStateHoldsUpNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), newKeeping(t, nw, "org/ns/bob")
		a, b := openBetween(t, alice, bob.App, session.Options{MaxRetries: 30}, session.ListenOptions{})
		l, err := alice.Listen(session.ListenOptions{Security: session.AllowPlain})
		if err != nil {
			t.Fatal(err)
		}
		c, err := bob.OpenAnycast(t.Context(), alice.Name().Service(), session.AnycastOptions{Security: session.AllowPlain}) // not kept
		if err != nil {
			t.Fatal(err)
		}
		other, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := send(t, a, "0").Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		stuck := make(chan struct{})
		bob.state.watch = func(map[string][]byte) { <-stuck }
		const n = 700 // more than wait for the goroutine
		go func() {
			for i := range n {
				if _, err := a.Publish(t.Context(), session.Message{Payload: []byte(fmt.Sprint(i + 1))}); err != nil {
					return
				}
			}
		}()
		time.Sleep(5 * time.Second)
		send(t, other, "hello")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if m, err := c.Receive(ctx); err != nil || string(m.Payload) != "hello" {
			t.Errorf("the other session hears %q, %v", m.Payload, err)
		}
		close(stuck)
		for i := range n + 1 {
			confirm(t, b, take(t, b, fmt.Sprint(i)))
		}
	})
}
