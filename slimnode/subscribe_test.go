package slimnode

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/link"
	"github.com/slimbridge/slimbridge/slimnode/link/linktest"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

func TestAcks(t *testing.T) {
	inBubble(t, Config{MaxSubscriptionsPerConn: 2}, func(t *testing.T, h *harness) {
		a, b := h.app(), h.app()
		defer a.close()
		defer b.close()
		other := name.MustParse("org/ns/other")
		for _, step := range []struct {
			what  string
			app   *app
			unsub bool
			id    uint64
			name  name.Name
			want  string // error text; "-" is no ack at all
		}{
			{"subscribe", a, false, 5, bob1, ""},
			{"repeated", a, false, 5, bob1, ""},
			{"the same id elsewhere", b, false, 5, bob2, ""},
			{"id 0", a, false, 0, bob2, "-"},
			{"one too many", a, false, 6, alice, "too many subscriptions on this connection: at most 2"},
			{"unsubscribe an unknown name", a, true, 5, other, "subscription not found"},
			{"of another", b, true, 5, bob1, "subscription id not found: 5"},
			{"unknown id of the name", a, true, 5, bob.WithID(name.ID{Lo: 3}), "id not found: 00000000-0000-0000-0000-000000000003"},
			{"by name, since the id is unknown", a, true, 4711, bob2, ""},
			{"id 0 that does not exist", a, true, 0, bob2, "-"},
			{"unsubscribe", a, true, 5, bob1, ""},
			{"again", a, true, 5, bob1, "id not found: 00000000-0000-0001-0000-000000000001"},
			{"unsubscribe elsewhere", b, true, 5, bob2, ""},
		} {
			call := step.app.subscribe
			if step.unsub {
				call = step.app.unsubscribe
			}
			ack := call(step.id, step.name)
			switch {
			case step.want == "-":
				if ack != nil {
					t.Errorf("%s: got %v, want no ack", step.what, ack)
				}
			case ack.GetError() != step.want || ack.GetSuccess() != (step.want == ""):
				t.Errorf("%s: got %v, want error %q", step.what, ack, step.want)
			}
		}
		if s := h.node.Stats(); s.Subscriptions != 0 || s.Names != 0 || s.Subscribes != 5 || s.Unsubscribes != 8 || s.Rejected != 6 {
			t.Errorf("stats %+v", s)
		}
	})
}

// Two clients with one subscription id: the end of one takes nothing of the
// other, and leaves no route to whoever comes next.
func TestSameSubscriptionID(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *harness) {
		a, b1, b2 := h.app(alice), h.app(bob1), h.app(bob2) // all use id 1
		defer a.close()
		defer b2.close()
		b1.close()
		synctest.Wait()
		stranger := h.app()
		defer stranger.close()
		a.send(publish(bob1))
		a.send(publish(bob2))
		wantCounts(t, "after one left", []int{0, 1, 0}, a, b2, stranger)
		if s := h.node.Stats(); s.Subscriptions != 2 || s.DroppedNoMatch != 1 {
			t.Errorf("stats %+v", s)
		}
	})
}

// A client that restores its subscriptions as the real one does, with id 0, at
// a restarted node.
func TestNodeRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newHarness(t, Config{})
		var at atomic.Pointer[linktest.Listener]
		at.Store(first.grpc)
		links := make(chan *link.Conn)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		redialled := make(chan error, 1)
		go func() {
			redialled <- link.Redial(ctx, "http://node:1", link.DialConfig{
				LinkID:  "keeps-its-id",
				NetDial: func(ctx context.Context, addr string) (net.Conn, error) { return at.Load().Dial(ctx, addr) },
			}, link.Backoff{}, func(_ context.Context, c *link.Conn) error {
				select {
				case links <- c:
				case <-ctx.Done():
				}
				select {
				case <-c.Done():
				case <-ctx.Done():
				}
				return c.Err()
			})
		}()
		b := (&app{t: t, link: <-links}).listen()
		b.subscribe(42, bob1)
		b.subscribe(43, bob2)
		first.close()
		b.done.Wait()
		time.Sleep(time.Second) // nobody listens: the client tries and waits
		second := newHarness(t, Config{})
		defer second.close()
		at.Store(second.grpc)
		b = (&app{t: t, link: <-links}).listen()
		b.subscribe(0, bob1)
		b.subscribe(0, bob2)

		a := second.app(alice)
		defer a.close()
		a.send(publish(bob1))
		a.send(publish(bob2))
		wantCounts(t, "restored", []int{2}, b)
		if ack := b.unsubscribe(42, bob1); !ack.GetSuccess() {
			t.Errorf("unsubscribe with the old id: %v", ack)
		}
		a.send(publish(bob1))
		a.send(publish(bob2))
		wantCounts(t, "one left", []int{1}, b)
		cancel()
		if err := <-redialled; !errors.Is(err, context.Canceled) {
			t.Errorf("Redial: %v", err)
		}
		b.close()
		stranger := second.app()
		defer stranger.close()
		a.send(publish(bob2))
		wantCounts(t, "after the end", []int{0}, stranger)
		if s := second.node.Stats(); s.Subscriptions != 1 {
			t.Errorf("stats %+v", s)
		}
	})
}
