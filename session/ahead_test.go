package session_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// A member takes no message more than 1024 generations beyond the last one it
// decrypted, and every retransmission is a generation. So what is retransmitted
// to a peer that cannot be reached must not make deaf, neither it nor others.

// unreachable loses, while it is true, what goes to a peer and, if mute, what
// comes from it. A group's messages reach it nevertheless, but nobody knows.
func unreachable(nw *testnet.Network, peer name.Name, mute bool) *atomic.Bool {
	gone := new(atomic.Bool)
	nw.Tap(func(f *wire.Frame) []*wire.Frame {
		h := f.Header()
		if gone.Load() && (h.Destination.Key() == peer.Key() || mute && h.Source.Key() == peer.Key()) {
			return nil
		}
		return testnet.Pass(f)
	})
	return gone
}

type publisher interface {
	Publish(ctx context.Context, m session.Message) (*session.Receipt, error)
}

type receiver interface {
	Receive(ctx context.Context) (session.Message, error)
}

// stream publishes n messages as fast as it may, in the background.
func stream(t *testing.T, from publisher, n int) (receipts <-chan *session.Receipt) {
	out := make(chan *session.Receipt, n)
	go func() {
		defer close(out)
		for i := range n {
			r, err := from.Publish(t.Context(), session.Message{Payload: fmt.Append(nil, i)})
			if err != nil {
				t.Errorf("publish %d: %v", i, err)
				return
			}
			out <- r
		}
	}()
	return out
}

// hear receives n messages in order.
func hear(t *testing.T, at receiver, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range n {
		m, err := at.Receive(ctx)
		if err != nil || string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d: %q, %v", i, m.Payload, err)
		}
	}
}

func TestPeerReachableAgain(t *testing.T) {
	for _, responds := range []bool{false, true} {
		for _, tc := range []struct {
			outage  time.Duration
			retries int
		}{{3 * time.Second, 0}, {4500 * time.Millisecond, 5}, {6 * time.Second, 0}, {8 * time.Second, 0}} {
			t.Run(fmt.Sprintf("responder=%v/%v/%d", responds, tc.outage, tc.retries), func(t *testing.T) {
				bubble(t, func(t *testing.T, nw *testnet.Network) {
					from, to := pairUp(t, nw, session.Options{MaxRetries: tc.retries}, session.ListenOptions{})
					if responds {
						from, to = to, from
					}
					send(t, from, "first")
					expect(t, to, "first")
					time.Sleep(time.Second) // acknowledged
					gone := unreachable(nw, to.Local(), false)
					gone.Store(true)
					receipts := stream(t, from, 600)
					time.Sleep(tc.outage)
					gone.Store(false)
					hear(t, to, 600)
					for r := range receipts {
						if err := r.Wait(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
				})
			})
		}
	}
}

func TestMemberDeadOthersHear(t *testing.T) {
	for _, speaker := range []int{0, 1} {
		for _, retries := range []int{0, 5} {
			t.Run(fmt.Sprintf("speaker %d/%d", speaker, retries), func(t *testing.T) {
				bubble(t, func(t *testing.T, nw *testnet.Network) {
					h := newHall(t, nw, 3, session.GroupOptions{MaxRetries: retries})
					h.talk()
					time.Sleep(time.Second) // acknowledged
					dead := h.groups[3]
					unreachable(nw, dead.Local(), true).Store(true)
					h.out(dead)
					from := h.groups[speaker]
					receipts := stream(t, from, 1000)
					for _, g := range h.groups {
						if g != from {
							hear(t, g, 1000)
						}
					}
					for r := range receipts {
						<-r.Done()
					}
					time.Sleep(time.Minute) // all know that it is gone
					h.talk()
					h.talk()
				})
			})
		}
	}
}

// Several members that come back at once need more than can be sent again for the
// sake of another that has everything: then new keys help.
func TestMembersReachableAgain(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 6, session.GroupOptions{})
		h.talk()
		time.Sleep(time.Second) // acknowledged
		nw.Tap(func(f *wire.Frame) []*wire.Frame {
			for _, g := range h.groups[2:] {
				if f.Header().Destination.Key() == g.Local().Key() || f.Header().Source.Key() == g.Local().Key() {
					return nil
				}
			}
			return testnet.Pass(f)
		})
		receipts := stream(t, h.groups[0], 256)
		time.Sleep(7500 * time.Millisecond)
		nw.Tap(nil)
		for r := range receipts {
			if err := r.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, g := range h.groups[1:] {
			hear(t, g, 256)
		}
		h.talk()
	})
}

// Who is deaf to somebody in spite of all gets new keys. Without
// acknowledgements a sender cannot spare any.
func TestDeafGetNewKeys(t *testing.T) {
	lost := func(t *testing.T, nw *testnet.Network, from publisher) {
		t.Helper()
		nw.Tap(func(f *wire.Frame) []*wire.Frame {
			if testnet.Type(f) == pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG {
				return nil
			}
			return testnet.Pass(f)
		})
		for r := range stream(t, from, 1100) {
			<-r.Done()
		}
		time.Sleep(time.Second) // all are lost
		nw.Tap(nil)
	}
	for _, responds := range []bool{false, true} {
		t.Run(fmt.Sprintf("responder=%v", responds), func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				from, to := pairUp(t, nw, session.Options{Delivery: session.Unreliable}, session.ListenOptions{})
				if responds {
					from, to = to, from
				}
				lost(t, nw, from)
				send(t, from, "not understood")
				time.Sleep(3 * time.Second)
				send(t, from, "understood")
				expect(t, to, "understood")
				before := to.Epoch()
				lost(t, nw, from)
				send(t, from, "not understood")
				time.Sleep(3 * time.Second)
				if to.Epoch() != before {
					t.Error("new keys again after a few seconds")
				}
				time.Sleep(5 * time.Minute)
				send(t, from, "again understood")
				expect(t, to, "again understood")
			})
		})
	}
	for _, speaker := range []int{0, 1} {
		t.Run(fmt.Sprint("group speaker ", speaker), func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				h := newHall(t, nw, 3, session.GroupOptions{Delivery: session.Unreliable})
				h.talk()
				from := h.groups[speaker]
				lost(t, nw, from)
				if _, err := from.Publish(t.Context(), session.Message{Payload: []byte("not understood")}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				h.agree()
				h.talk()
			})
		})
	}
}

// A member that comes back deaf gets new keys from the moderator, even if it does
// not ask for any: the real library does not.
func TestMemberBackDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var dead name.Key
		var link slimnode.ConnID
		var gone bool
		nw := testnet.New(t, testnet.Options{Node: func(c *slimnode.Config) {
			c.Tap = func(from, to slimnode.ConnID, f *wire.Frame) []*wire.Frame {
				mu.Lock()
				defer mu.Unlock()
				if f.Header().Source.Key() == dead {
					link = from
				}
				if gone && (from == link || to == link) || testnet.Type(f) == pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST {
					return []*wire.Frame{}
				}
				return nil
			}
		}})
		vanish := func(yes bool) {
			mu.Lock()
			defer mu.Unlock()
			gone = yes
		}
		h := newHall(t, nw, 2, session.GroupOptions{})
		member := h.groups[2]
		mu.Lock()
		dead = member.Local().Key()
		mu.Unlock()
		h.talk()
		time.Sleep(time.Second) // acknowledged, and the link is known
		vanish(true)
		h.out(member)
		receipts := stream(t, h.groups[0], 1200)
		hear(t, h.groups[1], 1200)
		for r := range receipts {
			<-r.Done()
		}
		vanish(false)
		time.Sleep(time.Minute)
		if _, err := h.groups[0].Publish(t.Context(), session.Message{Payload: []byte("back?")}); err != nil {
			t.Fatal(err)
		}
		for _, g := range h.groups[1:] {
			if m, err := g.Receive(t.Context()); err != nil || string(m.Payload) != "back?" {
				t.Fatalf("%q, %v", m.Payload, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		m, err := member.Receive(ctx)
		for isCode(err, session.CodeMessagesLost) || err == nil && string(m.Payload) != "back?" { // what is kept
			m, err = member.Receive(ctx)
		}
		if err != nil || string(m.Payload) != "back?" {
			t.Fatalf("%q, %v", m.Payload, err)
		}
		h.groups = append(h.groups, member)
		h.agree()
		h.talk()
	})
}
