package link

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
)

func TestOutboxBytes(t *testing.T) {
	o := newOutbox(nil)
	big := item{size: OutboxBytes + 1}
	if err := o.push(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if err := o.push(ctx, item{size: 1}); !errors.Is(err, gone) {
		t.Errorf("push into a full outbox = %v", err)
	}
	if _, ok := o.pop(); !ok || o.bytes != 0 {
		t.Errorf("%d bytes left", o.bytes)
	}
	if err := o.push(ctx, item{size: 1}); err != nil {
		t.Errorf("push with room = %v", err)
	}
	o.close(io.EOF)
	o.close(gone)
	if err := o.push(t.Context(), item{}); !errors.Is(err, io.EOF) {
		t.Errorf("push into a closed outbox = %v", err)
	}
}

// Waiting senders get in as they came, also when one gives up.
func TestOutboxFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(nil)
		for range OutboxFrames {
			if err := o.push(t.Context(), item{size: 1}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 5 {
			ctx := ctx
			if i != 1 {
				ctx = t.Context()
			}
			go func() { _ = o.push(ctx, item{size: 10 + i}) }()
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		var got []int
		for {
			it, ok := o.pop()
			if !ok {
				break
			}
			if it.size >= 10 {
				got = append(got, it.size)
			}
		}
		if want := []int{10, 12, 13, 14}; len(got) != 4 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
			t.Errorf("order %v, want %v", got, want)
		}
	})
}
