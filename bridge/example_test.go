package bridge_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge"
	"github.com/slimbridge/slimbridge/bridge/stdio"
)

// echoDialer opens in-memory sessions to a server that answers one request.
type echoDialer struct{}

func (echoDialer) Dial(context.Context, string) (mcp.Conn, error) {
	near, far := mcp.NewPipe(hostName, peerName)
	go func() { // ends with its one request
		frame, err := far.ReadFrame(context.Background())
		if err != nil {
			return
		}
		if h, err := mcp.Scan(frame); err == nil {
			_ = far.WriteFrame(context.Background(), mcp.EmptyResult(h.ID))
		}
	}()
	return near, nil
}

// A real host would write to os.Stdin and read from os.Stdout, and the dialer
// would be mcp.NewDialer of an app.
func ExampleConnect() {
	in := strings.NewReader(`{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/list"}` + "\n")
	var out bytes.Buffer
	err := bridge.Connect(context.Background(), bridge.ConnectConfig{
		Front:  stdio.New(in, &out, stdio.Options{}),
		Dialer: echoDialer{},
		Peer:   "org/mcp/server",
		Era:    bridge.EraModern,
	})
	fmt.Println(strings.TrimSpace(out.String()), err)
	// Output: {"jsonrpc":"2.0","id":9007199254740993,"result":{}} <nil>
}

func ExampleNewCommand() {
	_, err := bridge.NewCommand(bridge.CommandConfig{
		Args: []string{os.Args[0]},
		Env:  []string{"SLIM_SHARED_SECRET"},
	})
	fmt.Println(err)
	// Output: environment variable SLIM_SHARED_SECRET must not reach the server
}
