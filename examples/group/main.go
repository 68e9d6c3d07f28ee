// Command group is the group of the SLIM tutorial: a moderator makes the
// channel agntcy/namespace/group_channel, invites participants and says "Hello
// group!"; each of them answers it alone.
//
//	slimbridge node &
//	slimbridge secret new --out secret
//	export SLIM_SHARED_SECRET_FILE=$PWD/secret
//	go run ./examples/group participant agntcy/namespace/participant_1 &
//	go run ./examples/group moderator agntcy/namespace/participant_1
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

const (
	moderator = "agntcy/namespace/moderator"
	channel   = "agntcy/namespace/group_channel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "group:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) >= 2 && args[0] == "moderator":
		return moderate(ctx, args[1:])
	case len(args) == 2 && args[0] == "participant":
		return participate(ctx, args[1])
	}
	return errors.New("usage: group moderator PARTICIPANT... | group participant NAME")
}

// moderate makes the group, says hello and shows one answer of everybody.
func moderate(ctx context.Context, participants []string) error {
	app, err := dial(ctx, moderator)
	if err != nil {
		return err
	}
	defer app.Close()
	g, err := app.CreateGroup(ctx, name.MustParse(channel), session.GroupOptions{}) // reliable, MLS
	if err != nil {
		return err
	}
	for _, p := range participants {
		n, err := name.Parse(p)
		if err == nil {
			err = g.Invite(ctx, n, session.InviteOptions{})
		}
		if err != nil {
			return err
		}
		fmt.Printf("%s -> add %s to the group\n", moderator, p)
	}
	if _, err := g.Publish(ctx, session.Message{Payload: []byte("Hello group!")}); err != nil {
		return err
	}
	for range participants {
		m, err := g.Receive(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("%s > %s\n", m.Source.Path(), m.Payload)
	}
	return g.Close() // the moderator leaves last: the group is over for all
}

// participate waits for the invitation, and answers until the group is over.
func participate(ctx context.Context, path string) error {
	app, err := dial(ctx, path)
	if err != nil {
		return err
	}
	defer app.Close()
	l, err := app.ListenGroups(session.GroupListenOptions{Moderators: []name.Name{name.MustParse(moderator)}, EndWhenLost: true})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "group: %s waits for an invitation by %s\n", path, moderator)
	g, err := l.Accept(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%s is in %s with %s\n", path, g.Channel().Path(), g.Moderator().Path())
	for m, err := range g.Messages(ctx) {
		if err != nil {
			return err
		}
		fmt.Printf("%s > %s\n", m.Source.Path(), m.Payload)
		if m.Direct {
			continue // an answer to us: answering it would never end
		}
		if _, err := g.Reply(ctx, m, session.Message{Payload: []byte("message received by " + path)}); err != nil {
			return err
		}
	}
	return nil
}

func dial(ctx context.Context, path string) (*session.App, error) {
	secret, err := identity.ReadSecretFile(os.Getenv("SLIM_SHARED_SECRET_FILE"))
	if err != nil {
		return nil, err
	}
	n, err := name.Parse(path)
	if err != nil {
		return nil, err
	}
	me, err := identity.NewSharedSecret(secret, path)
	if err != nil {
		return nil, err
	}
	// Node empty: http://127.0.0.1:46357
	return session.Dial(ctx, session.Config{Name: n, Identity: me, Verifier: me, Node: os.Getenv("SLIM_NODE")})
}
