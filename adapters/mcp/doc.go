// Package mcp carries the Model Context Protocol over SLIM sessions.
//
// One SLIM session is one MCP session: each application message is exactly one
// JSON-RPC object in UTF-8, in order, without envelope, length or newline
// (source: agntcy/slim-mcp-python slim_mcp). SLIM adds nothing before, after or
// between, so every MCP revision rides on it unchanged.
//
// A [Conn] is that stream of messages. [NewClientTransport] plugs it into the
// mcp-go client, [Serve] runs an mcp-go server on every session a [Listener]
// yields, package gosdk does the same for the official Go SDK, and package
// bridge pumps frames without any SDK at all, guided by [Scan].
//
//	conn, err := mcp.NewDialer(app, mcp.DialOptions{}).Dial(ctx, "org/ns/server")
//	c := client.NewClient(mcp.NewClientTransport(conn))
//	err = c.Start(ctx)
//	_, err = c.Initialize(ctx, mcpgo.InitializeRequest{})
//
//	listener, err := app.Listen(session.ListenOptions{EndWhenLost: true})
//	err = mcp.Serve(ctx, mcp.NewListener(listener), server)
//
// JSON-RPC ids are handled as raw bytes, never as numbers: peers exist that
// count in random 64-bit integers.
//
// The package knows nothing of stdio, HTTP, processes or logging. A Conn may
// have one reader and any number of writers; the other types say what they
// allow.
package mcp
