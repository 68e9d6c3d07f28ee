package main

import (
	"context"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge"
	"github.com/slimbridge/slimbridge/bridge/stdio"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// defaultClientName may be shared: apps of one name differ by id.
const defaultClientName = "local/mcp/client"

func (p *program) mcpConnectCommand() *cobra.Command {
	c := &mcpConnect{program: p}
	cmd := &cobra.Command{
		Use:   "connect ORG/NS/NAME",
		Short: "Use an MCP server by its SLIM name, over stdio",
		Long: `Is an MCP server for the host that starts it, and passes everything on to the
server of that name. Standard output carries the protocol only, logs go to
standard error.

It connects at the first request. While the node or the server cannot be reached,
requests are answered with the reason, and the next one tries again. It needs the
secret of the serving side, which it never makes, or a JWT or SPIFFE identity that
side trusts.

An entry for an MCP host (claude_desktop_config.json, .cursor/mcp.json, .mcp.json):
  {"mcpServers": {"files": {"command": "slimbridge", "args": ["mcp", "connect", "acme/tools/files"]}}}`,
		Example: `  slimbridge mcp connect acme/tools/files
  slimbridge mcp connect acme/tools/files --node http://10.0.0.5:46357 --secret-file /home/me/slim.secret`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.named = cmd.Flags().Changed("name")
			if err := c.parse(args[0]); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	c.node.add(cmd, "")
	c.id.add(cmd)
	c.mls.add(cmd, "on: end-to-end encryption; off: without, for servers that have none")
	f := cmd.Flags()
	f.StringVar(&c.nameFlag, "name", defaultClientName, "our own name")
	f.StringVar(&c.era, "peer-era", "auto", "MCP revisions of the server: legacy (to 2025-11-25), modern (from 2026-07-28) or auto")
	complete(cmd, "peer-era", "auto", "legacy", "modern")
	c.timeout.add(cmd)
	return cmd
}

// mcpConnect is one run of the command.
type mcpConnect struct {
	*program
	node     nodeFlag
	id       identityFlags
	mls      mlsFlag
	timeout  timeoutFlag
	nameFlag string
	named    bool // by the user
	era      string

	self, peer name.Name
	security   session.Security
	peerEra    bridge.PeerEra
	limit      time.Duration
	endpoint   string
}

func (c *mcpConnect) parse(peer string) (err error) {
	if c.peer, err = parseName("server name", peer); err != nil {
		return err
	}
	if c.self, err = parseName("--name", c.nameFlag); err != nil {
		return err
	}
	if c.security, err = c.mls.security(); err != nil {
		return err
	}
	if err = oneOf("peer-era", c.era, "auto", "legacy", "modern"); err != nil {
		return err
	}
	if c.peerEra, err = bridge.ParsePeerEra(c.era); err != nil {
		return err
	}
	if c.limit, err = c.timeout.bridge(); err != nil {
		return err
	}
	if c.node.given() == embedded {
		return usagef("--node embedded is for mcp serve: connect needs the node where the server is")
	}
	c.endpoint, err = c.node.url()
	return err
}

func (c *mcpConnect) run(ctx context.Context) error {
	creds, err := c.id.forConnecting(ctx, c.program)
	if err != nil {
		return err
	}
	defer creds.close()
	if !c.named {
		c.self = creds.defaultName(c.self)
	}
	dialer := &lazyDialer{connect: c, creds: creds}
	defer dialer.close()
	return bridge.Connect(ctx, bridge.ConnectConfig{
		Front:  stdio.New(c.stdin, c.stdout, stdio.Options{}),
		Dialer: dialer, Peer: c.peer.Path(), Node: c.endpoint,
		Era: c.peerEra, Timeout: c.limit, Logger: c.log,
	})
}

// lazyDialer links to the node when the first session is wanted, and again if
// that failed or the node has thrown us out.
type lazyDialer struct {
	connect *mcpConnect
	creds   credentials

	mu  sync.Mutex // held while dialling: there is one app
	app *session.App
}

// Dial implements [mcp.Dialer].
func (d *lazyDialer) Dial(ctx context.Context, peer string) (mcp.Conn, error) {
	app, err := d.linked(ctx)
	if err != nil {
		return nil, err
	}
	return mcp.NewDialer(app, mcp.DialOptions{Security: d.connect.security}).Dial(ctx, peer)
}

func (d *lazyDialer) linked(ctx context.Context) (*session.App, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.app != nil && d.app.Err() == nil {
		return d.app, nil
	}
	app, err := d.connect.dialApp(ctx, d.connect.self, d.connect.endpoint, d.creds)
	if err != nil {
		return nil, err
	}
	if d.app != nil {
		err = d.app.Close()
	}
	d.app = app
	return app, err
}

func (d *lazyDialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.app != nil {
		_ = d.app.Close()
	}
}
