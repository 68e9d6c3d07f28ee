package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/client"
	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

const (
	demoServer  = "acme/tools/calculator"
	demoClient  = "acme/people/alice"
	demoMessage = "SLIM keeps secrets"
	demoLimit   = 20 * time.Second
)

func (p *program) demoCommand() *cobra.Command {
	d := &demo{program: p, tap: &wiretap{}}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show an MCP call by name, past a node that cannot read it",
		Long: `Starts a node, an MCP server and an MCP client in this process, each with its own
link over a real socket on this machine. The client finds the server by name, they
agree on keys, and the client calls its tools. Every value shown comes from the run,
the ciphertext from what the node forwarded. Nothing is written to disk.

The two share a secret made for the run, unless flags or variables say otherwise.`,
		Example: "  slimbridge demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.logLevel == "" {
				p.setLog("warn")
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), demoLimit, fmt.Errorf("demo: not done within %v", demoLimit))
			defer cancel()
			err := d.run(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				err = context.Cause(ctx)
			}
			return err
		},
	}
	d.id.add(cmd)
	return cmd
}

// demo is one run of the command.
type demo struct {
	*program
	id  identityFlags
	tap *wiretap
}

func (d *demo) say(topic, format string, args ...any) {
	fmt.Fprintf(d.stdout, "%-9s %s\n", topic, fmt.Sprintf(format, args...))
}

func (d *demo) run(ctx context.Context) error {
	creds, err := d.id.forBothEnds(ctx, d.program) // both ends have them, the node does not
	if err != nil {
		return err
	}
	defer creds.close()
	cfg := slimnode.Config{Listeners: []slimnode.Listener{{Endpoint: "127.0.0.1:0"}}}
	attach(d.tap, &cfg.Tap)
	node, err := d.startNode(ctx, cfg)
	if err != nil {
		return err
	}
	defer node.Close() //nolint:errcheck // always nil
	endpoint := node.Endpoints()[0]
	d.say("node", "listens at %s; it has no secret and no keys", endpoint)

	stop, err := d.serve(ctx, endpoint, creds)
	if err != nil {
		return err
	}
	defer stop()
	app, err := d.dialApp(ctx, name.MustParse(demoClient), endpoint, creds)
	if err != nil {
		return err
	}
	defer app.Close() //nolint:errcheck // always nil
	d.say("client", "%s subscribed, over a link of its own", app.Name())
	return d.meet(ctx, app)
}

// serve starts the MCP server under its name.
func (d *demo) serve(ctx context.Context, endpoint string, creds credentials) (stop func(), err error) {
	app, err := d.dialApp(ctx, name.MustParse(demoServer), endpoint, creds)
	if err != nil {
		return nil, err
	}
	listener, err := app.Listen(session.ListenOptions{EndWhenLost: true})
	if err != nil {
		return nil, errors.Join(err, app.Close())
	}
	d.say("server", "%s subscribed", app.Name())
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := mcp.Serve(ctx, mcp.NewListener(listener), calculator()); err != nil && ctx.Err() == nil {
			d.log.Error().Err(err).Msg("MCP server ended")
		}
	})
	return func() {
		cancel()
		_ = app.Close()
		wg.Wait()
	}, nil
}

// meet opens the session and speaks MCP over it.
func (d *demo) meet(ctx context.Context, app *session.App) error {
	s, err := app.Open(ctx, name.MustParse(demoServer), session.Options{EndWhenLost: true})
	if err != nil {
		return err
	}
	d.say("discovery", "the client asked for %s, instance %s answered", demoServer, s.Peer().ID)
	d.say("session", "%d with that instance, end to end: %s, epoch %d", s.ID(), s.Suite(), s.Epoch())
	d.say("identity", "the server proved to be %s", s.PeerSubject())

	conn := &recorder{Conn: mcp.NewConn(s)}
	c := client.NewClient(mcp.NewClientTransport(conn))
	defer c.Close() //nolint:errcheck // ends the session; the run is over
	if err := c.Start(ctx); err != nil {
		return err
	}
	init := mcpgo.InitializeRequest{}
	init.Params.ClientInfo = mcpgo.Implementation{Name: "slimbridge demo", Version: thisVersion()}
	hello, err := c.Initialize(ctx, init)
	if err != nil {
		return fmt.Errorf("MCP handshake: %w", err)
	}
	tools, err := c.ListTools(ctx, mcpgo.ListToolsRequest{})
	if err != nil {
		return fmt.Errorf("list tools: %w", err)
	}
	var names []string
	for _, t := range tools.Tools {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	d.say("MCP", "revision %s, tools of %s: %s", hello.ProtocolVersion, hello.ServerInfo.Name, strings.Join(names, ", "))
	return d.callTools(ctx, c, conn)
}

func (d *demo) callTools(ctx context.Context, c *client.Client, conn *recorder) error {
	if err := d.call(ctx, c, "add", map[string]any{"a": 2, "b": 40}); err != nil {
		return err
	}
	if err := d.call(ctx, c, "now", map[string]any{}); err != nil {
		return err
	}
	d.tap.forget()
	if err := d.call(ctx, c, "reverse", map[string]any{"text": demoMessage}); err != nil {
		return err
	}
	answer := conn.last()
	tapped, err := d.tap.answer(demoMessage, reverse(demoMessage), "tools/call", "jsonrpc")
	if err != nil {
		return err
	}
	d.say("client", "saw %s", answer)
	d.say("node", "saw %d bytes for it: the names %s, MLS epoch %d, and %d bytes of ciphertext %x...",
		tapped.size, strings.Join(tapped.names, " "), tapped.epoch, len(tapped.ciphertext), tapped.ciphertext[:min(32, len(tapped.ciphertext))])
	return nil
}

// call prints a call and its result.
func (d *demo) call(ctx context.Context, c *client.Client, tool string, args map[string]any) error {
	req := mcpgo.CallToolRequest{}
	req.Params.Name, req.Params.Arguments = tool, args
	start := time.Now()
	res, err := c.CallTool(ctx, req)
	if err != nil {
		return fmt.Errorf("call %s: %w", tool, err)
	}
	var texts []string
	for _, content := range res.Content {
		texts = append(texts, mcpgo.GetTextFromContent(content))
	}
	if res.IsError {
		return fmt.Errorf("call %s: the tool failed: %s", tool, strings.Join(texts, " "))
	}
	shown, err := json.Marshal(args)
	if err != nil {
		return err
	}
	d.say("call", "%s %s -> %s (%.1f ms)", tool, shown, strings.Join(texts, " "), millis(time.Since(start)))
	return nil
}
