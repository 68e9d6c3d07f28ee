package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

func (p *program) sendCommand() *cobra.Command {
	s := &send{program: p}
	cmd := &cobra.Command{
		Use:   "send ORG/NS/NAME [MESSAGE]",
		Short: "Send messages to an app by its SLIM name",
		Long: `Opens a session with one instance of the name and sends MESSAGE, or else each line
of standard input as a message of its own. It ends well once the other side has
acknowledged everything.

With --request it waits for the reply to each message before it sends the next,
and prints it on standard output; a reply is the other side's next message. What
else comes back is ignored.

The other side may be "slimbridge receive" or any app with the same secret, or
with a JWT or SPIFFE identity that trusts ours and that we trust.`,
		Example: `  slimbridge send acme/people/bob hello
  slimbridge send acme/tools/echo --request --timeout 5s "are you there?"
  tail -f app.log | slimbridge send acme/logs/collector --reliable off`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.named = cmd.Flags().Changed("name")
			if err := s.parse(args, cmd.Flags().Changed("timeout")); err != nil {
				return err
			}
			return s.run(cmd.Context())
		},
	}
	s.node.add(cmd, "")
	s.id.add(cmd)
	s.mls.add(cmd, "on: end-to-end encryption; off: without, for apps that have none")
	f := cmd.Flags()
	f.StringVar(&s.nameFlag, "name", "local/shell/sender", "our own name")
	f.StringVar(&s.reliable, "reliable", "on", "on: acknowledged and in order; off: sent once, and lost if lost")
	f.BoolVar(&s.request, "request", false, "wait for the reply to each message and print it")
	f.DurationVar(&s.timeout, "timeout", 15*time.Second, "limit for one reply, with --request")
	complete(cmd, "reliable", "on", "off")
	return cmd
}

// send is one run of the command.
type send struct {
	*program
	node     nodeFlag
	id       identityFlags
	mls      mlsFlag
	nameFlag string
	named    bool // by the user
	reliable string
	request  bool
	timeout  time.Duration

	self, peer name.Name
	message    []byte // nil: the lines of standard input
	options    session.Options
	endpoint   string
	sent       receipts
}

func (s *send) parse(args []string, timeoutGiven bool) (err error) {
	if s.peer, err = parseName("peer name", args[0]); err != nil {
		return err
	}
	if len(args) == 2 {
		if len(args[1]) > session.MaxPayload {
			return usagef("the message has %d bytes, at most %d are allowed", len(args[1]), session.MaxPayload)
		}
		s.message = []byte(args[1])
	}
	if s.self, err = parseName("--name", s.nameFlag); err != nil {
		return err
	}
	s.options.EndWhenLost = true
	if s.options.Security, err = s.mls.security(); err != nil {
		return err
	}
	if err = oneOf("reliable", s.reliable, "on", "off"); err != nil {
		return err
	}
	if s.reliable == "off" {
		s.options.Delivery = session.Unreliable
	}
	switch {
	case timeoutGiven && !s.request:
		return usagef("--timeout limits the wait for replies: add --request")
	case s.timeout <= 0:
		return usagef("--timeout %v: want more than 0", s.timeout)
	}
	s.endpoint, err = s.node.url()
	return err
}

func (s *send) run(ctx context.Context) error {
	creds, err := s.id.forConnecting(ctx, s.program)
	if err != nil {
		return err
	}
	defer creds.close()
	if !s.named {
		s.self = creds.defaultName(s.self)
	}
	app, err := s.dialApp(ctx, s.self, s.endpoint, creds)
	if err != nil {
		return err
	}
	defer app.Close() //nolint:errcheck // always nil
	c, err := app.Open(ctx, s.peer, s.options)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // always nil
	go ignore(ctx, c)
	if s.message != nil {
		err = s.say(ctx, c, s.message)
	} else {
		err = s.sayLines(ctx, c)
	}
	if err != nil {
		return err
	}
	return s.sent.wait()
}

// ignore keeps the session going where the other side says more than is asked
// for: what nobody reads would hold up the rest.
func ignore(ctx context.Context, c *session.Session) {
	for range c.Messages(ctx) {
	}
}

func (s *send) sayLines(ctx context.Context, c *session.Session) error {
	lines := s.lines(ctx)
	for {
		select {
		case l, more := <-lines:
			if !more {
				return context.Cause(ctx)
			}
			if l.err != nil {
				return l.err
			}
			if err := s.say(ctx, c, l.text); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// say sends one message, and prints the reply if there should be one.
func (s *send) say(ctx context.Context, c *session.Session, text []byte) error {
	m := session.Message{Payload: text}
	if !s.request {
		r, err := c.Publish(ctx, m)
		if err == nil {
			s.sent.add(ctx, r, nil)
		}
		return err
	}
	reply, err := c.Request(ctx, m, s.timeout)
	if errors.Is(err, &session.Error{Code: session.CodeTimeout}) {
		return fmt.Errorf("no reply from %s within %v: it may not answer at all, or need a longer --timeout", s.peer.Path(), s.timeout)
	}
	if err != nil {
		return err
	}
	return s.print(reply.Payload)
}

// print writes a reply: to a terminal on one line that is safe to show, to a
// program as it is.
func (s *send) print(payload []byte) error {
	if isTerminal(s.stdout) {
		payload = []byte(printable(payload))
	}
	_, err := s.stdout.Write(append(bytes.TrimSuffix(payload, []byte("\n")), '\n'))
	return err
}
