package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Our node drops, doubles and reorders a fifth of the data of a group. Between
// real applications and ours, whoever moderates, everything arrives in order.
func TestInteropGroupLoss(t *testing.T) {
	p := realslim.Require(t)
	var hook wiretap
	endpoint := groupNode(t, &hook)
	guests := startGuests(t, p, endpoint, ours, realslim.Core22, realslim.Core34, ours)
	for i := range guests[:3] {
		for _, mls := range []bool{false, true} {
			t.Run(fmt.Sprintf("moderator=%s/mls=%v", guests[i].kind(), mls), func(t *testing.T) {
				hook.set(nil)
				c := newCircle(t, guests[i], "org/ns/hall", mls)
				c.lossy = true
				for j, g := range guests {
					if j != i {
						c.invite(g)
					}
				}
				c.talk() // what a receiver hears first begins the stream: let that be the first
				hook.set(dataChaos(0.2))
				c.chatter(100)
				hook.set(nil)
				c.close()
			})
		}
	}
}

// dataChaos is testnet.Chaos for the data on each link.
func dataChaos(share float64) func(from, to slimnode.ConnID, f *wire.Frame) []*wire.Frame {
	taps := map[slimnode.ConnID]testnet.Tap{}
	return func(_, to slimnode.ConnID, f *wire.Frame) []*wire.Frame {
		if testnet.Type(f) > pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REPLY {
			return testnet.Pass(f)
		}
		if taps[to] == nil {
			taps[to] = testnet.Chaos(uint64(len(taps)), share)
		}
		return taps[to](f)
	}
}

// chatter lets all say n things without waiting for anybody. All must hear what
// a member said in its order.
func (c *circle) chatter(n int) {
	c.t.Helper()
	ctx, cancel := c.bounded()
	defer cancel()
	var wg sync.WaitGroup
	for _, s := range c.seats {
		wg.Go(func() {
			if err := s.sayMany(ctx, n); err != nil {
				c.t.Errorf("%s says: %v", s, err)
			}
		})
		wg.Go(func() {
			if err := s.hearMany(ctx, n, len(c.seats)-1); err != nil {
				c.t.Errorf("%s hears: %v", s, err)
			}
		})
	}
	wg.Wait()
}

func (s *seat) sayMany(ctx context.Context, n int) error {
	var receipts []*session.Receipt
	for i := range n {
		text := fmt.Sprintf("%s says %d", s.path(), i)
		e, ok := s.end.(ourEnd)
		if !ok {
			if err := s.end.say(ctx, text); err != nil {
				return err
			}
			continue
		}
		r, err := e.Publish(ctx, session.Message{Payload: []byte(text)})
		if err != nil {
			return err
		}
		receipts = append(receipts, r)
	}
	for i, r := range receipts {
		if err := r.Wait(ctx); err != nil {
			return fmt.Errorf("message %d: %w; missing: %v", i, err, r.Missing())
		}
	}
	return nil
}

// hearMany takes in n messages of each of the others.
func (s *seat) hearMany(ctx context.Context, n, others int) error {
	next := map[string]int{}
	for range n * others {
		m, err := s.end.hear(ctx)
		if err != nil {
			return fmt.Errorf("%w, after %v", err, next)
		}
		if want := fmt.Sprintf("%s says %d", m.from, next[m.from]); m.text != want {
			return fmt.Errorf("%q of %s, want %q", m.text, m.from, want)
		}
		next[m.from]++
	}
	return nil
}
