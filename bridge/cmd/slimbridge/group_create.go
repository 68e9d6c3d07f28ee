package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

func (p *program) groupCreateCommand() *cobra.Command {
	c := &groupCreate{program: p}
	cmd := &cobra.Command{
		Use:   "create ORG/NS/CHANNEL --invite NAME [--invite NAME]...",
		Short: "Make a group, invite its members and talk",
		Long: `Makes a group of that name, of which we are the moderator, and invites each --invite.
They must be waiting: "slimbridge group join", or any app that trusts our identity
and accepts invitations.

Then each line of standard input goes to all members, and what they say comes on
standard output: who said it, " > ", the text. At the end of the input, once all
have acknowledged, or at Ctrl-C the group is closed, for everybody.`,
		Example: `  slimbridge group create acme/chat/lobby --invite acme/people/bob --invite acme/people/carol
  echo "Hello group!" | slimbridge group create acme/chat/lobby --invite acme/people/bob --wait 5s`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.parse(args[0]); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	c.node.add(cmd, "")
	c.id.add(cmd)
	c.mls.add(cmd, "on: end-to-end encryption; off: without, for apps that have none")
	f := cmd.Flags()
	f.StringVar(&c.nameFlag, "name", "local/group/moderator", "our own name")
	f.StringArrayVar(&c.inviteFlags, "invite", nil, "org/ns/name of a member; repeatable")
	f.DurationVar(&c.wait, "wait", 0, "stay that long after the end of standard input, to hear answers")
	return cmd
}

// groupCreate is one run of the command.
type groupCreate struct {
	*program
	node        nodeFlag
	id          identityFlags
	mls         mlsFlag
	nameFlag    string
	inviteFlags []string
	wait        time.Duration

	self, channel name.Name
	members       []name.Name
	security      session.Security
	endpoint      string
}

func (c *groupCreate) parse(channel string) (err error) {
	if c.channel, err = parseName("channel name", channel); err != nil {
		return err
	}
	if c.self, err = parseName("--name", c.nameFlag); err != nil {
		return err
	}
	if len(c.inviteFlags) == 0 {
		return usagef("whom to invite? --invite org/ns/name, once for each member")
	}
	for _, flag := range c.inviteFlags {
		n, err := parseName("--invite", flag)
		if err != nil {
			return err
		}
		c.members = append(c.members, n)
	}
	if c.security, err = c.mls.security(); err != nil {
		return err
	}
	if c.wait < 0 {
		return usagef("--wait %v is negative", c.wait)
	}
	c.endpoint, err = c.node.url()
	return err
}

func (c *groupCreate) run(ctx context.Context) error {
	creds, err := c.id.forConnecting(ctx, c.program)
	if err != nil {
		return err
	}
	defer creds.close()
	app, err := c.dialApp(ctx, c.self, c.endpoint, creds)
	if err != nil {
		return err
	}
	defer app.Close() //nolint:errcheck // always nil
	g, err := app.CreateGroup(ctx, c.channel, session.GroupOptions{Security: c.security})
	if err != nil {
		return err
	}
	defer g.Close() //nolint:errcheck // always nil
	fmt.Fprintf(c.stderr, "slimbridge: group %s, moderator %s, through %s\n", c.channel.Path(), c.self.Path(), c.endpoint)
	for _, n := range c.members {
		if err := g.Invite(ctx, n, session.InviteOptions{}); err != nil {
			return c.refused(n, err)
		}
	}
	return (&groupTalk{program: c.program, group: g, stay: c.wait}).run(ctx)
}

// refused says what to do about an invitation that failed.
func (c *groupCreate) refused(n name.Name, err error) error {
	how := fmt.Sprintf("slimbridge group join --as %s --moderator %s", n.Path(), c.self.Path())
	switch {
	case errors.Is(err, &session.Error{Code: session.CodeNoPeer}):
		return fmt.Errorf("invite %s: nobody of that name answers: it must wait for us first (`%s`), at the same node, and with the same secret or an identity that trusts ours", n.Path(), how)
	case errors.Is(err, &session.Error{Code: session.CodeTimeout}):
		return fmt.Errorf("invite %s: it is there but does not come: does it allow us to invite it (`%s`), with the same --mls?", n.Path(), how)
	}
	return fmt.Errorf("invite %s: %w", n.Path(), err)
}
