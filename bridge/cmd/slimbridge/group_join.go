package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

func (p *program) groupJoinCommand() *cobra.Command {
	j := &groupJoin{program: p}
	cmd := &cobra.Command{
		Use:   "join --as NAME {--moderator NAME | --any}",
		Short: "Wait for an invitation to a group and talk",
		Long: `Subscribes the name of --as and waits until a moderator invites it to a group. Others
than those of --moderator are refused; --any takes whoever we trust: all who have the secret,
or an identity that --jwt-verify or --spiffe vouch for.

Then each line of standard input goes to all members, and what they say comes on
standard output: who said it, " > ", the text. It ends when the moderator closes
the group, and leaves it at Ctrl-C; the end of the input only ends our part of the
talk.`,
		Example: `  slimbridge group join --as acme/people/bob --moderator local/group/moderator
  slimbridge group join --as acme/people/carol --any < /dev/null > heard.txt &`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := j.parse(); err != nil {
				return err
			}
			return j.run(cmd.Context())
		},
	}
	j.node.add(cmd, "")
	j.id.add(cmd)
	j.mls.add(cmd, "on: only groups with end-to-end encryption; off: others too")
	f := cmd.Flags()
	f.StringVar(&j.nameFlag, "as", "", "our own name, by which we are invited")
	f.StringArrayVar(&j.moderatorFlags, "moderator", nil, "org/ns/name that may invite us; repeatable")
	f.BoolVar(&j.any, "any", false, "let everybody we trust invite us")
	return cmd
}

// groupJoin is one run of the command.
type groupJoin struct {
	*program
	node           nodeFlag
	id             identityFlags
	mls            mlsFlag
	nameFlag       string
	moderatorFlags []string
	any            bool

	self     name.Name
	options  session.GroupListenOptions
	endpoint string
}

func (j *groupJoin) parse() (err error) {
	if j.nameFlag == "" {
		return usagef("who are we? --as org/ns/name")
	}
	if j.self, err = parseName("--as", j.nameFlag); err != nil {
		return err
	}
	switch {
	case j.any && len(j.moderatorFlags) > 0:
		return usagef("--moderator and --any are both given: choose one")
	case !j.any && len(j.moderatorFlags) == 0:
		return usagef("who may invite us? --moderator org/ns/name, or --any for everybody we trust")
	}
	j.options = session.GroupListenOptions{AnyModerator: j.any, EndWhenLost: true}
	for _, flag := range j.moderatorFlags {
		n, err := parseName("--moderator", flag)
		if err != nil {
			return err
		}
		j.options.Moderators = append(j.options.Moderators, n)
	}
	if j.options.Security, err = j.mls.security(); err != nil {
		return err
	}
	j.endpoint, err = j.node.url()
	return err
}

func (j *groupJoin) run(ctx context.Context) error {
	creds, err := j.id.forServing(ctx, j.program)
	if err != nil {
		return err
	}
	defer creds.close()
	app, err := j.dialApp(ctx, j.self, j.endpoint, creds)
	if err != nil {
		return err
	}
	defer app.Close() //nolint:errcheck // always nil
	l, err := app.ListenGroups(j.options)
	if err != nil {
		return err
	}
	who := "anybody"
	if !j.any {
		who = strings.Join(j.moderatorFlags, " or ")
	}
	fmt.Fprintf(j.stderr, "slimbridge: %s waits for an invitation by %s, through %s\n", j.self.Path(), who, j.endpoint)
	g, err := l.Accept(ctx)
	if err != nil {
		return appOr(app, err)
	}
	_ = l.Close()   // one group is enough
	defer g.Close() //nolint:errcheck // always nil
	fmt.Fprintf(j.stderr, "slimbridge: in group %s, moderator %s\n", printable([]byte(g.Channel().Path())), printable([]byte(g.Moderator().Path())))
	return (&groupTalk{program: j.program, group: g, stay: -1}).run(ctx)
}
