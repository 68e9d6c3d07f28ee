package bridge_test

import (
	"context"
	"strings"
	"testing"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge"
)

// One request and its answer through the pump, in memory.
func BenchmarkRoundTrip(b *testing.B) {
	for name, size := range map[string]int{"100B": 100, "1MB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			host, front := mcp.NewPipe(hostName, peerName)
			d := &fakeDialer{far: make(chan *mcp.Pipe, 1)}
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() {
				ended <- bridge.Connect(ctx, bridge.ConnectConfig{Front: front, Dialer: d, Peer: "org/mcp/server", Era: bridge.EraModern})
			}()
			ask := []byte(`{"jsonrpc":"2.0","id":1,"method":"a","params":"` + strings.Repeat("x", size) + `"}`)
			answer := []byte(`{"jsonrpc":"2.0","id":1,"result":"` + strings.Repeat("x", size) + `"}`)
			b.SetBytes(int64(len(ask) + len(answer)))
			b.ReportAllocs()
			var far *mcp.Pipe
			for b.Loop() {
				must(b, host.WriteFrame(ctx, ask))
				if far == nil {
					far = <-d.far
				}
				_, err := far.ReadFrame(ctx)
				must(b, err)
				must(b, far.WriteFrame(ctx, answer))
				_, err = host.ReadFrame(ctx)
				must(b, err)
			}
			cancel()
			must(b, <-ended)
		})
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
