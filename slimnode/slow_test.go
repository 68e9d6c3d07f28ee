package slimnode

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// flood sends n numbered messages of 1 KiB to bob1 and counts what was taken.
func flood(a *app, n int, done *atomic.Int32) {
	a.done.Go(func() {
		for i := range n {
			if a.link.Send(context.Background(), numbered(bob1, i, 1024)) != nil {
				return
			}
			done.Add(1)
		}
	})
}

func TestSlowConsumerIsLossless(t *testing.T) {
	const total = 20_000
	inBubble(t, Config{}, func(t *testing.T, h *harness) {
		slow := h.dial()
		slow.send(subscribeFrame(1, bob1))
		a, c, d := h.app(alice), h.app(alice), h.app(bob2)
		defer slow.close()
		defer a.close()
		defer c.close()
		defer d.close()
		var sent atomic.Int32
		flood(a, total, &sent)
		synctest.Wait()
		stalled := sent.Load()
		if stalled == 0 || stalled == total {
			t.Fatalf("the sender was not held up: %d taken", stalled)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if sent.Load() != stalled {
			t.Errorf("taken without room: %d, then %d", stalled, sent.Load())
		}
		if q := h.node.snapshot()[0]; h.node.Stats().Forwarded > total/2 {
			t.Errorf("the node holds %d messages, queue %+v", h.node.Stats().Forwarded, q.link.Stats())
		}
		for range 1000 { // others do not notice
			c.send(publish(bob2))
		}
		wantCounts(t, "meanwhile", []int{1000}, d)

		slow.listen()
		got := slow.take()
		if len(got) != total {
			t.Fatalf("got %d of %d", len(got), total)
		}
		for i, f := range got {
			if seq(f) != i {
				t.Fatalf("message %d has number %d", i, seq(f))
			}
		}
		if s := h.node.Stats(); s.StuckConns != 0 || s.DroppedGone != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestStuckConsumerIsDisconnected(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *harness) {
		stuck := h.dial()
		stuck.send(subscribeFrame(1, bob1))
		a, d := h.app(alice), h.app(bob2)
		defer stuck.close()
		defer a.close()
		defer d.close()
		idle := h.dial() // reads nothing, but nobody waits for it
		idle.send(subscribeFrame(1, bob.Service()))
		defer idle.close()
		var sent atomic.Int32
		flood(a, 20_000, &sent)
		start := time.Now()
		time.Sleep(DefaultStuckTimeout - time.Second)
		synctest.Wait()
		if s := h.node.Stats(); s.StuckConns != 0 || s.Conns != 4 {
			t.Fatalf("ended too early: %+v", s)
		}
		time.Sleep(DefaultStuckTimeout / 5)
		synctest.Wait()
		if sent.Load() != 20_000 {
			t.Errorf("the sender still waits after %v: %d taken", time.Since(start), sent.Load())
		}
		s := h.node.Stats()
		if s.StuckConns != 1 || s.Conns != 3 || s.DroppedNoMatch == 0 {
			t.Errorf("stats %+v", s)
		}
		stuck.listen()
		stuck.done.Wait()
		if stuck.err == nil {
			t.Error("the stuck link lives")
		}
		a.send(publish(bob2))
		wantCounts(t, "the rest goes on", []int{1}, d)
	})
}

// A fan-out goes on when one target is gone.
func TestFanoutPastStuckTarget(t *testing.T) {
	inBubble(t, Config{StuckTimeout: time.Second}, func(t *testing.T, h *harness) {
		stuck := h.dial() // the first in order
		stuck.send(subscribeFrame(1, bob1))
		b, a := h.app(bob1), h.app(alice)
		defer stuck.close()
		defer b.close()
		defer a.close()
		const total = 5000
		a.done.Go(func() {
			for i := range total {
				if a.link.Send(context.Background(), publish(bob1, fanout(256), payload(make([]byte, 1024+i%2)))) != nil {
					return
				}
			}
		})
		time.Sleep(time.Minute)
		wantCounts(t, "the healthy target", []int{total}, b)
		if s := h.node.Stats(); s.StuckConns != 1 || s.DroppedGone == 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestDrain(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *harness) {
		slow, a := h.dial(), h.app(alice)
		slow.send(subscribeFrame(1, bob1))
		defer slow.close()
		defer a.close()
		var sent atomic.Int32
		flood(a, 20_000, &sent)
		synctest.Wait()
		queued := int(h.node.Stats().Forwarded)
		var drained atomic.Bool
		wait := make(chan error, 1)
		go func() {
			err := h.node.Drain(t.Context())
			drained.Store(true)
			wait <- err
		}()
		synctest.Wait()
		if drained.Load() {
			t.Fatal("drained although nothing was read")
		}
		slow.listen()
		if err := <-wait; err != nil {
			t.Errorf("Drain: %v", err)
		}
		slow.done.Wait()
		if !errors.Is(slow.err, io.EOF) {
			t.Errorf("the link ended with %v, want a regular end", slow.err)
		}
		if got := len(slow.take()); got < queued {
			t.Errorf("got %d, but %d were queued when Drain began", got, queued)
		}
	})
}

func TestDrainTimeout(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *harness) {
		slow, a := h.dial(), h.app(alice)
		slow.send(subscribeFrame(1, bob1))
		defer slow.close()
		defer a.close()
		var sent atomic.Int32
		flood(a, 10_000, &sent)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if err := h.node.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain: %v", err)
		}
		if d := time.Since(start); d > 6*time.Second {
			t.Errorf("took %v", d)
		}
	})
}
