package link

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// The real client waits for the response headers before it says anything.
func TestHeadersFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, carriers[0].endpoint, ServerConfig{})
		defer h.close()
		ca := h.raw().(*grpcClient)
		defer ca.abort(nil)
		start := time.Now()
		md, err := ca.stream.Header()
		if err != nil || time.Since(start) != 0 {
			t.Errorf("headers after %v, %v", time.Since(start), err)
		}
		if ct := md.Get("content-type"); len(ct) != 1 || ct[0] != "application/grpc" {
			t.Errorf("content-type %q", ct)
		}
	})
}

func TestWebSocketTextFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, carriers[1].endpoint, ServerConfig{})
		defer h.close()
		ca, _, s := h.rawLink(true)
		ws := ca.(*wsCarrier).ws
		defer ws.Close()
		pong := false
		ws.SetPongHandler(func(string) error { pong = true; return nil })
		if err := ws.WriteMessage(websocket.PingMessage, nil); err != nil {
			t.Fatal(err)
		}
		if err := ws.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := ends(t, s); !errors.Is(err, ErrText) {
			t.Errorf("acceptor: %v", err)
		}
		_, _, err := ws.ReadMessage()
		if !websocket.IsCloseError(err, websocket.CloseUnsupportedData) {
			t.Errorf("dialer: %v, want close code 1003", err)
		}
		if !pong {
			t.Error("no pong")
		}
	})
}

// A message in several WebSocket frames is one message.
func TestWebSocketFragments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, carriers[1].endpoint, ServerConfig{})
		defer h.close()
		ca, a, s := h.rawLink(true)
		defer ca.abort(nil)
		big := strings.Repeat("x", 3*wsBuffer)
		if err := ca.send([][]byte{signed(a, publish([]byte(big)))}); err != nil {
			t.Fatal(err)
		}
		if got := blob(t, mustRecv(t, s)); got != big {
			t.Errorf("%d bytes", len(got))
		}
	})
}

func TestWebSocketUpgrade(t *testing.T) {
	upgrade := map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	}
	with := func(k, v string) map[string]string {
		m := map[string]string{k: v}
		for k, v := range upgrade {
			if _, ok := m[k]; !ok {
				m[k] = v
			}
		}
		return m
	}
	for _, tc := range []struct {
		name, path string
		header     map[string]string
		want       int
	}{
		{"good", "/slim", upgrade, http.StatusSwitchingProtocols},
		{"other path", "/", upgrade, http.StatusNotFound},
		{"longer path", "/slim/x", upgrade, http.StatusNotFound},
		{"no upgrade", "/slim", nil, http.StatusBadRequest},
		{"old version", "/slim", with("Sec-WebSocket-Version", "8"), http.StatusBadRequest},
		{"browser of another origin", "/slim", with("Origin", "https://evil.example"), http.StatusForbidden},
		{"token as a query parameter", "/slim?token=good%21", upgrade, http.StatusSwitchingProtocols},
		{"wrong token", "/slim?token=bad", upgrade, http.StatusUnauthorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, carriers[1].endpoint, ServerConfig{Authorize: func(_ context.Context, a string) error {
					if a == "Bearer bad" {
						return errors.New("no")
					}
					return nil
				}})
				defer h.close()
				nc, err := h.listener.Dial(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				req, err := http.NewRequest(http.MethodGet, "http://node"+tc.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				for k, v := range tc.header {
					req.Header.Set(k, v)
				}
				if err := req.Write(nc); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(bufio.NewReader(nc), req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != tc.want {
					t.Errorf("HTTP %s, want %d", resp.Status, tc.want)
				}
			})
		})
	}
}

// Real sockets: the wrapper for prompt acknowledgements, unix paths, and a
// server that is no SLIM node.
func TestRealSockets(t *testing.T) {
	s, err := NewServer(ServerConfig{Handle: func(ctx context.Context, c *Conn) {
		for {
			f, err := c.Recv(ctx)
			if err != nil || c.Send(ctx, f) != nil {
				return
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	listen := func(network, addr string) net.Listener {
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	tcp, ws := listen("tcp", "127.0.0.1:0"), listen("tcp", "127.0.0.1:0")
	path := filepath.Join(t.TempDir(), "s")
	unix := listen("unix", path)
	done := make(chan error, 3)
	go func() { done <- s.ServeGRPC(tcp) }()
	go func() { done <- s.ServeGRPC(unix) }()
	go func() { done <- s.ServeWebSocket(ws, "") }()
	for _, ep := range []string{"http://" + tcp.Addr().String(), "unix://" + path, "ws://" + ws.Addr().String()} {
		c, err := Dial(t.Context(), ep, DialConfig{})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			mustSend(t, c, publish([]byte("hello")))
			mustRecv(t, c)
		}
		c.Close()
	}
	if _, err := Dial(t.Context(), "http://"+ws.Addr().String(), DialConfig{}); err == nil {
		t.Error("gRPC to a WebSocket listener")
	}
	if _, err := Dial(t.Context(), "ws://"+tcp.Addr().String(), DialConfig{Config: Config{NegotiationTimeout: time.Second}}); err == nil {
		t.Error("WebSocket to a gRPC listener")
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := s.ServeGRPC(listen("tcp", "127.0.0.1:0")); err != nil {
		t.Errorf("Serve after Shutdown = %v", err)
	}
}

func TestServerConfig(t *testing.T) {
	if _, err := NewServer(ServerConfig{}); err == nil {
		t.Error("a server without Handle")
	}
}

// Frames and their bytes are not copied per target: a large payload costs a
// link no more allocations than a small one.
func TestOutgoingCostIsFlat(t *testing.T) {
	m := newMacer(agreed{linkID: "l", key: make([]byte, keySize)})
	cost := func(n int) float64 {
		f := publish(make([]byte, n))
		return testing.AllocsPerRun(100, func() { outgoing(f, m.tag) })
	}
	if small, large := cost(256), cost(1<<20); large > small || small > 5 {
		t.Errorf("%v allocations for 256 B, %v for 1 MiB", small, large)
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, ca := range carriers {
		for _, size := range []struct {
			name string
			n    int
		}{{"256B", 256}, {"64KiB", 64 << 10}} {
			b.Run(ca.name+"/"+size.name, func(b *testing.B) {
				s, err := NewServer(ServerConfig{Handle: func(ctx context.Context, c *Conn) {
					for {
						f, err := c.Recv(ctx)
						if err != nil || c.Send(ctx, f) != nil {
							return
						}
					}
				}})
				if err != nil {
					b.Fatal(err)
				}
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				done := make(chan error)
				ep := "http://" + l.Addr().String()
				if ca.name == "grpc" {
					go func() { done <- s.ServeGRPC(l) }()
				} else {
					ep = "ws://" + l.Addr().String()
					go func() { done <- s.ServeWebSocket(l, "/") }()
				}
				c, err := Dial(b.Context(), ep, DialConfig{})
				if err != nil {
					b.Fatal(err)
				}
				f := publish(make([]byte, size.n))
				b.ReportAllocs()
				b.SetBytes(int64(size.n))
				for b.Loop() {
					if err := c.Send(b.Context(), f); err != nil {
						b.Fatal(err)
					}
					if _, err := c.Recv(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				c.Close()
				if err := errors.Join(s.Shutdown(context.Background()), <-done); err != nil {
					b.Error(err)
				}
			})
		}
	}
}

func BenchmarkMAC(b *testing.B) {
	m := newMacer(agreed{linkID: newUUID(), key: make([]byte, keySize)})
	f := publish(nil)
	b.ReportAllocs()
	for b.Loop() {
		m.tag(f.Header())
	}
}

func ExampleDial() {
	ctx := context.Background()
	c, err := Dial(ctx, "http://127.0.0.1:46357", DialConfig{})
	if err != nil {
		return
	}
	defer c.Close() //nolint:errcheck // always nil
	for {
		f, err := c.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return
		}
		_ = f.Kind() == wire.KindPublish
	}
}
