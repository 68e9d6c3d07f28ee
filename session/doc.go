// Package session is SLIM end to end: apps that find each other by name and
// talk in 1:1 sessions, encrypted with MLS (RFC 9420), past nodes that cannot
// read a byte.
//
//	secret, _ := identity.ReadSecretFile("slim.secret")
//	me, _ := identity.NewSharedSecret(secret, "org/ns/alice")
//	app, err := session.Dial(ctx, session.Config{Name: name.MustParse("org/ns/alice"), Identity: me, Verifier: me})
//	s, err := app.Open(ctx, name.MustParse("org/ns/bob"), session.Options{})
//	_, err = s.Publish(ctx, session.Message{Payload: []byte("hello")})
//	reply, err := s.Receive(ctx)
//	err = s.Close()
//
// The other side listens:
//
//	l, err := app.Listen(session.ListenOptions{})
//	s, err := l.Accept(ctx)
//
// An [App] is one name, one identity and one link to a node, which it redials
// and on which it subscribes anew by itself. [App.Open] finds one instance of
// a name (anycast) and stays with it (sticky). The zero [Options] are the safe
// ones: reliable, in order, exactly once, MLS on. A join without MLS is
// refused unless [ListenOptions] allow it.
//
// # Restarts
//
// By default sessions end with the process, and nothing is stored. With
// [Config].State they go on after a crash, to everybody else as after an outage:
//
//	state, err := statefile.Open("alice.state", key)
//	me, err := identity.KeepSharedSecret(secret, "org/ns/alice", state)
//	app, err := session.Dial(ctx, session.Config{Name: ..., Identity: me, Verifier: me, State: state})
//	sessions, groups := app.Resumed()
//	m, err := s.Receive(ctx)
//	err = s.Confirm(m) // it was dealt with; else it is shown again after a restart
//
// Nothing that others or the application rely on gets out before it is stored: no
// acknowledgement, no answer, no change of a group; and Publish returns when the
// message is. What was published and not acknowledged is sent by the next process,
// under new keys. Receipts, requests and operations of a process end with it.
// Sessions that were not open yet are not kept.
//
// The protocol itself lives in pure packages below internal; this package is
// the driver: one goroutine per session, one reader and one writer per link.
// App, Listener and Session are safe for concurrent use.
package session
