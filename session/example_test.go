package session_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/statefile"
	"github.com/slimbridge/slimbridge/slimnode"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// must ends an example that does not work.
func must[T any](v T, err error) T {
	if err != nil {
		log.Panic(err)
	}
	return v
}

// startNode runs a node on this machine.
func startNode(ctx context.Context) *slimnode.Node {
	n := must(slimnode.New(slimnode.Config{Listeners: []slimnode.Listener{{Endpoint: "127.0.0.1:0"}}}))
	must(n, n.Start(ctx))
	return n
}

// dial makes an app, as in the first example.
func dial(ctx context.Context, node *slimnode.Node, secret identity.Secret, path string) *session.App {
	me := must(identity.NewSharedSecret(secret, path))
	return must(session.Dial(ctx, session.Config{Name: name.MustParse(path), Identity: me, Verifier: me, Node: node.Endpoints()[0]}))
}

// Two apps meet at a node by name and talk in a session that the node cannot
// read. must panics on errors; dial and startNode are in the same file.
func Example() {
	ctx := context.Background()
	node := startNode(ctx) // or run: slimbridge node
	defer node.Close()
	secret := identity.GenerateSecret() // both apps hold it, the node does not

	bob := dial(ctx, node, secret, "org/ns/bob")
	defer bob.Close()
	listener := must(bob.Listen(session.ListenOptions{}))

	me := must(identity.NewSharedSecret(secret, "org/ns/alice"))
	alice := must(session.Dial(ctx, session.Config{
		Name: name.MustParse("org/ns/alice"), Identity: me, Verifier: me, Node: node.Endpoints()[0],
	}))
	defer alice.Close()
	s := must(alice.Open(ctx, name.MustParse("org/ns/bob"), session.Options{})) // reliable, in order, MLS
	receipt := must(s.Publish(ctx, session.Message{Payload: []byte("hello")}))

	theirs := must(listener.Accept(ctx))
	m := must(theirs.Receive(ctx))
	fmt.Printf("%s: %s\n", m.Source.Path(), m.Payload)
	fmt.Println("acknowledged:", receipt.Wait(ctx) == nil)
	must(theirs.Reply(ctx, m, session.Message{Payload: []byte("hello yourself")}))

	m = must(s.Receive(ctx))
	fmt.Printf("%s: %s\n", m.Source.Path(), m.Payload)
	// Output:
	// org/ns/alice: hello
	// acknowledged: true
	// org/ns/bob: hello yourself
}

// A moderator makes a group and invites those who let it; all hear all.
func Example_group() {
	ctx := context.Background()
	node := startNode(ctx)
	defer node.Close()
	secret := identity.GenerateSecret()
	moderator := dial(ctx, node, secret, "org/ns/moderator")
	defer moderator.Close()
	g := must(moderator.CreateGroup(ctx, name.MustParse("org/ns/chat"), session.GroupOptions{}))

	var members []*session.Group
	for _, path := range []string{"org/ns/bob", "org/ns/carol"} {
		app := dial(ctx, node, secret, path)
		defer app.Close()
		l := must(app.ListenGroups(session.GroupListenOptions{Moderators: []name.Name{moderator.Name()}}))
		if err := g.Invite(ctx, app.Name(), session.InviteOptions{}); err != nil {
			log.Panic(err)
		}
		members = append(members, must(l.Accept(ctx)))
	}
	must(g.Publish(ctx, session.Message{Payload: []byte("Hello group!")}))
	for _, member := range members {
		m := must(member.Receive(ctx))
		fmt.Printf("%s hears %s: %s\n", member.Local().Path(), m.Source.Path(), m.Payload)
	}
	must(members[0].Publish(ctx, session.Message{Payload: []byte("Hello from bob!")}))
	for _, other := range []*session.Group{g, members[1]} {
		m := must(other.Receive(ctx))
		fmt.Printf("%s hears %s: %s\n", other.Local().Path(), m.Source.Path(), m.Payload)
	}
	// Output:
	// org/ns/bob hears org/ns/moderator: Hello group!
	// org/ns/carol hears org/ns/moderator: Hello group!
	// org/ns/moderator hears org/ns/bob: Hello from bob!
	// org/ns/carol hears org/ns/bob: Hello from bob!
}

// Request waits for the reply, which is the peer's next message.
func ExampleSession_Request() {
	ctx := context.Background()
	node := startNode(ctx)
	defer node.Close()
	secret := identity.GenerateSecret()
	server := dial(ctx, node, secret, "org/ns/clock")
	defer server.Close()
	listener := must(server.Listen(session.ListenOptions{}))
	go func() {
		s := must(listener.Accept(ctx))
		for m, err := range s.Messages(ctx) { // until the session is over
			if err == nil {
				must(s.Reply(ctx, m, session.Message{Payload: []byte("noon in " + string(m.Payload))}))
			}
		}
	}()

	client := dial(ctx, node, secret, "org/ns/client")
	defer client.Close()
	s := must(client.Open(ctx, name.MustParse("org/ns/clock"), session.Options{EndWhenLost: true}))
	for _, city := range []string{"Oslo", "Rome"} {
		reply := must(s.Request(ctx, session.Message{Payload: []byte(city)}, 10*time.Second))
		fmt.Println(string(reply.Payload))
	}
	// Output:
	// noon in Oslo
	// noon in Rome
}

// An app that keeps its sessions in a file goes on where the last process
// stopped.
func ExampleApp_Resumed() {
	ctx := context.Background()
	node := startNode(ctx)
	defer node.Close()
	secret := identity.GenerateSecret()
	dir := must(os.MkdirTemp("", "resumed"))
	defer os.RemoveAll(dir)
	key := make([]byte, 32) // keep it elsewhere than the file
	must(rand.Read(key))

	// process stands for what runs between two crashes.
	process := func() (*session.App, func()) {
		state := must(statefile.Open(filepath.Join(dir, "bob.state"), key))
		me := must(identity.KeepSharedSecret(secret, "org/ns/bob", state))
		app := must(session.Dial(ctx, session.Config{
			Name: name.MustParse("org/ns/bob"), Identity: me, Verifier: me, Node: node.Endpoints()[0], State: state,
		}))
		return app, func() { must(0, errors.Join(app.Suspend(), state.Close())) }
	}
	bob, stop := process()
	listener := must(bob.Listen(session.ListenOptions{}))
	alice := dial(ctx, node, secret, "org/ns/alice")
	defer alice.Close()
	s := must(alice.Open(ctx, name.MustParse("org/ns/bob"), session.Options{}))
	theirs := must(listener.Accept(ctx))
	must(s.Publish(ctx, session.Message{Payload: []byte("one")}))
	must(s.Publish(ctx, session.Message{Payload: []byte("two")}))
	must(0, theirs.Confirm(must(theirs.Receive(ctx))))
	must(theirs.Receive(ctx)) // read, but not confirmed
	stop()

	bob, stop = process()
	defer stop()
	sessions, _ := bob.Resumed()
	fmt.Printf("again: %s\n", must(sessions[0].Receive(ctx)).Payload)
	must(s.Publish(ctx, session.Message{Payload: []byte("three")}))
	fmt.Printf("new: %s\n", must(sessions[0].Receive(ctx)).Payload)
	// Output:
	// again: two
	// new: three
}
