package session_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// footprint is what is alive in this process.
type footprint struct{ heap, goroutines int }

func measure() footprint {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{heap: int(m.HeapAlloc + m.StackInuse), goroutines: runtime.NumGoroutine()}
}

// report gives what n ends of sessions cost; both ends are in this process.
func (f footprint) report(b *testing.B, n int, took time.Duration) {
	now := measure()
	b.ReportMetric(float64(now.heap-f.heap)/float64(n), "B/end")
	b.ReportMetric(float64(now.goroutines-f.goroutines)/float64(n), "goroutines/end")
	b.ReportMetric(float64(n)/took.Seconds()/2, "setups/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIdleSessions opens 1000 MLS sessions between two apps and leaves them
// idle.
func BenchmarkIdleSessions(b *testing.B) {
	const n = 1000
	for b.Loop() {
		nw := testnet.New(b, testnet.Options{})
		alice, bob := nw.App("org/ns/alice", nil), nw.App("org/ns/bob", nil)
		l, err := bob.Listen(session.ListenOptions{Backlog: n})
		if err != nil {
			b.Fatal(err)
		}
		empty, start := measure(), time.Now()
		opened := make(chan error, n)
		for range 8 {
			go func() {
				for range n / 8 {
					_, err := alice.Open(b.Context(), bob.Name(), session.Options{})
					opened <- err
				}
			}()
		}
		for range n {
			if err := <-opened; err != nil {
				b.Fatal(err)
			}
			if _, err := l.Accept(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		empty.report(b, 2*n, time.Since(start))
		_, _ = alice.Close(), bob.Close()
		nw.StopNode()
	}
}

// BenchmarkIdleGroups opens groups of two and of nine and leaves them idle. An end
// is one app's view of one group; what it costs for each other member is in
// B/member. Each end has one goroutine with one timer, whatever its size.
func BenchmarkIdleGroups(b *testing.B) {
	const n = 50
	for b.Loop() {
		pairs, _ := groupsOf(b, n, 2)
		nines, goroutines := groupsOf(b, n, 9)
		// An end costs end + others * member.
		member := (nines/9 - pairs/2) / 7
		b.ReportMetric(member, "B/member")
		b.ReportMetric(pairs/2-member, "B/end")
		b.ReportMetric(goroutines/9, "goroutines/end")
		b.ReportMetric(0, "ns/op")
	}
}

// groupsOf opens n groups of a size, and returns what one of them costs.
func groupsOf(b *testing.B, n, size int) (heap, goroutines float64) {
	nw := testnet.New(b, testnet.Options{})
	defer nw.StopNode()
	moderator := nw.App("org/ns/moderator", nil)
	var listeners []*session.GroupListener
	var members []*session.App
	for i := range size - 1 {
		app := nw.App(fmt.Sprint("org/ns/member", i), nil)
		l, err := app.ListenGroups(session.GroupListenOptions{AnyModerator: true})
		if err != nil {
			b.Fatal(err)
		}
		listeners, members = append(listeners, l), append(members, app)
	}
	empty := measure()
	for k := range n {
		g, err := moderator.CreateGroup(b.Context(), name.New("org", "ns", fmt.Sprint("channel", k)), session.GroupOptions{})
		if err != nil {
			b.Fatal(err)
		}
		for i, m := range members {
			if err := g.Invite(b.Context(), m.Name(), session.InviteOptions{}); err != nil {
				b.Fatal(err)
			}
			if _, err := listeners[i].Accept(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	time.Sleep(12 * time.Second) // keys of past epochs are dropped after the retries of a message
	now := measure()
	_ = moderator.Close()
	for _, m := range members {
		_ = m.Close()
	}
	return float64(now.heap-empty.heap) / float64(n), float64(now.goroutines-empty.goroutines) / float64(n)
}

// BenchmarkGroupOf9 sets up groups of nine and sends messages from one to the
// other eight.
func BenchmarkGroupOf9(b *testing.B) {
	nw := testnet.New(b, testnet.Options{})
	moderator := nw.App("org/ns/moderator", nil)
	var listeners []*session.GroupListener
	var members []name.Name
	for i := range 8 {
		app := nw.App(fmt.Sprint("org/ns/member", i), nil)
		l, err := app.ListenGroups(session.GroupListenOptions{AnyModerator: true})
		if err != nil {
			b.Fatal(err)
		}
		listeners, members = append(listeners, l), append(members, app.Name())
	}
	set := func(b *testing.B) (g *session.Group, others []*session.Group) {
		g, err := moderator.CreateGroup(b.Context(), chatChannel, session.GroupOptions{})
		if err != nil {
			b.Fatal(err)
		}
		for i, n := range members {
			if err := g.Invite(b.Context(), n, session.InviteOptions{}); err != nil {
				b.Fatal(err)
			}
			other, err := listeners[i].Accept(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			others = append(others, other)
		}
		return g, others
	}
	b.Run("set up", func(b *testing.B) {
		for b.Loop() {
			g, _ := set(b)
			b.StopTimer()
			_ = g.Close()
			b.StartTimer()
		}
	})
	b.Run("one to eight 256B", func(b *testing.B) {
		g, others := set(b)
		defer g.Close() //nolint:errcheck // returns nil
		ctx, payload := context.Background(), make([]byte, 256)
		for b.Loop() {
			if _, err := g.Publish(ctx, session.Message{Payload: payload}); err != nil {
				b.Fatal(err)
			}
			for _, o := range others {
				if _, err := o.Receive(ctx); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
