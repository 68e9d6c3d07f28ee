package link

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/link/linktest"
)

func TestBackoffDelay(t *testing.T) {
	for _, tc := range []struct {
		b        Backoff
		failures int
		r        float64
		want     time.Duration
	}{
		{Backoff{}, 0, 0, 100 * time.Millisecond},
		{Backoff{}, 1, 0, 200 * time.Millisecond},
		{Backoff{}, 5, 0, 3200 * time.Millisecond},
		{Backoff{}, 6, 0, 5 * time.Second},
		{Backoff{}, 1 << 30, 0, 5 * time.Second},
		{Backoff{}, 1 << 30, 0.5, 3750 * time.Millisecond},
		{Backoff{Min: time.Minute}, 3, 0, time.Minute},
		{Backoff{Min: time.Second, Max: 3 * time.Second}, 1, 0, 2 * time.Second},
		{Backoff{Min: time.Second, Max: 3 * time.Second}, 2, 0, 3 * time.Second},
	} {
		if got := tc.b.Delay(tc.failures, tc.r); got != tc.want {
			t.Errorf("%+v.Delay(%d, %v) = %v, want %v", tc.b, tc.failures, tc.r, got, tc.want)
		}
	}
}

func noJitter() float64 { return 0 }

// Dials fail until the node is there; then the link id stays, the key is new.
func TestRedial(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		ctx, cancel := context.WithCancel(t.Context())
		var at []time.Duration
		start := time.Now()
		cfg := DialConfig{NetDial: func(ctx context.Context, addr string) (net.Conn, error) {
			at = append(at, time.Since(start))
			if len(at) <= 3 {
				return nil, errors.New("not yet")
			}
			return h.listener.Dial(ctx, addr)
		}}
		links := 0
		done := make(chan error)
		go func() {
			done <- Redial(ctx, h.endpoint, cfg, Backoff{Jitter: noJitter}, func(ctx context.Context, c *Conn) error {
				if links++; links == 1 {
					time.Sleep(time.Minute) // long enough to start the pauses over
				}
				_, err := c.Recv(ctx)
				return err
			})
		}()
		first := <-h.accepted
		time.Sleep(90 * time.Second)
		first.Close()
		second := <-h.accepted
		if first.LinkID() != second.LinkID() || string(first.agreed.key) == string(second.agreed.key) {
			t.Errorf("link ids %q and %q", first.LinkID(), second.LinkID())
		}
		if at[1]-at[0] != 100*time.Millisecond || at[2]-at[1] != 200*time.Millisecond || at[3]-at[2] != 400*time.Millisecond {
			t.Errorf("dials at %v", at)
		}
		if len(at) != 5 || at[4]-at[3] < 90*time.Second || at[4]-at[3] > 93*time.Second {
			t.Errorf("dials at %v", at)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Redial = %v", err)
		}
		endsWithEOF(t, second)
	})
}

// A node that takes every link and drops it at once is not hammered.
func TestRedialShortLinks(t *testing.T) {
	cfg := ServerConfig{Handle: func(context.Context, *Conn) {}}
	overCarriers(t, cfg, func(t *testing.T, h *harness) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		links := 0
		_ = Redial(ctx, h.endpoint, DialConfig{NetDial: h.listener.Dial}, Backoff{Jitter: noJitter}, func(ctx context.Context, c *Conn) error {
			links++
			_, err := c.Recv(ctx)
			return err
		})
		if links < 10 || links > 20 {
			t.Errorf("%d links in a minute", links)
		}
	})
}

func TestRedialStopsWhenDenied(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		cfg := DialConfig{Type: Peer, NetDial: h.listener.Dial}
		err := Redial(t.Context(), h.endpoint, cfg, Backoff{}, func(context.Context, *Conn) error { return nil })
		if !errors.Is(err, ErrDenied) {
			t.Errorf("Redial = %v", err)
		}
	})
}

// Refused after the reply: the same node id. Dial succeeds, the link ends.
func TestRedialStopsWhenDeniedLater(t *testing.T) {
	cfg := ServerConfig{Config: Config{NodeID: "me"}, AllowPeer: true}
	overCarriers(t, cfg, func(t *testing.T, h *harness) {
		cfg := DialConfig{Config: Config{NodeID: "me"}, Type: Peer, NetDial: h.listener.Dial}
		err := Redial(t.Context(), h.endpoint, cfg, Backoff{}, func(ctx context.Context, c *Conn) error {
			_, err := c.Recv(ctx)
			return err
		})
		if !errors.Is(err, ErrDenied) {
			t.Errorf("Redial = %v", err)
		}
	})
}

func TestRedialContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := linktest.Listen()
		l.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := Redial(ctx, "http://node:1", DialConfig{NetDial: l.Dial}, Backoff{}, func(context.Context, *Conn) error { return io.EOF })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Redial = %v", err)
		}
	})
}
