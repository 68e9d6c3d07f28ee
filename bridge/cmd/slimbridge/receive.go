package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// lastReplies is how long the replies to the last messages of --number may take
// to be acknowledged.
const lastReplies = 5 * time.Second

func (p *program) receiveCommand() *cobra.Command {
	r := &receive{program: p}
	cmd := &cobra.Command{
		Use:   "receive ORG/NS/NAME",
		Short: "Listen under a SLIM name and print what comes",
		Long: `Subscribes the name, takes every session that others open, and prints each message
on a line of its own: who said it, " > ", the text. Characters that are not
printable are shown as escapes, such as \n and \x1b.

With --echo or --reply each message is answered, to its sender alone. Sessions
without MLS are refused unless --mls off lets both kinds in. It runs until Ctrl-C
or, with --number, until that many messages have come.`,
		Example: `  slimbridge receive acme/people/bob
  slimbridge receive acme/tools/echo --echo
  slimbridge receive acme/people/bob --reply "got it" --number 1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.parse(args[0], cmd.Flags().Changed("reply"), cmd.Flags().Changed("number")); err != nil {
				return err
			}
			return r.run(cmd.Context())
		},
	}
	r.node.add(cmd, "")
	r.id.add(cmd)
	r.mls.add(cmd, "on: only sessions with end-to-end encryption; off: others too")
	f := cmd.Flags()
	f.BoolVar(&r.echo, "echo", false, "send each message back")
	f.StringVar(&r.text, "reply", "", "answer each message with this text")
	f.IntVarP(&r.number, "number", "n", 0, "end after that many messages (default: never)")
	return cmd
}

// receive is one run of the command.
type receive struct {
	*program
	node   nodeFlag
	id     identityFlags
	mls    mlsFlag
	echo   bool
	text   string
	number int

	self     name.Name
	answers  bool
	security session.Security
	endpoint string
	out      speech
}

func (r *receive) parse(self string, replyGiven, numberGiven bool) (err error) {
	if r.self, err = parseName("our name", self); err != nil {
		return err
	}
	if r.security, err = r.mls.security(); err != nil {
		return err
	}
	switch {
	case r.echo && replyGiven:
		return usagef("--echo and --reply are both given: choose one")
	case numberGiven && r.number < 1:
		return usagef("--number %d: want at least 1", r.number)
	}
	r.answers = r.echo || replyGiven
	r.out = speech{w: r.stdout, limit: r.number}
	r.endpoint, err = r.node.url()
	return err
}

func (r *receive) run(ctx context.Context) error {
	creds, err := r.id.forServing(ctx, r.program)
	if err != nil {
		return err
	}
	defer creds.close()
	app, err := r.dialApp(ctx, r.self, r.endpoint, creds)
	if err != nil {
		return err
	}
	defer app.Close() //nolint:errcheck // always nil
	l, err := app.Listen(session.ListenOptions{Security: r.security, EndWhenLost: true})
	if err != nil {
		return err
	}
	fmt.Fprintf(r.stderr, "slimbridge: listening as %s through %s\n", r.self.Path(), r.endpoint)
	ctx, stop := context.WithCancelCause(ctx)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer stop(nil)
	for {
		s, err := l.Accept(ctx)
		switch {
		case errors.Is(err, errSaidEnough):
			return nil
		case err != nil:
			return appOr(app, err)
		}
		sessions.Go(func() {
			if err := r.hear(ctx, s); err != nil {
				stop(err)
			}
		})
	}
}

// hear prints one session to its end. Errors are those that end the command.
func (r *receive) hear(ctx context.Context, s *session.Session) error {
	defer s.Close() //nolint:errcheck // always nil
	for m, err := range s.Messages(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				r.log.Warn().Str("peer", s.Peer().Path()).Err(err).Msg("session")
			}
			continue
		}
		written, said := r.out.said(m)
		if !written {
			return said
		}
		if err := r.answer(ctx, s, m); err != nil && ctx.Err() == nil {
			r.log.Warn().Str("peer", s.Peer().Path()).Err(err).Msg("not answered")
		}
		if said != nil {
			limit, cancel := context.WithTimeout(ctx, lastReplies)
			defer cancel()
			_ = s.Drain(limit)
			return said
		}
	}
	return nil
}

func (r *receive) answer(ctx context.Context, s *session.Session, m session.Message) error {
	if !r.answers {
		return nil
	}
	reply := session.Message{Payload: []byte(r.text)}
	if r.echo {
		reply = session.Message{Payload: m.Payload, Type: m.Type}
	}
	_, err := s.Reply(ctx, m, reply)
	return err
}
