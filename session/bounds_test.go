package session_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// What others can make us hold has bounds, and within them nothing is lost.

// Metadata is not authenticated: a node may inflate it, in vain.
func TestInflatedMetadata(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, b := pairUp(t, nw, session.Options{}, session.ListenOptions{})
		h := &mallet{n: 5, change: func(m *pb.Message) {
			m.Metadata = map[string]string{"x": strings.Repeat("y", 1<<20)}
		}}
		nw.Tap(h.tap)
		for i := range 20 {
			send(t, a, fmt.Sprint(i))
		}
		for i := range 20 {
			m, err := b.Receive(t.Context())
			if err != nil || string(m.Payload) != fmt.Sprint(i) || len(m.Metadata) > 0 {
				t.Fatalf("message %d: %q, %d metadata entries, %v", i, m.Payload, len(m.Metadata), err)
			}
		}
	})
}

// A peer may ask for an unreliable session and flood it; what nobody reads is
// bounded all the same.
func TestUnreliableFlood(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, b := pairUp(t, nw, session.Options{Delivery: session.Unreliable}, session.ListenOptions{})
		for i := range 1500 {
			send(t, a, fmt.Sprint(i))
		}
		synctest.Wait()
		n := 0
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := b.Receive(ctx)
			cancel()
			if err != nil {
				break
			}
			n++
		}
		if n == 0 || n > 1100 {
			t.Errorf("%d messages were kept for a reader that did not read, want about 1024", n)
		}
	})
}

// A reader that pauses loses nothing, also when messages were lost on the way.
func TestSlowReaderLosesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, b := pairUp(t, nw, session.Options{}, session.ListenOptions{})
		const n = 1100
		nw.Tap(losesTwoBefore(n))
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range n {
				send(t, a, fmt.Sprint(i))
			}
		})
		time.Sleep(15 * time.Second) // longer than all retries
		for i := range n {
			expect(t, b, fmt.Sprint(i))
		}
		wg.Wait()
	})
}

// losesTwoBefore loses messages 1000 and 1040, and what is sent in their place
// until message n was passed on. By then all others are acknowledged and wait
// behind the gaps. Then it lets the first gap be filled, which makes the unread
// messages too many, and after it the second, which must be filled all the same.
// If the first were filled earlier, the last messages would be refused and,
// rightly, given up by their sender.
func losesTwoBefore(n uint32) testnet.Tap {
	const first, second = 1000, 1040
	passed, filled := false, false
	return func(f *wire.Frame) []*wire.Frame {
		m, _ := f.Message()
		s := m.GetPublish().GetSession()
		switch id := s.GetMessageId(); s.GetSessionMessageType() {
		case msgType:
			if id == first || id == second {
				return nil
			}
			passed = passed || id == n
		case rtxReplyType: // one that is lost is asked for again after a second
			if !passed || id == second && !filled {
				return nil
			}
			filled = true
		}
		return testnet.Pass(f)
	}
}

// An app that joins and never goes on costs one entry for some seconds.
func TestHalfOpenJoinsAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), nw.App("org/ns/bob", nil)
		l, err := bob.Listen(session.ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		nw.Tap(testnet.Drop(1<<30, welcomeType))
		if _, err := alice.Open(t.Context(), bob.Name().Service(), session.Options{MaxRetries: 2}); !isCode(err, session.CodeTimeout) {
			t.Errorf("open: %v", err)
		}
		time.Sleep(time.Minute)
		nw.Tap(nil)
		s, err := alice.Open(t.Context(), bob.Name().Service(), session.Options{})
		if err != nil {
			t.Fatal(err)
		}
		other, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		send(t, s, "second try")
		expect(t, other, "second try")
	})
}

// Peers cannot make an app hold more than it allows by opening many sessions; when
// there is room again, nothing is missing.
func TestBufferBudget(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		const sessions, each, size, budget = 8, 20, 100 << 10, 4 << 20
		bob := nw.App("org/ns/bob", func(c *session.Config) { c.BufferBytes = budget })
		l, err := bob.Listen(session.ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		alice := nw.App("org/ns/alice", nil)
		var in []*session.Session
		var receipts []*session.Receipt
		payload := make([]byte, size)
		for range sessions {
			a, err := alice.Open(t.Context(), bob.Name().Service(), session.Options{MaxRetries: 30})
			if err != nil {
				t.Fatal(err)
			}
			b, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			in = append(in, b)
			for range each {
				r, err := a.Publish(t.Context(), session.Message{Payload: payload})
				if err != nil {
					t.Fatal(err)
				}
				receipts = append(receipts, r)
			}
		}
		time.Sleep(5 * time.Second)
		acknowledged := 0
		for _, r := range receipts {
			select {
			case <-r.Done():
				acknowledged++
			default:
			}
		}
		// Each session may have its 256 KiB and one message more.
		if most := (budget + sessions*(256<<10+size)) / size; acknowledged > most || acknowledged < budget/size/2 {
			t.Errorf("%d messages of 100 kB were taken, at most %d fit", acknowledged, most)
		}
		for _, b := range in {
			for range each {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				if _, err := b.Receive(ctx); err != nil {
					t.Fatal(err)
				}
				cancel()
			}
		}
	})
}
