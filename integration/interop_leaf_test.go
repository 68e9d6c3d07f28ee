package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
)

// A responder of ours renews its leaf in time: SLIM 3.4 takes no data from a
// leaf whose token is older than an hour. The session goes on, both ways.
func TestInteropResponderRenewsItsLeaf(t *testing.T) {
	p := realslim.Require(t)
	endpoint := startNode(t, p, ours, realslim.NodeOptions{})
	for i, kind := range []realslim.Kind{realslim.Core22, realslim.Core34} {
		mine, theirs := fmt.Sprint("org/ns/aged", i), fmt.Sprint("org/ns/real", i)
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			var id *backdated
			app := ourApp(t, endpoint, mine, func(cfg *session.Config) {
				id = &backdated{Provider: cfg.Identity}
				cfg.Identity, cfg.RotateAfter = id, almostStale+5*time.Second-2*time.Minute
			})
			id.age.Store(int64(almostStale))
			l, err := app.Listen(session.ListenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			real := startTalker(t, p, kind, talkerOptions{endpoint: endpoint, name: theirs})
			c, err := real.open(ctx, mine, true)
			if err != nil {
				t.Fatal(err)
			}
			s, err := l.Accept(ctx)
			if err != nil {
				t.Fatal(err)
			}
			id.age.Store(0)
			go func() { // echo
				for m, err := range s.Messages(context.WithoutCancel(ctx)) {
					if err == nil {
						_, _ = s.Publish(context.WithoutCancel(ctx), session.Message{Payload: m.Payload})
					}
				}
			}()
			epoch := s.Epoch()
			time.Sleep(untilStale)
			if s.Epoch() == epoch {
				t.Errorf("still in epoch %d: the leaf was not renewed", epoch)
			}
			if err := c.pump(ctx, 100, 256, 8); err != nil {
				t.Errorf("after the renewal: %v", err)
			}
		})
	}
}
