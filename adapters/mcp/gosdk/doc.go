// Package gosdk connects the official MCP SDK for Go, in either role, to a SLIM
// session. It stands apart from package mcp so that users of mcp-go do not build
// this SDK.
//
//	conn, err := dialer.Dial(ctx, "org/ns/server")
//	cs, err := client.Connect(ctx, &gosdk.Transport{Conn: conn}, nil)
//
//	conn, err := listener.Accept(ctx)
//	err = server.Run(ctx, &gosdk.Transport{Conn: conn})
//
// The SDK reads ids as floating-point numbers. A ping, which some peers send with
// random 64-bit ids, is therefore answered here under its raw id; other requests
// whose id is beyond 2^53 are refused, since their answer would go astray.
//
// The SDK puts no limit of its own on the opening: pass Connect a context with a
// deadline, and a legacy protocol version if the peer is known to be old.
//
// A Transport serves one connection. The Connection it yields is safe for
// concurrent use, with one reader.
package gosdk
