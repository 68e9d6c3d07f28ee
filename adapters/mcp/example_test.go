package mcp_test

import (
	"context"
	"fmt"

	"github.com/mark3labs/mcp-go/client"
	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/slimbridge/slimbridge/adapters/mcp"
)

// Over SLIM the two ends would come from NewDialer and NewListener.
func ExampleNewClientTransport() {
	near, far := mcp.NewPipe(clientName, serverName)
	s := server.NewMCPServer("greeter", "1.0")
	s.AddTool(mcpgo.NewTool("greet"), func(_ context.Context, r mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultText("hello " + r.GetString("name", "")), nil
	})
	done := make(chan error, 1)
	go func() { done <- mcp.ServeConn(context.Background(), far, s) }()

	ctx := context.Background()
	c := client.NewClient(mcp.NewClientTransport(near))
	if err := c.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := c.Initialize(ctx, mcpgo.InitializeRequest{}); err != nil {
		fmt.Println(err)
		return
	}
	r, err := c.CallTool(ctx, call("greet", map[string]any{"name": "bob"}))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(text(r))
	_ = c.Close()
	fmt.Println(<-done)
	// Output:
	// hello bob
	// <nil>
}

func ExampleScan() {
	h, err := mcp.Scan([]byte(`{"method":"ping","jsonrpc":"2.0","id":-9223372036854775808}`))
	fmt.Println(h.Kind, h.Method, string(h.ID), err)
	// Output: request ping -9223372036854775808 <nil>
}
