package session_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
)

// A message that nobody got is sent again to all in one go.
func TestGroupLostBroadcast(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 4, session.GroupOptions{})
		h.talk()
		nw.Tap(testnet.Drop(4, msgType))
		start := time.Now()
		h.talk()
		if took := time.Since(start); took > 1500*time.Millisecond {
			t.Errorf("it took %v until all had a message that was lost once, want one interval", took)
		}
	})
}

// More letters than may wait: every one has its fate told.
func TestGroupManyLetters(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 2, session.GroupOptions{})
		h.talk()
		nw.Tap(testnet.Drop(1<<30, ackType))
		const n = 200
		var receipts []*session.Receipt
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range n {
				r, err := h.groups[0].PublishTo(t.Context(), h.groups[1].Local(), session.Message{Payload: fmt.Append(nil, i)})
				if err != nil {
					t.Error(err)
					return
				}
				receipts = append(receipts, r)
			}
		})
		time.Sleep(3 * time.Second)
		nw.Tap(nil)
		wg.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for i, r := range receipts {
			if err := r.Wait(ctx); err != nil {
				t.Errorf("letter %d: %v", i, err)
			}
		}
		for i := range n {
			if m, err := h.groups[1].Receive(ctx); err != nil || string(m.Payload) != fmt.Sprint(i) || !m.Direct {
				t.Fatalf("letter %d: %q, %v", i, m.Payload, err)
			}
		}
	})
}
