package session_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

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
