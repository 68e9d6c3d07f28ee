package slimnode

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// However many subscribers of a channel read nothing, a fan-out is held up for
// one StuckTimeout, not for one after the other.
func TestFanoutToManyStuckConsumers(t *testing.T) {
	for _, k := range []int{1, 10} {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, h *harness) {
				for range k {
					s := h.dial()
					s.send(subscribeFrame(1, bob1))
					defer s.close()
				}
				a := h.app(alice)
				defer a.close()
				synctest.Wait()
				var took atomic.Int64
				start := time.Now()
				a.done.Go(func() {
					for range 8000 {
						if a.link.Send(context.Background(), publish(bob1, fanout(256), payload(make([]byte, 1024)))) != nil {
							return
						}
					}
					took.Store(int64(time.Since(start)))
				})
				time.Sleep(20 * time.Minute)
				if d := time.Duration(took.Load()); d == 0 || d > DefaultStuckTimeout*6/5 {
					t.Errorf("the sender was held up for %v by %d stuck consumers", d, k)
				}
				if s := h.node.Stats(); s.StuckConns != uint64(k) {
					t.Errorf("%d links ended, want %d", s.StuckConns, k)
				}
			})
		})
	}
}
