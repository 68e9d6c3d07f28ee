package mcp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"
	mcpgo "github.com/mark3labs/mcp-go/mcp"

	"github.com/slimbridge/slimbridge/adapters/mcp"
)

func TestProgressPrecedesItsResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := newWorld(t).listener.dial()
		defer near.Close() //nolint:errcheck // in memory
		exchange(t, near, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`)
		send(t, near, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
		send(t, near, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"progress","_meta":{"progressToken":"tok"}}}`)
		for i := range 3 {
			if h := receive(t, near); h.Method != "notifications/progress" || string(h.ProgressToken) != `"tok"` {
				t.Fatalf("message %d is %+v", i, h)
			}
		}
		if h := receive(t, near); h.Kind != mcp.Response || string(h.ID) != "2" {
			t.Fatalf("got %+v", h)
		}
	})
}

func send(t *testing.T, c mcp.Conn, frame string) {
	t.Helper()
	if err := c.WriteFrame(t.Context(), []byte(frame)); err != nil {
		t.Fatal(err)
	}
}

func receiveFrame(t *testing.T, c mcp.Conn) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	frame, err := c.ReadFrame(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func receive(t *testing.T, c mcp.Conn) mcp.Header {
	t.Helper()
	h, err := mcp.Scan(receiveFrame(t, c))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func exchange(t *testing.T, c mcp.Conn, frame string) mcp.Header {
	t.Helper()
	send(t, c, frame)
	return receive(t, c)
}

// The ids are those that peers are known to use, as raw bytes.
func TestServerKeepsRawIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := newWorld(t).listener.dial()
		defer near.Close() //nolint:errcheck // in memory
		for _, id := range []string{"0", `""`, `"x"`, "1.0", "9007199254740993", "-9223372036854775808"} {
			for _, method := range []string{"ping", "no/such", "server/discover"} {
				h := exchange(t, near, `{"jsonrpc":"2.0","id":`+id+`,"method":"`+method+`"}`)
				if h.Kind != mcp.Response || string(h.ID) != id || h.Failed == (method == "ping") {
					t.Errorf("%s with id %s: got %+v", method, id, h)
				}
			}
		}
	})
}

func TestServerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		near, _ := w.listener.dial()
		defer near.Close() //nolint:errcheck // in memory
		tests := []struct {
			name, frame, id string
			code            int
		}{
			{"garbage", `nonsense`, "null", mcp.CodeParse},
			{"null id", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, "null", mcp.CodeInvalidRequest},
			{"no version", `{"id":4,"method":"ping"}`, "4", mcp.CodeInvalidRequest},
			{"empty array", `[]`, "null", mcp.CodeInvalidRequest},
		}
		for _, test := range tests {
			if h := exchange(t, near, test.frame); string(h.ID) != test.id || h.Code != test.code {
				t.Errorf("%s: got %+v", test.name, h)
			}
		}
		wait := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait"}}`
		send(t, near, wait)
		if h := exchange(t, near, wait); string(h.ID) != "1" || h.Code != mcp.CodeInvalidRequest {
			t.Errorf("second request with a live id: got %+v", h)
		}
		// a cancellation right behind its request still finds it, and there is no answer
		send(t, near, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1.0}}`)
		<-w.cancelled
		synctest.Wait() // without an answer nobody can know when its place is free
		if h := exchange(t, near, `{"jsonrpc":"2.0","id":2,"method":"ping"}`); string(h.ID) != "2" {
			t.Errorf("got %+v", h)
		}
		for i := range 64 {
			send(t, near, fmt.Sprintf(`{"jsonrpc":"2.0","id":"w%d","method":"tools/call","params":{"name":"wait"}}`, i))
		}
		if h := exchange(t, near, `{"jsonrpc":"2.0","id":3,"method":"ping"}`); string(h.ID) != "3" || h.Code != mcp.CodeInternal {
			t.Errorf("request above the bound: got %+v", h)
		}
	})
}

// A client that has an answer may at once use the id and the place of its request.
func TestAnswerFreesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := newWorld(t).listener.dial()
		defer near.Close() //nolint:errcheck // in memory
		for i := range 63 {
			send(t, near, fmt.Sprintf(`{"jsonrpc":"2.0","id":"w%d","method":"tools/call","params":{"name":"wait"}}`, i))
		}
		for i := range 300 {
			if h := exchange(t, near, `{"jsonrpc":"2.0","id":1,"method":"ping"}`); h.Failed {
				t.Fatalf("ping %d: got %+v", i, h)
			}
		}
	})
}

// A response that reaches mcp-go's HandleMessage would be answered.
func TestStrayResponsesAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := newWorld(t).listener.dial()
		defer near.Close() //nolint:errcheck // in memory
		send(t, near, `[{"jsonrpc":"2.0","id":1,"result":null},{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":"x"}}]`)
		if h := exchange(t, near, `{"jsonrpc":"2.0","id":3,"method":"ping"}`); string(h.ID) != "3" || h.Failed {
			t.Errorf("got %+v", h)
		}
	})
}

func TestClientAnswersPingWithRawID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := mcp.NewPipe(clientName, serverName)
		tr := mcp.NewClientTransport(near)
		if err := tr.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer tr.Close() //nolint:errcheck // in memory
		send(t, far, `{"jsonrpc":"2.0","id":-8446744073709551617,"method":"ping"}`)
		if got := string(receiveFrame(t, far)); got != `{"jsonrpc":"2.0","id":-8446744073709551617,"result":{}}` {
			t.Errorf("got %s", got)
		}
	})
}

func TestClientBuffersUntilHandlersAreSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := mcp.NewPipe(clientName, serverName)
		tr := mcp.NewClientTransport(near)
		if err := tr.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer tr.Close() //nolint:errcheck // in memory
		send(t, far, `{"jsonrpc":"2.0","method":"a"}`)
		send(t, far, `{"jsonrpc":"2.0","method":"b"}`)
		send(t, far, `{"jsonrpc":"2.0","id":9007199254740993,"method":"roots/list"}`)
		synctest.Wait()
		got := make(chan string, 2)
		tr.SetNotificationHandler(func(n mcpgo.JSONRPCNotification) { got <- n.Method })
		tr.SetRequestHandler(func(_ context.Context, r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
			return transport.NewJSONRPCResultResponse(r.ID, json.RawMessage(`{"roots":[]}`)), nil
		})
		if a, b := <-got, <-got; a != "a" || b != "b" {
			t.Errorf("got %s, %s", a, b)
		}
		if h := receive(t, far); string(h.ID) != "9007199254740993" || h.Failed {
			t.Errorf("got %+v", h)
		}
	})
}

func TestClientCloseWithoutStart(t *testing.T) {
	near, _ := mcp.NewPipe(clientName, serverName)
	tr := mcp.NewClientTransport(near)
	for range 2 {
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.Start(t.Context()); !errors.Is(err, transport.ErrTransportClosed) {
		t.Errorf("got %v", err)
	}
}

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mcp.NewPipe(clientName, serverName)
		if a.Peer().Key() != serverName.Key() || b.Peer().Key() != clientName.Key() {
			t.Error("names are swapped")
		}
		if err := a.WriteFrame(t.Context(), make([]byte, mcp.MaxMessage)); err != nil {
			t.Errorf("largest message: %v", err)
		}
		if err := a.WriteFrame(t.Context(), make([]byte, mcp.MaxMessage+1)); !errors.Is(err, mcp.ErrTooLarge) {
			t.Errorf("too large: %v", err)
		}
		_ = a.Close()
		if frame, err := b.ReadFrame(t.Context()); err != nil || len(frame) != mcp.MaxMessage {
			t.Errorf("queued before the end: %d bytes, %v", len(frame), err)
		}
		if _, err := b.ReadFrame(t.Context()); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
		if err := b.WriteFrame(t.Context(), nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after the end: %v", err)
		}
	})
}
