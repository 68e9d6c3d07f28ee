package mcp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mark3labs/mcp-go/client"
	mcpgo "github.com/mark3labs/mcp-go/mcp"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// sessions is a network with a client app and a listening server app.
type sessions struct {
	network  *testnet.Network
	dialer   mcp.Dialer
	raw      *session.Listener
	listener mcp.Listener
}

func newSessions(t *testing.T) *sessions {
	nw := testnet.New(t, testnet.Options{})
	l, err := nw.App(serverName.Path(), nil).Listen(session.ListenOptions{EndWhenLost: true})
	if err != nil {
		t.Fatal(err)
	}
	return &sessions{nw, mcp.NewDialer(nw.App(clientName.Path(), nil), mcp.DialOptions{}), l, mcp.NewListener(l)}
}

func (s *sessions) open(t *testing.T) (near, far mcp.Conn) {
	t.Helper()
	near, err := s.dialer.Dial(t.Context(), serverName.Path())
	if err != nil {
		t.Fatal(err)
	}
	far, err = s.listener.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

func TestSessionConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := newSessions(t).open(t)
		if near.Peer().Path() != serverName.Path() || near.SessionID() != far.SessionID() {
			t.Errorf("peer %v, sessions %d and %d", near.Peer(), near.SessionID(), far.SessionID())
		}
		largest := bytes.Repeat([]byte("x"), mcp.MaxMessage)
		for i := range 200 { // more than may be unacknowledged
			send(t, near, fmt.Sprintf(`{"n":%d}`, i))
		}
		if err := near.WriteFrame(t.Context(), largest); err != nil {
			t.Fatal(err)
		}
		if err := near.WriteFrame(t.Context(), append(largest, 'x')); !errors.Is(err, mcp.ErrTooLarge) {
			t.Errorf("too large: %v", err)
		}
		send(t, near, `[{"a":1},{"b":2}]`)
		for i := range 200 {
			if got, want := string(receiveFrame(t, far)), fmt.Sprintf(`{"n":%d}`, i); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
		if got := receiveFrame(t, far); !bytes.Equal(got, largest) {
			t.Errorf("got %d bytes", len(got))
		}
		if a, b := receiveFrame(t, far), receiveFrame(t, far); string(a) != `{"a":1}` || string(b) != `{"b":2}` {
			t.Errorf("got %s and %s", a, b)
		}
		send(t, far, "{}")
		if err := far.Close(); err != nil { // what was written still arrives
			t.Errorf("close: %v", err)
		}
		if got := receiveFrame(t, near); string(got) != "{}" {
			t.Errorf("got %s", got)
		}
		if _, err := near.ReadFrame(t.Context()); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
		if err := near.WriteFrame(t.Context(), []byte("{}")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after the end: %v", err)
		}
		<-near.Done()
		for range 2 {
			_ = near.Close()
			if _, err := far.ReadFrame(t.Context()); err != io.EOF {
				t.Errorf("own end: %v", err)
			}
		}
	})
}

func TestSessionMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions(t)
		go func() { _, _ = s.dialer.Dial(t.Context(), serverName.Path()) }() // ends with its app
		got, err := s.raw.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Metadata()["protocol"] != "mcp" || !got.Encrypted() {
			t.Errorf("metadata %v, encrypted %v", got.Metadata(), got.Encrypted())
		}
	})
}

func TestSessionConnLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions(t)
		near, _ := s.open(t)
		s.network.Tap(func(f *wire.Frame) []*wire.Frame {
			if testnet.Type(f) == pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG {
				return nil
			}
			return testnet.Pass(f)
		})
		start := time.Now()
		send(t, near, "{}")
		_, err := near.ReadFrame(t.Context())
		var lost *mcp.SessionLostError
		if !errors.As(err, &lost) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d < 5*time.Second || d > 8*time.Second {
			t.Errorf("noticed after %v", d)
		}
		_ = near.Close()
	})
}

func TestDialNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := testnet.New(t, testnet.Options{})
		d := mcp.NewDialer(nw.App(clientName.Path(), nil), mcp.DialOptions{})
		_, err := d.Dial(t.Context(), "org/mcp/nobody")
		if err == nil || !strings.Contains(err.Error(), "no SLIM app named org/mcp/nobody is reachable through "+testnet.Endpoint) {
			t.Errorf("got %v", err)
		}
		if _, err := d.Dial(t.Context(), "not a name"); err == nil {
			t.Error("dialled a bad name")
		}
	})
}

// mcp-go on both sides of a real session, in both eras.
func TestMCPOverSession(t *testing.T) {
	eras(t, func(t *testing.T, options ...client.ClientOption) {
		s := newSessions(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		served := make(chan error, 1)
		go func() { served <- mcp.Serve(ctx, s.listener, newServer(nil)) }()
		conn, err := s.dialer.Dial(t.Context(), serverName.Path())
		if err != nil {
			t.Fatal(err)
		}
		c := client.NewClient(mcp.NewClientTransport(conn), options...)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Initialize(t.Context(), mcpgo.InitializeRequest{}); err != nil {
			t.Fatal(err)
		}
		r, err := c.CallTool(t.Context(), call("echo", map[string]any{"text": "hello"}))
		if err != nil || text(r) != "hello" {
			t.Errorf("got %v, %v", r, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
