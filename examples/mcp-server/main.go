// Command mcp-server serves an MCP server, written with mcp-go, by SLIM name:
// no port is opened, it only dials the node.
//
//	slimbridge node &
//	slimbridge secret new --out secret
//	export SLIM_SHARED_SECRET_FILE=$PWD/secret
//	go run ./examples/mcp-server &
//	slimbridge mcp connect org/examples/greeter        # what an MCP host starts
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mcp-server:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	secret, err := identity.ReadSecretFile(os.Getenv("SLIM_SHARED_SECRET_FILE"))
	if err != nil {
		return err
	}
	const path = "org/examples/greeter"
	me, err := identity.NewSharedSecret(secret, path)
	if err != nil {
		return err
	}
	app, err := session.Dial(ctx, session.Config{
		Name: name.MustParse(path), Identity: me, Verifier: me,
		Node: os.Getenv("SLIM_NODE"), // empty: http://127.0.0.1:46357
	})
	if err != nil {
		return err
	}
	defer app.Close()
	l, err := app.Listen(session.ListenOptions{EndWhenLost: true}) // sessions without MLS are refused
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "mcp-server: serving", path, "through", app.Node())
	err = mcp.Serve(ctx, mcp.NewListener(l), greeter())
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// greeter is an ordinary mcp-go server.
func greeter() *server.MCPServer {
	s := server.NewMCPServer("greeter", "1.0.0", server.WithToolCapabilities(false))
	s.AddTool(mcpgo.NewTool("greet", mcpgo.WithDescription("Greet somebody"), mcpgo.WithString("who", mcpgo.Required())),
		func(_ context.Context, r mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
			return mcpgo.NewToolResultText("Hello " + r.GetString("who", "nobody") + "!"), nil
		})
	return s
}
