package integration

import (
	"context"
	"testing"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/slimnode"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// startOurNode starts our node on a free port of the loopback.
func startOurNode(t *testing.T, o realslim.NodeOptions) string {
	t.Helper()
	return tappedNode(t, o, nil)
}

// tappedNode starts our node with a test hook; it is strict unless o says so.
func tappedNode(t *testing.T, o realslim.NodeOptions, tap func(f *wire.Frame) []*wire.Frame) string {
	t.Helper()
	l := slimnode.Listener{Endpoint: "127.0.0.1:0", AllowNoMAC: !o.Strict && !o.PQC}
	if o.Addr != "" {
		l.Endpoint = o.Addr
	}
	if o.WebSocket {
		l.Endpoint = "ws://" + l.Endpoint
	}
	cfg := slimnode.Config{Listeners: []slimnode.Listener{l}, RequirePQC: o.PQC}
	if tap != nil {
		cfg.Tap = func(_, _ slimnode.ConnID, f *wire.Frame) []*wire.Frame { return tap(f) }
	}
	node, err := slimnode.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	return node.Endpoints()[0]
}
