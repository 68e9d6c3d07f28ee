package session_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/wire"
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
