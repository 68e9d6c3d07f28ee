// Package linktest has an in-memory network for tests of links.
//
// It carries both gRPC and WebSocket and works inside a testing/synctest
// bubble, if it is created there (but not wss://: the TLS layer does not recover
// from the expired deadlines that net/http sets on such connections). It imports
// no link: any package may use it.
//
//	l := linktest.Listen()
//	go server.ServeGRPC(l)
//	c, err := link.Dial(ctx, "http://node:1", link.DialConfig{NetDial: l.Dial})
//
// All functions are safe for concurrent use.
package linktest

import (
	"context"
	"net"

	"google.golang.org/grpc/test/bufconn"
)

// buffer is the capacity of each direction of a connection, in bytes.
const buffer = 64 << 10

// Listener is a net.Listener without a network.
type Listener struct {
	*bufconn.Listener
}

// Listen returns a new listener. Close it when done.
func Listen() *Listener { return &Listener{bufconn.Listen(buffer)} }

// Dial connects to the listener; the address is ignored. It has the signature
// of DialConfig.NetDial.
func (l *Listener) Dial(ctx context.Context, _ string) (net.Conn, error) {
	return l.DialContext(ctx)
}
