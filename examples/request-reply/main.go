// Command request-reply is a service that answers in capital letters, and a
// client that waits for the answer.
//
//	slimbridge node &
//	slimbridge secret new --out secret
//	export SLIM_SHARED_SECRET_FILE=$PWD/secret
//	go run ./examples/request-reply server &
//	go run ./examples/request-reply client hello
package main

import (
	"bytes"
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
	service  = "org/examples/capitals"
	client   = "org/examples/client"
	patience = 10 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "request-reply:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "server":
		return serve(ctx)
	case len(args) >= 2 && args[0] == "client":
		return ask(ctx, args[1:])
	}
	return errors.New("usage: request-reply client WORD... | request-reply server")
}

// ask sends one request after the other in one session.
func ask(ctx context.Context, words []string) error {
	app, err := dial(ctx, client)
	if err != nil {
		return err
	}
	defer app.Close()
	s, err := app.Open(ctx, name.MustParse(service), session.Options{EndWhenLost: true})
	if err != nil {
		return err
	}
	for _, word := range words {
		reply, err := s.Request(ctx, session.Message{Payload: []byte(word)}, patience)
		if err != nil {
			return err
		}
		fmt.Printf("%s > %s\n", reply.Source.Path(), reply.Payload)
	}
	return s.Close()
}

// serve answers everybody.
func serve(ctx context.Context) error {
	app, err := dial(ctx, service)
	if err != nil {
		return err
	}
	defer app.Close()
	l, err := app.Listen(session.ListenOptions{EndWhenLost: true})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "request-reply: %s listens\n", service)
	for {
		s, err := l.Accept(ctx)
		if err != nil {
			return err
		}
		go func() {
			if err := answer(ctx, s); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "request-reply:", err)
			}
		}()
	}
}

func answer(ctx context.Context, s *session.Session) error {
	for m, err := range s.Messages(ctx) {
		if err != nil {
			return errors.Join(err, s.Close())
		}
		if _, err := s.Reply(ctx, m, session.Message{Payload: bytes.ToUpper(m.Payload)}); err != nil {
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
	me, err := identity.NewSharedSecret(secret, path)
	if err != nil {
		return nil, err
	}
	// Node empty: http://127.0.0.1:46357
	return session.Dial(ctx, session.Config{Name: name.MustParse(path), Identity: me, Verifier: me, Node: os.Getenv("SLIM_NODE")})
}
