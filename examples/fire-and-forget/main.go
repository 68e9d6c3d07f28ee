// Command fire-and-forget sends readings that nobody has to acknowledge: what
// gets lost is not sent again, and what comes is shown as it comes.
//
//	slimbridge node &
//	slimbridge secret new --out secret
//	export SLIM_SHARED_SECRET_FILE=$PWD/secret
//	go run ./examples/fire-and-forget display &
//	go run ./examples/fire-and-forget thermometer
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
	display     = "org/examples/display"
	thermometer = "org/examples/thermometer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "fire-and-forget:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "display":
		return show(ctx)
	case len(args) == 1 && args[0] == "thermometer":
		return measure(ctx)
	}
	return errors.New("usage: fire-and-forget display | fire-and-forget thermometer")
}

// measure sends five readings and leaves.
func measure(ctx context.Context) error {
	app, err := dial(ctx, thermometer)
	if err != nil {
		return err
	}
	defer app.Close()
	s, err := app.Open(ctx, name.MustParse(display), session.Options{Delivery: session.Unreliable}) // MLS, as always
	if err != nil {
		return err
	}
	for i := range 5 {
		reading := fmt.Sprintf("%.1f °C", 20+float64(i)/10)
		if _, err := s.Publish(ctx, session.Message{Payload: []byte(reading)}); err != nil {
			return err
		}
		fmt.Println("sent", reading)
	}
	return s.Drain(ctx) // hands them to the node; there is no acknowledgement to wait for
}

// show prints what thermometers send.
func show(ctx context.Context) error {
	app, err := dial(ctx, display)
	if err != nil {
		return err
	}
	defer app.Close()
	l, err := app.Listen(session.ListenOptions{EndWhenLost: true})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "fire-and-forget: %s listens\n", display)
	for {
		s, err := l.Accept(ctx)
		if err != nil {
			return err
		}
		go func() {
			for m, err := range s.Messages(ctx) {
				if err != nil {
					fmt.Fprintln(os.Stderr, "fire-and-forget:", err)
					continue // after a gap it goes on, after all else the loop ends
				}
				fmt.Printf("%s > %s\n", m.Source.Path(), m.Payload)
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
