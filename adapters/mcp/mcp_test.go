package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.uber.org/goleak"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	clientName = name.MustParse("org/mcp/client")
	serverName = name.MustParse("org/mcp/server")
)

// pipeListener hands out in-memory sessions.
type pipeListener struct {
	conns  chan mcp.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan mcp.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept(ctx context.Context) (mcp.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// dial opens a session and returns both ends.
func (l *pipeListener) dial() (near, far *mcp.Pipe) {
	near, far = mcp.NewPipe(clientName, serverName)
	l.conns <- far
	return near, far
}

// answers are the handlers of a client for requests of the server.
type answers struct{}

func (answers) CreateMessage(_ context.Context, r mcpgo.CreateMessageRequest) (*mcpgo.CreateMessageResult, error) {
	return &mcpgo.CreateMessageResult{
		SamplingMessage: mcpgo.SamplingMessage{Role: mcpgo.RoleAssistant, Content: mcpgo.NewTextContent("sampled " + r.SystemPrompt)},
		Model:           "test",
	}, nil
}

func (answers) Elicit(_ context.Context, r mcpgo.ElicitationRequest) (*mcpgo.ElicitationResult, error) {
	return &mcpgo.ElicitationResult{ElicitationResponse: mcpgo.ElicitationResponse{Action: mcpgo.ElicitationResponseActionAccept, Content: map[string]any{"said": r.Params.Message}}}, nil
}

func (answers) ListRoots(context.Context, mcpgo.ListRootsRequest) (*mcpgo.ListRootsResult, error) {
	return &mcpgo.ListRootsResult{Roots: []mcpgo.Root{{URI: "file:///tmp", Name: "tmp"}}}, nil
}

func text(r *mcpgo.CallToolResult) string {
	if len(r.Content) == 0 {
		return ""
	}
	c, _ := r.Content[0].(mcpgo.TextContent)
	return c.Text
}

// newServer has a tool for each thing a session must carry.
func newServer(cancelled chan<- struct{}) *server.MCPServer {
	s := server.NewMCPServer("test", "1", server.WithToolCapabilities(true), server.WithResourceCapabilities(true, true), server.WithLogging(), server.WithElicitation(), server.WithRoots())
	s.EnableSampling()
	add := func(tool string, f server.ToolHandlerFunc) { s.AddTool(mcpgo.NewTool(tool), f) }
	add("echo", func(_ context.Context, r mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultText(r.GetString("text", "")), nil
	})
	add("panic", func(context.Context, mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) { panic("oops") })
	add("large", func(context.Context, mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultText(strings.Repeat("x", mcp.MaxMessage)), nil
	})
	add("wait", func(ctx context.Context, _ mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		<-ctx.Done()
		cancelled <- struct{}{}
		return nil, ctx.Err()
	})
	add("progress", func(ctx context.Context, r mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		for i := range 3 {
			err := server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": r.Params.Meta.ProgressToken, "progress": i})
			if err != nil {
				return nil, err
			}
		}
		return mcpgo.NewToolResultText("done"), nil
	})
	add("ask", func(ctx context.Context, _ mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		me := server.ServerFromContext(ctx)
		//lint:ignore SA1019 older peers use it
		sampled, err := me.RequestSampling(ctx, mcpgo.CreateMessageRequest{CreateMessageParams: mcpgo.CreateMessageParams{SystemPrompt: "S", Messages: []mcpgo.SamplingMessage{}}})
		if err != nil {
			return nil, err
		}
		elicited, err := me.RequestElicitation(ctx, mcpgo.ElicitationRequest{Params: mcpgo.ElicitationParams{Message: "E", RequestedSchema: map[string]any{"type": "object"}}})
		if err != nil {
			return nil, err
		}
		roots, err := me.RequestRoots(ctx, mcpgo.ListRootsRequest{})
		if err != nil {
			return nil, err
		}
		return mcpgo.NewToolResultText(fmt.Sprint(sampled.Content, elicited.Content, roots.Roots)), nil
	})
	return s
}

// world is a server, a listener and what ends them.
type world struct {
	listener  *pipeListener
	server    *server.MCPServer
	cancelled chan struct{}
}

func newWorld(t *testing.T) *world {
	w := &world{listener: newPipeListener(), cancelled: make(chan struct{}, 100)}
	w.server = newServer(w.cancelled)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- mcp.Serve(ctx, w.listener, w.server) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return w
}

func (w *world) client(t *testing.T, options ...client.ClientOption) (*client.Client, *mcp.Pipe) {
	near, far := w.listener.dial()
	options = append(options, client.WithSamplingHandler(answers{}), client.WithElicitationHandler(answers{}), client.WithRootsHandler(answers{}))
	c := client.NewClient(mcp.NewClientTransport(near), options...)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Initialize(t.Context(), mcpgo.InitializeRequest{}); err != nil {
		t.Fatal(err)
	}
	return c, far
}

func call(tool string, args map[string]any) mcpgo.CallToolRequest {
	r := mcpgo.CallToolRequest{}
	r.Params.Name, r.Params.Arguments = tool, args
	return r
}

// eras runs a test with a client of each era.
func eras(t *testing.T, f func(t *testing.T, options ...client.ClientOption)) {
	t.Run("modern", func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t) }) })
	t.Run("legacy", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, client.WithProtocolVersion("2025-11-25")) })
	})
}

func TestBothEras(t *testing.T) {
	eras(t, func(t *testing.T, options ...client.ClientOption) {
		c, _ := newWorld(t).client(t, options...)
		tools, err := c.ListTools(t.Context(), mcpgo.ListToolsRequest{})
		if err != nil || len(tools.Tools) != 6 {
			t.Fatalf("ListTools: %v, %v", tools, err)
		}
		r, err := c.CallTool(t.Context(), call("echo", map[string]any{"text": "hello"}))
		if err != nil || text(r) != "hello" {
			t.Fatalf("echo: %v, %v", r, err)
		}
		if _, err := c.CallTool(t.Context(), call("panic", nil)); err == nil || !strings.Contains(err.Error(), "oops") {
			t.Errorf("panic: %v", err)
		}
		if _, err := c.CallTool(t.Context(), call("large", nil)); err == nil || !strings.Contains(err.Error(), "exceeds the SLIM limit of 3600000 bytes") {
			t.Errorf("large response: %v", err)
		}
		if _, err := c.CallTool(t.Context(), call("echo", map[string]any{"text": strings.Repeat("x", mcp.MaxMessage)})); !errors.Is(err, mcp.ErrTooLarge) {
			t.Errorf("large request: %v", err)
		}
		if r, err := c.CallTool(t.Context(), call("echo", map[string]any{"text": "alive"})); err != nil || text(r) != "alive" {
			t.Errorf("after all that: %v, %v", r, err)
		}
	})
}

func TestReverseRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newWorld(t).client(t, client.WithProtocolVersion("2025-11-25"))
		r, err := c.CallTool(t.Context(), call("ask", nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"sampled S", "said:E", "file:///tmp"} {
			if !strings.Contains(text(r), want) {
				t.Errorf("%q misses %q", text(r), want)
			}
		}
	})
}

func TestCancellation(t *testing.T) {
	eras(t, func(t *testing.T, options ...client.ClientOption) {
		w := newWorld(t)
		c, _ := w.client(t, options...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.CallTool(ctx, call("wait", nil)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		<-w.cancelled // the server's handler was told
		if _, err := c.ListTools(t.Context(), mcpgo.ListToolsRequest{}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestNotifications(t *testing.T) {
	eras(t, func(t *testing.T, options ...client.ClientOption) {
		w := newWorld(t)
		c, _ := w.client(t, options...)
		got := make(chan string, 10)
		c.OnNotification(func(n mcpgo.JSONRPCNotification) { got <- n.Method })
		if options == nil {
			stop, err := c.ListenAsync(t.Context(), mcpgo.SubscriptionFilter{ToolsListChanged: true}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			if m := <-got; m != mcpgo.MethodNotificationSubscriptionsAcknowledged {
				t.Fatalf("got %s", m)
			}
		}
		synctest.Wait()
		w.server.AddTool(mcpgo.NewTool("late"), nil)
		if m := <-got; m != mcpgo.MethodNotificationToolsListChanged {
			t.Fatalf("got %s", m)
		}
	})
}

func TestConnectionLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c, far := w.client(t)
		lost := make(chan error, 1)
		c.OnConnectionLost(func(err error) {
			_ = c.Close() // allowed here
			lost <- err
		})
		result := make(chan error, 1)
		go func() {
			_, err := c.CallTool(t.Context(), call("wait", nil))
			result <- err
		}()
		synctest.Wait()
		far.Lose(errors.New("gone"))
		if err := <-result; !errors.Is(err, transport.ErrTransportClosed) {
			t.Errorf("call: %v", err)
		}
		var gone *mcp.SessionLostError
		if err := <-lost; !errors.As(err, &gone) || !strings.Contains(err.Error(), "gone") {
			t.Errorf("handler: %v", err)
		}
		<-w.cancelled // the handler of the server ends too
		if _, err := c.ListTools(t.Context(), mcpgo.ListToolsRequest{}); !errors.Is(err, transport.ErrTransportClosed) {
			t.Errorf("later call: %v", err)
		}
	})
}

func TestTwoSessionsOfOneServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, _ := w.client(t)
		near, far := mcp.NewPipe(name.MustParse("org/mcp/other"), serverName)
		w.listener.conns <- far
		b := client.NewClient(mcp.NewClientTransport(near))
		defer b.Close() //nolint:errcheck // in memory
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Initialize(t.Context(), mcpgo.InitializeRequest{}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*client.Client{a, b} {
			if _, err := c.ListTools(t.Context(), mcpgo.ListToolsRequest{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
