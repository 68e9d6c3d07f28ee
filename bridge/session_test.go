package bridge_test

import (
	"context"
	"testing"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge"
	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
)

// A host, the near side, a node, the far side and a server.
func TestBothSidesOverSLIM(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nw := testnet.New(t, testnet.Options{})
		l, err := nw.App(peerName.Path(), nil).Listen(session.ListenOptions{EndWhenLost: true})
		if err != nil {
			t.Fatal(err)
		}
		backend := &fakeBackend{fakeDialer: fakeDialer{far: make(chan *mcp.Pipe, 1)}}
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() {
			served <- bridge.Serve(ctx, bridge.ServeConfig{Listener: mcp.NewListener(l), Backend: backend})
		}()
		h := connect(t, func(c *bridge.ConnectConfig) {
			c.Dialer = mcp.NewDialer(nw.App(hostName.Path(), nil), mcp.DialOptions{})
		})
		h.send(initialize)
		p := &peer{t, <-backend.far}
		p.want(initialize)
		p.send(request("9007199254740993", "roots/list"), result("0"))
		h.want(request("9007199254740993", "roots/list"))
		h.want(result("0"))
		h.send(result("9007199254740993"))
		p.want(result("9007199254740993"))
		h.send(request("1", "a"))
		p.want(request("1", "a"))
		_ = p.pipe.Close() // the server dies
		h.wantError("1", mcp.CodeInternal, "MCP server closed its output")
		h.end(bridge.ErrSessionLost)
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
