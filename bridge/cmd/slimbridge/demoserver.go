package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// calculator is the MCP server of the demo. It is an ordinary mcp-go server and
// knows nothing of SLIM.
func calculator() *server.MCPServer {
	s := server.NewMCPServer("calculator", thisVersion(), server.WithToolCapabilities(false))
	s.AddTool(mcpgo.NewTool("add",
		mcpgo.WithDescription("Add two numbers"),
		mcpgo.WithNumber("a", mcpgo.Required()), mcpgo.WithNumber("b", mcpgo.Required()),
	), func(_ context.Context, r mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		a, errA := r.RequireFloat("a")
		b, errB := r.RequireFloat("b")
		if errA != nil || errB != nil {
			return mcpgo.NewToolResultError("add wants the numbers a and b"), nil
		}
		return mcpgo.NewToolResultText(strconv.FormatFloat(a+b, 'g', -1, 64)), nil
	})
	s.AddTool(mcpgo.NewTool("now",
		mcpgo.WithDescription("Tell the time of the server"),
	), func(context.Context, mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultText(time.Now().Format(time.RFC3339)), nil
	})
	s.AddTool(mcpgo.NewTool("reverse",
		mcpgo.WithDescription("Reverse a text"),
		mcpgo.WithString("text", mcpgo.Required()),
	), func(_ context.Context, r mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		text, err := r.RequireString("text")
		if err != nil {
			return mcpgo.NewToolResultError("reverse wants a text"), nil
		}
		return mcpgo.NewToolResultText(reverse(text)), nil
	})
	return s
}

func reverse(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}
