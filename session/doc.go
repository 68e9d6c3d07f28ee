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
// The protocol itself lives in pure packages below internal; this package is
// the driver: one goroutine per session, one reader and one writer per link.
// App, Listener and Session are safe for concurrent use.
package session
