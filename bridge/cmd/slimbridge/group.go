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

func (p *program) groupCommand() *cobra.Command {
	cmd := p.group("group", "Talk in a group", `A group is a channel that all its members hear, encrypted end to end. One of them,
the moderator, makes it and invites the others, who must be waiting by then:
"join" waits, "create" makes the group. Lines of standard input go to all others;
what they say comes on standard output, with who said it.`)
	cmd.AddCommand(p.groupCreateCommand(), p.groupJoinCommand())
	return cmd
}

// groupTalk is a member at a shell.
type groupTalk struct {
	*program
	group *session.Group
	// stay is how long after the end of standard input the group is left;
	// negative: never.
	stay time.Duration

	out  speech
	sent receipts
}

// run talks until the group is over, ctx ends or there is nothing more to say.
// The farewell is up to the caller.
func (t *groupTalk) run(ctx context.Context) error {
	t.out.w = t.stdout
	ctx, stop := context.WithCancelCause(ctx)
	var hearing sync.WaitGroup
	defer hearing.Wait()
	defer stop(nil)
	heard := make(chan error, 1)
	hearing.Go(func() { heard <- t.hear(ctx) })
	hearing.Go(func() { t.report(ctx) })
	lines := t.lines(ctx)
	var left <-chan time.Time
	for {
		select {
		case l, more := <-lines:
			if more && l.err == nil {
				l.err = t.say(ctx, l.text)
			}
			switch {
			case l.err != nil && t.group.Err() != nil:
				return t.over(<-heard)
			case l.err != nil:
				return l.err
			case more:
				continue
			}
			lines = nil
			if t.stay >= 0 {
				t.sent.waiting.Wait()
				left = time.After(t.stay)
			}
		case <-left:
			return t.sent.wait()
		case err := <-heard:
			return t.over(err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// over is how a group ends that we did not leave.
func (t *groupTalk) over(err error) error {
	if err != nil {
		return err
	}
	fmt.Fprintf(t.stderr, "slimbridge: the group is closed\n")
	return t.sent.wait()
}

// say sends a line to all others.
func (t *groupTalk) say(ctx context.Context, text []byte) error {
	r, err := t.group.Publish(ctx, session.Message{Payload: text})
	if err != nil {
		return err
	}
	t.sent.add(ctx, r, func(err error) {
		if ctx.Err() == nil && t.group.Err() == nil {
			t.log.Warn().Err(err).Msg("a message did not reach all members")
		}
	})
	return nil
}

// hear prints what others say until the group is over.
func (t *groupTalk) hear(ctx context.Context) error {
	for m, err := range t.group.Messages(ctx) {
		switch {
		case errors.Is(err, &session.Error{Code: session.CodeMessagesLost}):
			t.log.Warn().Err(err).Msg("group")
			continue
		case err != nil:
			return err
		}
		if _, err := t.out.said(m); err != nil {
			return err
		}
	}
	return nil
}

// report tells who comes and goes. That who joined is online needs no word.
func (t *groupTalk) report(ctx context.Context) {
	away := map[name.Key]bool{}
	for {
		select {
		case e, more := <-t.group.Events():
			if !more {
				return
			}
			member := e.Member.Key()
			if e.Kind == session.EpochChanged || e.Kind == session.MemberOnline && !away[member] {
				continue
			}
			delete(away, member)
			if e.Kind == session.MemberOffline {
				away[member] = true
			}
			fmt.Fprintf(t.stderr, "slimbridge: %s\n", printable([]byte(e.String())))
		case <-ctx.Done():
			return
		}
	}
}
