package gosdk_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/adapters/mcp/gosdk"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type args struct {
	Text string `json:"text"`
	Fill int    `json:"fill,omitempty"`
}

// serve runs an SDK server on the far end of an in-memory session.
func serve(t *testing.T) *mcp.Pipe {
	near, far := mcp.NewPipe(name.MustParse("org/mcp/client"), name.MustParse("org/mcp/server"))
	s := sdk.NewServer(&sdk.Implementation{Name: "test", Version: "1"}, nil)
	sdk.AddTool(s, &sdk.Tool{Name: "echo"}, func(_ context.Context, _ *sdk.CallToolRequest, a args) (*sdk.CallToolResult, any, error) {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: a.Text + strings.Repeat("x", a.Fill)}}}, nil, nil
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(context.Background(), &gosdk.Transport{Conn: far}) // ends with the session, with or without an error
	}()
	t.Cleanup(func() {
		_ = near.Close()
		<-done
	})
	return near
}

func TestBothRolesInBothEras(t *testing.T) {
	for _, version := range []string{"", "2025-11-25"} {
		t.Run("version "+version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
				var o *sdk.ClientSessionOptions
				if version != "" {
					o = &sdk.ClientSessionOptions{ProtocolVersion: version}
				}
				cs, err := client.Connect(t.Context(), &gosdk.Transport{Conn: serve(t)}, o)
				if err != nil {
					t.Fatal(err)
				}
				call := func(a args) (*sdk.CallToolResult, error) {
					return cs.CallTool(t.Context(), &sdk.CallToolParams{Name: "echo", Arguments: a})
				}
				r, err := call(args{Text: "hello"})
				if err != nil || r.Content[0].(*sdk.TextContent).Text != "hello" {
					t.Errorf("got %v, %v", r, err)
				}
				if _, err := call(args{Fill: mcp.MaxMessage}); err == nil || !strings.Contains(err.Error(), "exceeds the SLIM limit") {
					t.Errorf("large response: %v", err)
				}
				if err := cs.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestRawIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near := serve(t)
		tests := []struct{ frame, want string }{
			{`{"jsonrpc":"2.0","id":-9223372036854775808,"method":"ping"}`, `{"jsonrpc":"2.0","id":-9223372036854775808,"result":{}}`},
			{`{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/list"}`, `{"jsonrpc":"2.0","id":9007199254740993,"error":{"code":-32600,`},
			{`{"jsonrpc":"2.0","id":1.0,"method":"tools/list"}`, `{"jsonrpc":"2.0","id":1.0,"error":{"code":-32600,`},
			{`{"id":"x","method":"tools/list"}`, `{"jsonrpc":"2.0","id":"x","error":{"code":-32600,`},
		}
		for _, test := range tests {
			if err := near.WriteFrame(t.Context(), []byte(test.frame)); err != nil {
				t.Fatal(err)
			}
			got, err := near.ReadFrame(t.Context())
			if err != nil || !strings.HasPrefix(string(got), test.want) {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		}
	})
}
