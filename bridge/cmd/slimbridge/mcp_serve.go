package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/nodeconfig"
)

func (p *program) mcpServeCommand() *cobra.Command {
	s := &mcpServe{program: p}
	cmd := &cobra.Command{
		Use:   "serve ORG/NS/NAME [flags] -- COMMAND [ARGS...]",
		Short: "Give a stdio MCP server a SLIM name",
		Long: `Subscribes the name and starts the command once for every client that connects,
so that no client sees another's state. The command is an MCP server that speaks
over standard input and output. It is stopped with its client; if it exits by
itself, its client is told and others are not affected.

The server gets PATH, HOME, LANG and what --env names, never the secret. Clients
need the same secret, or a JWT or SPIFFE identity that we trust; with no flag and no
variable for an identity it is the secret of this user, made here at first use. Clients without MLS are refused unless --mls off
lets both kinds in.`,
		Example: `  slimbridge mcp serve acme/tools/files --node embedded -- npx -y @modelcontextprotocol/server-filesystem /data
  slimbridge mcp serve acme/tools/github --env GITHUB_TOKEN -- github-mcp-server stdio`,
		Args: s.args,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.parse(); err != nil {
				return err
			}
			return s.run(cmd.Context())
		},
	}
	s.node.add(cmd, " or \""+embedded+"\" to host one at "+defaultListen)
	s.id.add(cmd)
	s.mls.add(cmd, "on: only clients with end-to-end encryption; off: others too")
	cmd.Flags().IntVar(&s.maxChildren, "max-children", bridge.DefaultMaxSessions, "servers that run at the same time")
	cmd.Flags().StringArrayVar(&s.env, "env", nil, "pass NAME on to the server, or set NAME=value; repeatable")
	s.timeout.add(cmd)
	return cmd
}

// mcpServe is one run of the command.
type mcpServe struct {
	*program
	node        nodeFlag
	id          identityFlags
	mls         mlsFlag
	timeout     timeoutFlag
	maxChildren int
	env         []string
	nameArg     string
	command     []string

	self     name.Name
	security session.Security
	limit    time.Duration
	endpoint string // "" until the embedded node listens
}

// args takes one name before "--" and a command after it.
func (s *mcpServe) args(cmd *cobra.Command, args []string) error {
	dash := cmd.ArgsLenAtDash()
	switch {
	case len(args) == 0 || dash == 0:
		return usagef("which name? slimbridge mcp serve org/ns/name -- command")
	case dash < 0 || dash == len(args):
		return usagef("which MCP server? put its command after --: slimbridge mcp serve %s -- command", args[0])
	case dash > 1:
		return usagef("%q is one argument too many before --: slimbridge mcp serve org/ns/name -- command", args[1])
	}
	s.nameArg, s.command = args[0], args[dash:]
	return nil
}

func (s *mcpServe) parse() (err error) {
	if s.self, err = parseName("server name", s.nameArg); err != nil {
		return err
	}
	if s.security, err = s.mls.security(); err != nil {
		return err
	}
	if s.limit, err = s.timeout.bridge(); err != nil {
		return err
	}
	if s.maxChildren < 1 {
		return usagef("--max-children %d: want at least 1", s.maxChildren)
	}
	if s.node.given() != embedded {
		s.endpoint, err = s.node.url()
	}
	return err
}

func (s *mcpServe) run(ctx context.Context) error {
	command, err := bridge.NewCommand(bridge.CommandConfig{Args: s.command, Env: s.env, Logger: s.log})
	if err != nil {
		return fmt.Errorf("%w; check the command after --", err)
	}
	defer command.Close() //nolint:errcheck // always nil, and idempotent
	creds, err := s.id.forServing(ctx, s.program)
	if err != nil {
		return err
	}
	defer creds.close()
	if s.endpoint == "" {
		n, err := s.embed(ctx)
		if err != nil {
			return err
		}
		defer s.drainNode(n)
		s.endpoint = n.Endpoints()[0]
	}
	app, err := s.dialApp(ctx, s.self, s.endpoint, creds)
	if errors.Is(err, syscall.ECONNREFUSED) && s.endpoint == session.DefaultNode {
		return fmt.Errorf("%w, or let this command host one with --node embedded", err)
	}
	if err != nil {
		return err
	}
	defer app.Close() //nolint:errcheck // always nil
	listener, err := app.Listen(session.ListenOptions{Security: s.security, EndWhenLost: true})
	if err != nil {
		return err
	}
	s.announce()
	err = bridge.Serve(ctx, bridge.ServeConfig{
		Listener: mcp.NewListener(listener), Backend: command,
		MaxSessions: s.maxChildren, Timeout: s.limit, Logger: s.log,
	})
	if err == nil && ctx.Err() == nil {
		err = app.Err() // the listener does not end by itself
	}
	return err
}

// embed hosts the node that clients on this machine look for.
func (s *mcpServe) embed(ctx context.Context) (*slimnode.Node, error) {
	n, err := s.startNode(ctx, slimnode.Config{Listeners: []slimnode.Listener{{Endpoint: defaultListen}}})
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("--node embedded: %w; leave the flag out to use that node", err)
	case err != nil:
		return nil, fmt.Errorf("--node embedded: %w", err)
	}
	return n, nil
}

// drainNode lets farewells reach the clients.
func (s *mcpServe) drainNode(n *slimnode.Node) {
	ctx, cancel := context.WithTimeout(context.Background(), nodeconfig.DefaultDrainTimeout)
	defer cancel()
	if err := n.Drain(ctx); err != nil {
		s.log.Warn().Err(err).Msg("not everything could be handed out")
	}
}

func (s *mcpServe) announce() {
	how := "slimbridge mcp connect " + s.self.Path()
	if s.endpoint != session.DefaultNode {
		how += " --node " + s.endpoint
	}
	fmt.Fprintf(s.stderr, "slimbridge: serving %s through %s, connect with: %s\n", s.self.Path(), s.endpoint, how)
}
