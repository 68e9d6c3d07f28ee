package session_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// forgetful does not know the keys any more with which old tokens were signed.
type forgetful struct {
	identity.Verifier
	subject string
}

var errKeyGone = errors.New("the key is gone")

func (f forgetful) VerifyAdmitted(token string) (identity.Claims, error) {
	if strings.HasPrefix(token, f.subject+":") {
		return identity.Claims{}, errKeyGone
	}
	return f.Verifier.VerifyAdmitted(token)
}

// A session whose peer cannot be verified any more does not keep others from
// going on. It can be read, resumed when the peer can be verified, or dropped.
func TestSessionThatCannotGoOn(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, carol, bob := nw.App("org/ns/alice", nil), nw.App("org/ns/carol", nil), newKeeping(t, nw, "org/ns/bob")
		l, err := bob.Listen(session.ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var with []*session.Session
		for _, app := range []*session.App{alice, carol} {
			s, err := app.Open(t.Context(), bob.Name().Service(), session.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Accept(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := send(t, s, "unread").Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			with = append(with, s)
		}
		subject := with[0].Participants()[0].Subject
		again := func(trust identity.Verifier) (ofAlice, ofCarol *session.Session) {
			t.Helper()
			bob.crash()
			bob.trust = trust
			bob.dial()
			sessions, _ := bob.Resumed()
			for _, s := range sessions {
				switch s.Peer().Key() {
				case alice.Name().Key():
					ofAlice = s
				case carol.Name().Key():
					ofCarol = s
				}
			}
			return ofAlice, ofCarol
		}
		a, c := again(forgetful{bob.id, subject})
		if a == nil || c == nil || !isCode(a.Err(), session.CodeState) || c.Err() != nil {
			t.Fatalf("alice's session: %v, carol's: %v", a, c)
		}
		take(t, a, "unread")
		take(t, c, "unread")
		send(t, with[1], "on")
		take(t, c, "on")

		a, _ = again(nil)
		take(t, a, "unread")
		send(t, with[0], "on")
		take(t, a, "on")

		time.Sleep(2 * time.Second)
		a, _ = again(forgetful{bob.id, subject})
		confirm(t, a, take(t, a, "unread"))
		before := bob.state.count("/")
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if n := before - bob.state.count("/"); n != 3 { // info, state, and "on"
			t.Errorf("%d records were dropped", n)
		}
		if a, c = again(nil); a != nil || c == nil {
			t.Errorf("alice's session: %v, carol's: %v", a, c)
		}
	})
}

// Two apps of a process cannot use one state: they would use keys twice.
func TestStateOfOneApp(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice := newKeeping(t, nw, "org/ns/alice")
		dial := func() error {
			app, err := session.Dial(t.Context(), session.Config{
				Name: name.MustParse(alice.path), Identity: alice.id, Verifier: alice.id, NetDial: nw.Dial, Node: testnet.Endpoint, State: alice.state,
			})
			if err == nil {
				err = app.Close()
			}
			return err
		}
		for range 2 { // the refused one does not free it
			if err := dial(); !isCode(err, session.CodeState) {
				t.Errorf("a second app: %v", err)
			}
		}
		if err := alice.Suspend(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := dial(); err != nil {
				t.Errorf("when it is free: %v", err)
			}
		}
	})
}

// Sessions that are over, but have unconfirmed messages, are bounded too.
func TestUnreadSessionsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), newKeeping(t, nw, "org/ns/bob")
		var l *session.Listener
		listen := func() {
			t.Helper()
			var err error
			if l, err = bob.Listen(session.ListenOptions{MaxSessions: 2}); err != nil {
				t.Fatal(err)
			}
		}
		listen()
		open := func() (*session.Session, error) {
			a, err := alice.Open(t.Context(), bob.Name().Service(), session.Options{MaxRetries: 1})
			if err != nil {
				return nil, err
			}
			b, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			send(t, a, "one")
			if err := a.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-b.Done()
			return b, nil
		}
		var over []*session.Session
		for range 2 {
			b, err := open()
			if err != nil {
				t.Fatal(err)
			}
			over = append(over, b)
		}
		full := func() {
			t.Helper()
			if _, err := open(); !isCode(err, session.CodeNoPeer) {
				t.Errorf("a third session: %v", err)
			}
		}
		full()
		confirm(t, over[0], take(t, over[0], "one"))
		if _, err := open(); err != nil {
			t.Errorf("when one was confirmed: %v", err)
		}
		bob.crash()
		bob.dial()
		listen()
		full()
		for range 2 {
			sessions, _ := bob.Resumed()
			for _, s := range sessions {
				m, err := s.Receive(t.Context())
				if err == nil {
					confirm(t, s, m)
				}
			}
		}
		for range 2 {
			if _, err := open(); err != nil {
				t.Errorf("when all were confirmed: %v", err)
			}
		}
		full()
	})
}
