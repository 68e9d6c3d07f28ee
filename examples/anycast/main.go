// Command anycast calls a service of which several instances share one name.
// Without MLS the requests are spread over all of them; keys cannot be shared
// with whoever comes next, so with MLS one instance gets them all.
//
//	slimbridge node &
//	slimbridge secret new --out secret
//	export SLIM_SHARED_SECRET_FILE=$PWD/secret
//	go run ./examples/anycast instance &      # three times
//	go run ./examples/anycast client
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

const (
	service  = "org/examples/service"
	client   = "org/examples/client"
	requests = 30
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "anycast:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "instance":
		return serve(ctx)
	case len(args) == 1 && args[0] == "client":
		return call(ctx)
	}
	return errors.New("usage: anycast instance | anycast client")
}

// call asks many times: without MLS any instance, with MLS always the same one.
func call(ctx context.Context) error {
	app, err := dial(ctx, client)
	if err != nil {
		return err
	}
	defer app.Close()
	for _, security := range []session.Security{session.AllowPlain, session.RequireMLS} {
		service, err := app.OpenAnycast(ctx, name.MustParse(service), session.AnycastOptions{Security: security})
		if err != nil {
			return err
		}
		answers := map[name.ID]int{}
		for range requests {
			reply, err := service.Request(ctx, session.Message{Payload: []byte("who is there?")}, 10*time.Second)
			if err != nil {
				return err
			}
			answers[reply.Source.ID]++
			time.Sleep(100 * time.Millisecond) // more instances are found meanwhile
		}
		fmt.Printf("%d requests, sticky %v, instances %d\n", requests, service.Sticky(), len(answers))
		for id, n := range answers {
			fmt.Printf("  %v answered %d\n", id, n)
		}
		if err := service.Close(); err != nil {
			return err
		}
	}
	return nil
}

// serve is one instance; its id tells it from the others.
func serve(ctx context.Context) error {
	app, err := dial(ctx, service)
	if err != nil {
		return err
	}
	defer app.Close()
	l, err := app.Listen(session.ListenOptions{Security: session.AllowPlain, EndWhenLost: true}) // takes both kinds
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "anycast: instance %v of %s listens\n", app.Name().ID, service)
	for {
		s, err := l.Accept(ctx)
		if err != nil {
			return err
		}
		go func() {
			for m, err := range s.Messages(ctx) {
				if err == nil {
					_, err = s.Reply(ctx, m, session.Message{Payload: []byte("instance " + app.Name().ID.String())})
				}
				if err != nil && ctx.Err() == nil {
					fmt.Fprintln(os.Stderr, "anycast:", err)
				}
			}
		}()
	}
}

func dial(ctx context.Context, path string) (*session.App, error) {
	secret, err := identity.ReadSecretFile(os.Getenv("SLIM_SHARED_SECRET_FILE"))
	if err != nil {
		return nil, err
	}
	me, err := identity.NewSharedSecret(secret, path)
	if err != nil {
		return nil, err
	}
	// Node empty: http://127.0.0.1:46357
	return session.Dial(ctx, session.Config{Name: name.MustParse(path), Identity: me, Verifier: me, Node: os.Getenv("SLIM_NODE")})
}
