package session_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

var serviceName = name.MustParse("org/ns/service")

// serve answers every message of every session with its own number.
func serve(t *testing.T, app *session.App, number int, delay time.Duration) {
	t.Helper()
	l, err := app.Listen(session.ListenOptions{Security: session.AllowPlain})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	go func() { // ends with the app
		for {
			s, err := l.Accept(ctx)
			if err != nil {
				return
			}
			go func() {
				for m := range s.Messages(ctx) {
					time.Sleep(delay)
					_, _ = s.Publish(ctx, session.Message{Payload: fmt.Appendf(nil, "%d answers %s", number, m.Payload)})
				}
			}()
		}
	}()
}

// asked counts by whom n requests were answered.
func asked(t *testing.T, c *session.Anycast, n int) map[int]int {
	t.Helper()
	by := map[int]int{}
	for i := range n {
		m, err := c.Request(t.Context(), session.Message{Payload: fmt.Append(nil, i)}, time.Minute)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		var number, question int
		if _, err := fmt.Sscanf(string(m.Payload), "%d answers %d", &number, &question); err != nil || question != i {
			t.Fatalf("request %d: got %q", i, m.Payload)
		}
		by[number]++
	}
	return by
}

func TestAnycastSpreads(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		for i := range 3 {
			serve(t, nw.App(serviceName.Path(), nil), i, 0)
		}
		c, err := nw.App("org/ns/client", nil).OpenAnycast(t.Context(), serviceName, session.AnycastOptions{Security: session.AllowPlain})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // returns nil
		time.Sleep(5 * time.Second)
		if n := len(c.Instances()); n != 3 || c.Sticky() {
			t.Fatalf("%d instances, sticky %v", n, c.Sticky())
		}
		if by := asked(t, c, 30); len(by) != 3 || by[0] != 10 || by[1] != 10 {
			t.Errorf("answers by instance: %v", by)
		}
	})
}

// TestAnycastFollows: instances that come are used, those that go are not.
func TestAnycastFollows(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		first := nw.App(serviceName.Path(), nil)
		serve(t, first, 1, 0)
		c, err := nw.App("org/ns/client", nil).OpenAnycast(t.Context(), serviceName, session.AnycastOptions{Security: session.AllowPlain})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // returns nil
		if by := asked(t, c, 5); by[1] != 5 {
			t.Errorf("one instance: %v", by)
		}
		serve(t, nw.App(serviceName.Path(), nil), 2, 0)
		time.Sleep(time.Minute)
		if by := asked(t, c, 10); by[1] != 5 || by[2] != 5 {
			t.Errorf("two instances: %v", by)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if by := asked(t, c, 10); by[2] != 10 {
			t.Errorf("after the first went: %v", by)
		}
	})
}

// TestAnycastRequestsRunInParallel: three slow instances answer six requests in
// the time of two.
func TestAnycastRequestsRunInParallel(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		for i := range 3 {
			serve(t, nw.App(serviceName.Path(), nil), i, 10*time.Second)
		}
		c, err := nw.App("org/ns/client", nil).OpenAnycast(t.Context(), serviceName, session.AnycastOptions{Security: session.AllowPlain})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // returns nil
		time.Sleep(5 * time.Second)
		start, answers := time.Now(), make(chan string)
		for i := range 6 {
			go func() {
				m, err := c.Request(t.Context(), session.Message{Payload: fmt.Append(nil, i)}, time.Minute)
				answers <- fmt.Sprint(i, string(m.Payload[2:]), err)
			}()
		}
		for range 6 {
			var i, k int
			if got := <-answers; got == "" {
				t.Error("no answer")
			} else if _, err := fmt.Sscanf(got, "%danswers %d", &i, &k); err != nil || i != k {
				t.Errorf("got %q", got)
			}
		}
		if took := time.Since(start); took > 25*time.Second {
			t.Errorf("six requests took %v", took)
		}
	})
}

func TestAnycastWithMLSIsSticky(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		for i := range 3 {
			serve(t, nw.App(serviceName.Path(), nil), i, 0)
		}
		c, err := nw.App("org/ns/client", nil).OpenAnycast(t.Context(), serviceName, session.AnycastOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // returns nil
		time.Sleep(time.Minute)
		if by := asked(t, c, 9); len(by) != 1 || !c.Sticky() {
			t.Errorf("answers by instance: %v, sticky %v", by, c.Sticky())
		}
	})
}

func TestAnycastNobody(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		client := nw.App("org/ns/client", nil)
		if _, err := client.OpenAnycast(t.Context(), serviceName, session.AnycastOptions{}); !isCode(err, session.CodeNoPeer) {
			t.Fatalf("nobody there: %v", err)
		}
		only := nw.App(serviceName.Path(), nil)
		serve(t, only, 1, 0)
		c, err := client.OpenAnycast(t.Context(), serviceName, session.AnycastOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_ = only.Close()
		time.Sleep(time.Second)
		if _, err := c.Request(t.Context(), session.Message{Payload: []byte("x")}, time.Minute); !isCode(err, session.CodeNoPeer) {
			t.Errorf("the only one is gone: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Publish(t.Context(), session.Message{}); !isCode(err, session.CodeClosed) {
			t.Errorf("publish after Close: %v", err)
		}
	})
}

// What a search did not find earlier says nothing about the next one.
func TestAnycastForgetsFailures(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		first := nw.App("org/ns/service", nil)
		serve(t, first, 1, 0)
		c, err := nw.App("org/ns/client", nil).OpenAnycast(t.Context(), serviceName, session.AnycastOptions{Security: session.AllowPlain})
		if err != nil {
			t.Fatal(err)
		}
		asked(t, c, 1)
		_ = first.Close()
		time.Sleep(time.Minute) // searches fail
		second := nw.App("org/ns/service", nil)
		serve(t, second, 2, 0)
		time.Sleep(time.Minute)
		asked(t, c, 1)
		_ = second.Close()
		time.Sleep(100 * time.Millisecond)
		serve(t, nw.App("org/ns/service", nil), 3, 0)
		if by := asked(t, c, 1); by[3] != 1 {
			t.Errorf("answers by instance: %v", by)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The goroutines of an Anycast end with its app, and its sessions are not kept.
func TestAnycastEndsWithTheApp(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := newKeeping(t, nw, "org/ns/alice"), nw.App("org/ns/bob", nil)
		if _, err := bob.Listen(session.ListenOptions{Security: session.AllowPlain}); err != nil {
			t.Fatal(err)
		}
		c, err := alice.OpenAnycast(t.Context(), bob.Name().Service(), session.AnycastOptions{Security: session.AllowPlain})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Publish(t.Context(), session.Message{Payload: []byte("hello")}); err != nil {
			t.Fatal(err)
		}
		if n := alice.state.count("/"); n != 1 {
			t.Errorf("%d records of sessions are kept", n-1)
		}
		if err := alice.Suspend(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Receive(t.Context()); !isCode(err, session.CodeClosed) {
			t.Errorf("receive: %v", err)
		}
		alice.dial()
		if sessions, _ := alice.Resumed(); len(sessions) != 0 {
			t.Errorf("%d sessions were resumed", len(sessions))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
