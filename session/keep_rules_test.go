package session_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// The rules of what is stored when.

// On a session that is saved no more than 64 messages are encrypted until it is
// saved again, since so many keys are skipped after a restart.
func TestKeysBetweenSaves(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		var between, most atomic.Int64
		alice := &keeping{t: t, nw: nw, path: "org/ns/alice", id: testnet.Identity(t, testnet.Secret, "org/ns/alice"), state: newMemory()}
		alice.wrap = func(p identity.Provider) identity.Provider { // a token is made for every message
			return countingIdentity{p, func() { most.Store(max(most.Load(), between.Add(1))) }}
		}
		alice.dial()
		bob := nw.App("org/ns/bob", nil)
		a, b := openBetween(t, alice.App, bob, session.Options{}, session.ListenOptions{})
		if err := send(t, a, "first").Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		take(t, b, "first")
		alice.state.watch = func(changes map[string][]byte) {
			for k := range changes {
				if strings.HasSuffix(k, "/state") {
					between.Store(0)
				}
			}
		}
		nw.Tap(func(f *wire.Frame) []*wire.Frame { // bob hears nothing
			m, _ := f.Message()
			if m.GetPublish().GetSession().GetSessionMessageType() == msgType {
				return nil
			}
			return testnet.Pass(f)
		})
		for i := range 200 {
			send(t, a, fmt.Sprint(i))
		}
		time.Sleep(5 * time.Second)
		if n := most.Load(); n < 60 || n > 64+2 { // a heartbeat may be among them
			t.Errorf("%d messages between two saves", n)
		}
		nw.Tap(nil)
		a = alice.restart()
		for i := range 200 {
			take(t, b, fmt.Sprint(i))
		}
		send(t, a, "last")
		take(t, b, "last")
	})
}

// countingIdentity tells of every token.
type countingIdentity struct {
	identity.Provider
	minted func()
}

func (c countingIdentity) Token(now time.Time) (string, error) {
	c.minted()
	return c.Provider.Token(now)
}

// A restarted session is saved before it says anything, lest a second restart
// skip the same keys.
func TestSavedBeforeTheFirstWord(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := newKeeping(t, nw, "org/ns/alice"), nw.App("org/ns/bob", nil)
		openBetween(t, alice.App, bob, session.Options{}, session.ListenOptions{})
		synctest.Wait()
		alice.crash()
		before := alice.state.only(t, "/state")
		var writes atomic.Int64
		alice.state.watch = func(changes map[string][]byte) { writes.Add(1) }
		alice.dial()
		if after := alice.state.only(t, "/state"); writes.Load() == 0 || bytes.Equal(before, after) {
			t.Error("the session goes on from the state it was resumed from")
		}
	})
}

// only returns the one record whose key has that end.
func (m *memory) only(t *testing.T, end string) []byte {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []byte
	for k, v := range m.records {
		if strings.HasSuffix(k, end) {
			if found != nil {
				t.Fatalf("several records end with %s", end)
			}
			found = v
		}
	}
	return found
}

// Publish returns when the message is stored, and what is acknowledged is stored
// no more.
func TestPublishedIsStored(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := newKeeping(t, nw, "org/ns/alice"), nw.App("org/ns/bob", nil)
		a, b := openBetween(t, alice.App, bob, session.Options{}, session.ListenOptions{})
		stuck := make(chan struct{})
		var stored atomic.Int64
		alice.state.watch = func(changes map[string][]byte) {
			for k, v := range changes {
				if strings.Contains(k, "/tx/") && v != nil {
					stored.Add(1)
					<-stuck
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan *session.Receipt, 1)
		go func() {
			r, err := a.Publish(t.Context(), session.Message{Payload: []byte("one")})
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		select {
		case <-done:
			t.Error("Publish returned before the message was stored")
		case <-ctx.Done():
		}
		close(stuck)
		r := <-done
		take(t, b, "one")
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := alice.Suspend(); err != nil { // at once: nobody relied on the acknowledgement yet
			t.Fatal(err)
		}
		if n := alice.state.count("/tx/"); n != 0 || stored.Load() != 1 {
			t.Errorf("%d acknowledged messages are stored; they were stored %d times", n, stored.Load())
		}
		alice.dial()
	})
}

// What the next process got from the last one is dropped when it is acknowledged.
func TestStoredByTheLastProcess(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := newKeeping(t, nw, "org/ns/alice"), nw.App("org/ns/bob", nil)
		a, b := openBetween(t, alice.App, bob, session.Options{}, session.ListenOptions{})
		if err := send(t, a, "0").Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		take(t, b, "0")
		nw.StopNode()
		send(t, a, "1")
		alice.crash()
		nw.StartNode()
		alice.dial()
		take(t, b, "1")
		time.Sleep(3 * time.Second)
		if n := alice.state.count("/tx/"); n != 0 {
			t.Errorf("%d messages stay stored", n)
		}
	})
}

// Messages of several processes do not take each other's place.
func TestUnconfirmedOfSeveralProcesses(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), newKeeping(t, nw, "org/ns/bob")
		a, b := openBetween(t, alice, bob.App, session.Options{}, session.ListenOptions{})
		for i := range 6 {
			if err := send(t, a, fmt.Sprint(i)).Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if i%2 == 1 {
				b = bob.restart()
				waitLinked(t, bob.App)
			}
		}
		for i := range 6 {
			take(t, b, fmt.Sprint(i))
		}
		writes := bob.state.writes
		if err := b.Confirm(session.Message{}); err != nil || bob.state.writes != writes {
			t.Errorf("a message that was not received is confirmed: %v", err)
		}
	})
}

// A gap that was told is not told again after a restart; one that was not is.
func TestGapIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), newKeeping(t, nw, "org/ns/bob")
		a, b := openBetween(t, alice, bob.App, session.Options{MaxRetries: 1}, session.ListenOptions{})
		if err := send(t, a, "first").Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		nw.Tap(func(f *wire.Frame) []*wire.Frame {
			m, _ := f.Message()
			s := m.GetPublish().GetSession()
			if s.GetMessageId() == 2 && (s.GetSessionMessageType() == msgType || s.GetSessionMessageType() == rtxReplyType) {
				return nil
			}
			return testnet.Pass(f)
		})
		send(t, a, "lost")
		send(t, a, "last")
		time.Sleep(20 * time.Second)
		for range 2 { // not read before the restart
			b = bob.restart()
			waitLinked(t, bob.App)
		}
		confirm(t, b, take(t, b, "first"))
		if _, err := b.Receive(t.Context()); !isCode(err, session.CodeMessagesLost) {
			t.Errorf("instead of the gap: %v", err)
		}
		b = bob.restart()
		confirm(t, b, take(t, b, "last"))
		nothing(t, b)
	})
}

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
