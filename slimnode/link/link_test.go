package link

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/link/linktest"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// overCarriers runs a test in a bubble once per carrier.
func overCarriers(t *testing.T, cfg ServerConfig, test func(t *testing.T, h *harness)) {
	for _, ca := range carriers {
		t.Run(ca.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, ca.endpoint, cfg)
				defer h.close()
				test(t, h)
			})
		})
	}
}

func TestLink(t *testing.T) {
	for _, pqc := range []bool{false, true} {
		cfg := ServerConfig{Config: Config{NodeID: "node-a", Version: "v1.2.3", PQC: pqc}}
		overCarriers(t, cfg, func(t *testing.T, h *harness) {
			c, s := h.pair(DialConfig{Config: Config{NodeID: "app-b", PQC: pqc}, LinkID: "link-1"})
			defer c.Close()
			for _, end := range []struct {
				c       *Conn
				peer    string
				version string
			}{{c, "node-a", "1.2.3"}, {s, "app-b", "0.0.0-dev"}} {
				if end.c.PeerNodeID() != end.peer || end.c.PeerVersion() != end.version || end.c.LinkID() != "link-1" {
					t.Errorf("peer %q %q, link %q", end.c.PeerNodeID(), end.c.PeerVersion(), end.c.LinkID())
				}
				if end.c.Type() != Edge || !end.c.Secured() || end.c.Hybrid() != pqc {
					t.Errorf("type %v, secured %v, hybrid %v", end.c.Type(), end.c.Secured(), end.c.Hybrid())
				}
			}
			mustSend(t, c, subscribe(7))
			if f := mustRecv(t, s); f.Kind() != wire.KindSubscribe || f.SubscriptionID() != 7 {
				t.Errorf("got %v %d", f.Kind(), f.SubscriptionID())
			}
			mustSend(t, s, ack(7))
			if f := mustRecv(t, c); f.SubscriptionAck().GetSubscriptionId() != 7 {
				t.Errorf("got %v", f.Kind())
			}
			for _, n := range []int{0, 1, 5 << 10, 1 << 20} {
				want := strings.Repeat("x", n)
				mustSend(t, s, publish([]byte(want)))
				if got := blob(t, mustRecv(t, c)); got != want {
					t.Errorf("payload of %d bytes came as %d", n, len(got))
				}
				mustSend(t, c, publish([]byte(want)))
				if got := blob(t, mustRecv(t, s)); got != want {
					t.Errorf("payload of %d bytes came as %d", n, len(got))
				}
			}
			if got := s.Stats(); got != (Stats{Received: 5, Sent: 5}) {
				t.Errorf("stats = %+v", got)
			}
		})
	}
}

// A forwarded frame: local fields and the tag of the previous link must go.
func TestSendReplacesTag(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		c, s := h.pair(DialConfig{})
		defer c.Close()
		f := publish([]byte("x")).With(wire.Patch{MAC: bytes.Repeat([]byte{1}, wire.MACSize), IncomingConn: wire.Some(uint64(9))})
		mustSend(t, c, f)
		got := mustRecv(t, s).Header()
		if got.IncomingConn != wire.Some(uint64(9)) || bytes.Equal(got.MAC.Value, bytes.Repeat([]byte{1}, wire.MACSize)) {
			t.Errorf("header = %+v", got)
		}
	})
}

func TestOrder(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		c, s := h.pair(DialConfig{})
		defer c.Close()
		const n = 3 * OutboxFrames
		go func() {
			for i := range n {
				if c.Send(t.Context(), subscribe(uint64(i))) != nil {
					return
				}
			}
		}()
		for i := range n {
			if got := mustRecv(t, s).SubscriptionID(); got != uint64(i) {
				t.Fatalf("frame %d came at place %d", got, i)
			}
		}
	})
}

func TestCloseByDialer(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		c, s := h.pair(DialConfig{})
		for i := range 50 {
			mustSend(t, c, subscribe(uint64(i)))
		}
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		c.Close()
		if d := time.Since(start); d >= lingerTimeout {
			// The server's reader is this goroutine: Close had to give up waiting.
			t.Logf("Close took %v", d)
		}
		if err := c.Send(t.Context(), ack(1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Send after Close = %v", err)
		}
		if _, err := c.Recv(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Recv after Close = %v", err)
		}
		endsWithEOF(t, s)
	})
}

// What was flushed before Close arrives.
func TestFlushedArrives(t *testing.T) {
	got := make(chan uint64, 100)
	cfg := ServerConfig{Handle: func(ctx context.Context, c *Conn) {
		for {
			f, err := c.Recv(ctx)
			if err != nil {
				return
			}
			got <- f.SubscriptionID()
		}
	}}
	for _, ca := range carriers {
		t.Run(ca.name, func(t *testing.T) {
			h := newHarness(t, ca.endpoint, cfg)
			c, err := h.dial(DialConfig{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 50 {
				mustSend(t, c, subscribe(uint64(i)))
			}
			if err := c.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.Close()
			h.close()
			for i := range 50 {
				if n := <-got; n != uint64(i) {
					t.Fatalf("frame %d came at place %d", n, i)
				}
			}
		})
	}
}

func TestCloseByAcceptor(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		c, s := h.pair(DialConfig{})
		defer c.Close()
		mustSend(t, s, ack(1))
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		go s.Close()
		if f := mustRecv(t, c); f.SubscriptionID() != 1 {
			t.Errorf("got %v", f.Kind())
		}
		endsWithEOF(t, c)
		<-s.Done()
		if !errors.Is(s.Err(), ErrClosed) {
			t.Errorf("acceptor's Err = %v", s.Err())
		}
	})
}

func TestShutdown(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		c, _ := h.pair(DialConfig{})
		defer c.Close()
		down := make(chan error)
		go func() { down <- h.server.Shutdown(t.Context()) }()
		endsWithEOF(t, c)
		if err := <-down; err != nil {
			t.Error(err)
		}
	})
}

func TestRecvContext(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		c, s := h.pair(DialConfig{})
		defer c.Close()
		why := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, why)
		defer cancel()
		if _, err := c.Recv(ctx); !errors.Is(err, why) {
			t.Errorf("Recv = %v, want the cause", err)
		}
		if !errors.Is(c.Err(), why) {
			t.Errorf("Err = %v", c.Err())
		}
		endsWithEOF(t, s)
	})
}

// A context per call may be cancelled after the call.
func TestRecvContextPerCall(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		c, s := h.pair(DialConfig{})
		defer c.Close()
		var ctx context.Context
		for range 3 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
			mustSend(t, s, ack(1))
			if _, err := c.Recv(ctx); err != nil {
				t.Fatal(err)
			}
			cancel()
			synctest.Wait()
		}
		if _, err := c.Recv(ctx); !errors.Is(err, context.Canceled) || c.Err() != nil {
			t.Errorf("Recv with a cancelled context = %v, link %v", err, c.Err())
		}
		mustSend(t, s, ack(2))
		mustRecv(t, c)
	})
}

// A peer that does not read fills windows, buffers and the outbox; then Send
// waits, and ends with its context or with the link.
func TestOutboxFull(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		c, s := h.pair(DialConfig{})
		f := publish(make([]byte, 64<<10))
		fill := func() (sent int) {
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				err := c.Send(ctx, f)
				cancel()
				if errors.Is(err, context.DeadlineExceeded) {
					return sent
				}
				if err != nil {
					t.Fatalf("Send = %v", err)
				}
				if sent++; sent > 1000 {
					t.Fatal("no bound")
				}
			}
		}
		sent := fill()
		if q := c.Stats().Queued; q < 100 || q > OutboxFrames {
			t.Errorf("%d frames queued", q)
		}
		waiting := make(chan error)
		go func() { waiting <- c.Send(t.Context(), f) }()
		synctest.Wait()
		for range sent + 1 { // lossless once the peer reads
			mustRecv(t, s)
		}
		if err := <-waiting; err != nil {
			t.Errorf("Send = %v", err)
		}
		fill()
		go func() { waiting <- c.Send(t.Context(), f) }()
		synctest.Wait()
		c.Close()
		if err := <-waiting; !errors.Is(err, ErrClosed) {
			t.Errorf("Send during Close = %v", err)
		}
		s.Close()
	})
}

// The same from the other side: neither Close nor Shutdown waits for a dialer
// that does not read.
func TestCloseOfStuckLink(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		fill := func(s *Conn) {
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				err := s.Send(ctx, publish(make([]byte, 64<<10)))
				cancel()
				if err != nil {
					return
				}
			}
		}
		c1, s1 := h.pair(DialConfig{})
		defer c1.Close()
		c2, s2 := h.pair(DialConfig{})
		defer c2.Close()
		fill(s1)
		fill(s2)
		start := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { s1.Close() })
		}
		wg.Wait()
		if d := time.Since(start); d > 2*lingerTimeout {
			t.Errorf("Close took %v", d)
		}
		start = time.Now()
		if err := h.server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > 3*lingerTimeout {
			t.Errorf("Shutdown took %v", d)
		}
	})
}

func TestDialErrors(t *testing.T) {
	refused := func(context.Context, string) (net.Conn, error) { return net.Dial("tcp", "127.0.0.1:1") }
	for _, tc := range []struct{ endpoint, want string }{
		{"127.0.0.1:46357", "want http://host:port"},
		{"node", "want http://host:port"},
		{"ftp://node", "unknown scheme"},
		{"http://", "no host"},
		{"unix://host/path", "want unix:///absolute/path"},
		{"http://127.0.0.1:1", "connection refused: is a SLIM node running at http://127.0.0.1:1?"},
	} {
		_, err := Dial(t.Context(), tc.endpoint, DialConfig{NetDial: refused})
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Dial(%q) = %v, want %q", tc.endpoint, err, tc.want)
		}
	}
	if _, err := Dial(t.Context(), "http://node", DialConfig{LinkID: strings.Repeat("x", 2000)}); err == nil {
		t.Error("Dial took a link id of 2000 bytes")
	}
	why := errors.New("no token")
	headers := func(context.Context) (map[string]string, error) { return nil, why }
	if _, err := Dial(t.Context(), "http://node", DialConfig{Headers: headers}); !errors.Is(err, why) {
		t.Errorf("Dial = %v", err)
	}
}

// A listener that accepts and then says nothing.
func TestDialSilentNode(t *testing.T) {
	for _, ca := range carriers {
		t.Run(ca.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := linktest.Listen()
				defer l.Close()
				go func() {
					for {
						nc, err := l.Accept()
						if err != nil {
							return
						}
						defer nc.Close()
					}
				}()
				start := time.Now()
				_, err := Dial(t.Context(), ca.endpoint, DialConfig{NetDial: l.Dial})
				if !errors.Is(err, ErrTimeout) || time.Since(start) != DefaultNegotiationTimeout {
					t.Errorf("Dial = %v after %v", err, time.Since(start))
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := Dial(ctx, ca.endpoint, DialConfig{NetDial: l.Dial}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Dial = %v", err)
				}
			})
		})
	}
}
