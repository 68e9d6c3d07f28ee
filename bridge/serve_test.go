package bridge_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge"
	"github.com/slimbridge/slimbridge/bridge/stdio"
)

// fakeListener hands out in-memory sessions.
type fakeListener struct {
	conns  chan mcp.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *fakeListener) Accept(ctx context.Context) (mcp.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *fakeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// fakeBackend opens in-memory servers and hands their far ends to the test.
type fakeBackend struct {
	fakeDialer
	closed bool
}

func (b *fakeBackend) Open(ctx context.Context) (bridge.FramePipe, error) {
	c, err := b.Dial(ctx, "")
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (b *fakeBackend) Close() error {
	b.closed = true
	return nil
}

// farSide runs Serve.
type farSide struct {
	t        *testing.T
	listener *fakeListener
	backend  *fakeBackend
	cancel   context.CancelFunc
	result   chan error
}

func serve(t *testing.T, change func(*bridge.ServeConfig)) *farSide {
	s := &farSide{
		t:        t,
		listener: &fakeListener{conns: make(chan mcp.Conn), closed: make(chan struct{})},
		backend:  &fakeBackend{fakeDialer: fakeDialer{far: make(chan *mcp.Pipe, 100)}},
		result:   make(chan error, 1),
	}
	c := bridge.ServeConfig{Listener: s.listener, Backend: s.backend}
	if change != nil {
		change(&c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.result <- bridge.Serve(ctx, c)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return s
}

// client opens a session.
func (s *farSide) client() *peer {
	near, far := mcp.NewPipe(hostName, peerName)
	s.listener.conns <- far
	return &peer{s.t, near}
}

// server is the next server that was started.
func (s *farSide) server() *peer {
	s.t.Helper()
	select {
	case p := <-s.backend.far:
		return &peer{s.t, p}
	case <-time.After(time.Hour):
		s.t.Fatal("no server was started")
		return nil
	}
}

func (p *peer) wantError(id string, text string) {
	p.t.Helper()
	got := p.read()
	if !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":`+id+`,"error":{"code":-32603,`) || !strings.Contains(got, text) {
		p.t.Errorf("got %s, want error for %s with %q", got, id, text)
	}
}

func (p *peer) wantEnd() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Hour)
	defer cancel()
	if frame, err := p.pipe.ReadFrame(ctx); err != io.EOF {
		p.t.Errorf("got %s, %v, want the end", frame, err)
	}
}

func TestServeOneServerPerSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, nil)
		a := s.client()
		serverA := s.server() // started without a message
		b := s.client()
		serverB := s.server()
		a.send(request("1", "a"))
		b.send(request("1", "b"))
		serverA.want(request("1", "a"))
		serverB.want(request("1", "b"))
		serverA.send(request("1", "roots/list"), result("1"))
		a.want(request("1", "roots/list"))
		a.want(result("1"))
		a.send(result("1"))
		serverA.want(result("1"))
		_ = a.pipe.Close()
		serverA.wantEnd()
		serverB.send(result("1"))
		b.want(result("1"))
		s.cancel()
		b.wantEnd()
		serverB.wantEnd()
		if err := <-s.result; err != nil || !s.backend.closed {
			t.Errorf("got %v, backend closed: %v", err, s.backend.closed)
		}
	})
}

func TestServeSplitsBatches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, nil)
		c := s.client()
		p := s.server()
		c.send("[" + request("1", "a") + "," + request("2", "b") + "]")
		p.want(request("1", "a"))
		p.want(request("2", "b"))
		p.send("[" + result("1") + "," + result("2") + "]")
		c.want(result("1"))
		c.want(result("2"))
	})
}

func TestServeRefusesFurtherSessions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, func(c *bridge.ServeConfig) { c.MaxSessions = 1 })
		first := s.client()
		s.server()
		c := s.client()
		c.send(`{"jsonrpc":"2.0","method":"n"}`, request("1", "initialize"))
		c.wantError("1", "all 1 MCP servers")
		c.wantEnd()
		silent := s.client()
		time.Sleep(10 * time.Second)
		silent.wantEnd()
		_ = first.pipe.Close()
		synctest.Wait()
		s.client().send(request("1", "a"))
		s.server().want(request("1", "a"))
	})
}

func TestServeServerDies(t *testing.T) {
	t.Run("legacy", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s := serve(t, nil)
			c := s.client()
			p := s.server()
			c.send(initialize)
			p.want(initialize)
			_ = p.pipe.Close()
			c.wantError("0", "MCP server closed its output")
			c.wantEnd()
			if n := s.backend.count(); n != 1 {
				t.Errorf("%d servers for a legacy session", n)
			}
		})
	})
	t.Run("modern", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s := serve(t, nil)
			c := s.client()
			p := s.server()
			c.send(request("1", "tools/call"))
			p.want(request("1", "tools/call"))
			start := time.Now()
			p.pipe.Lose(&bridge.ExitError{Status: "exit status 3", LastLine: "out of memory"})
			c.wantError("1", "MCP server ended (exit status 3): out of memory")
			c.send(request("2", "a")) // waits for the new server
			q := s.server()
			if d := time.Since(start); d != 500*time.Millisecond {
				t.Errorf("restarted after %v", d)
			}
			q.want(request("2", "a"))
			for _, backoff := range []time.Duration{1, 2, 4, 8, 16, 30, 30} { // it never speaks
				start := time.Now()
				_ = q.pipe.Close()
				q = s.server()
				if d := time.Since(start); d != backoff*time.Second {
					t.Errorf("restarted after %v, want %v s", d, int(backoff))
				}
			}
		})
	})
	t.Run("cannot start", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s := serve(t, nil)
			s.backend.fail(errors.New("cannot start npx: no such file"))
			c := s.client()
			c.send(request("1", "a"))
			c.wantError("1", "cannot start npx")
			s.backend.fail(nil)
			c.send(request("2", "a"))
			s.server().want(request("2", "a"))
		})
	})
}

func TestServeSizes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		serverOut, intoServerOut := io.Pipe()
		s := serve(t, func(c *bridge.ServeConfig) {
			c.Backend = backendFunc(func(context.Context) (bridge.FramePipe, error) {
				return stdio.New(serverOut, nopWriter{}, stdio.Options{Assemble: true}), nil
			})
		})
		c := s.client()
		c.send(request("1", "a"), request("2", "a"))
		synctest.Wait()
		write := func(head string, size int) {
			_, err := io.WriteString(intoServerOut, head+strings.Repeat("x", size-len(head)-2)+"\"}\n")
			if err != nil {
				t.Fatal(err)
			}
		}
		write(`{"jsonrpc":"2.0","id":1,"result":"`, mcp.MaxMessage+1)
		c.wantError("1", "message of 3600001 bytes exceeds the SLIM limit of 3600000 bytes")
		write(`{"jsonrpc":"2.0","method":"n","x":"`, mcp.MaxMessage+1) // dropped
		write(`{"jsonrpc":"2.0","id":2,"result":"`, mcp.MaxMessage)
		if got := c.read(); len(got) != mcp.MaxMessage {
			t.Errorf("got %d bytes", len(got))
		}
		_ = intoServerOut.Close()
	})
}

type backendFunc func(context.Context) (bridge.FramePipe, error)

func (f backendFunc) Open(ctx context.Context) (bridge.FramePipe, error) { return f(ctx) }

type nopWriter struct{}

func (nopWriter) Write(b []byte) (int, error) { return len(b), nil }

func TestServeListenerFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		broken := errors.New("broken")
		err := bridge.Serve(t.Context(), bridge.ServeConfig{Listener: brokenListener{broken}, Backend: &fakeBackend{}})
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		if err := bridge.Serve(t.Context(), bridge.ServeConfig{MaxSessions: -1}); err == nil || strings.Count(err.Error(), "\n") != 2 {
			t.Errorf("got %v", err)
		}
	})
}

type brokenListener struct{ err error }

func (l brokenListener) Accept(context.Context) (mcp.Conn, error) { return nil, l.err }
func (brokenListener) Close() error                               { return nil }
