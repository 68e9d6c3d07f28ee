// Package bridge lets programs that speak MCP locally meet over SLIM.
//
// [Connect] is the near side: an MCP host starts it as its server, and it talks
// to a SLIM app. [Serve] is the far side: it gives every SLIM session an MCP
// server of its own, usually a child process made by [NewCommand].
//
//	front := stdio.New(os.Stdin, os.Stdout, stdio.Options{})
//	err := bridge.Connect(ctx, bridge.ConnectConfig{
//		Front: front, Dialer: dialer, Peer: "org/ns/server", Node: node,
//	})
//
//	cmd, err := bridge.NewCommand(bridge.CommandConfig{Args: []string{"npx", "-y", "some-server"}})
//	err = bridge.Serve(ctx, bridge.ServeConfig{Listener: listener, Backend: cmd})
//
// Both run the same pump between a front, whose end is the end of everything,
// and a back, which may be lost and opened again:
//
//   - Bytes in are bytes out. Only method, raw id and params._meta are looked at.
//   - Every forwarded request gets exactly one answer: the peer's, or an error
//     -32603 whose text a person can read. Late answers are dropped.
//   - The directions have separate tables of pending requests, since equal ids on
//     both sides are normal.
//   - Queues hold 64 messages. When one is full the stream that feeds it is not
//     read. Answers of the bridge's own may exceed that, bounded by the 1024
//     requests that may be pending.
//   - A loss of the back fails what is pending. If the front had said initialize
//     its MCP session is gone and the pump ends; otherwise the back is opened
//     again, with a backoff from 0.5 to 30 seconds.
//
// One goroutine owns all state of a pump; a reader and a writer per stream feed
// it. Everything is closed and waited for before a function returns. The package
// reads no flags, no environment but what a Command passes on, and no signals:
// cancel the context. It never writes to standard output.
package bridge
