package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// switchable is a tap for a node with real links, changed while it runs.
type switchable struct {
	mu  sync.Mutex
	tap testnet.Tap
}

func (s *switchable) set(t testnet.Tap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tap = t
}

func (s *switchable) onFrame(f *wire.Frame) []*wire.Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tap == nil {
		return nil
	}
	if out := s.tap(f); out != nil {
		return out
	}
	return []*wire.Frame{}
}

// Our node drops, duplicates and reorders a fifth of the data between a real
// application and ours; everything is recovered in order, in both roles.
// Control messages pass: real peers cannot recover the loss of their replies.
func TestInteropLoss(t *testing.T) {
	p := realslim.Require(t)
	for _, kind := range realslim.Kinds {
		for _, mls := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s mls=%v", kind, mls), func(t *testing.T) {
				var hook switchable
				endpoint := tappedNode(t, realslim.NodeOptions{Strict: true}, hook.onFrame)
				realEcho := startTalker(t, p, kind, talkerOptions{endpoint: endpoint, name: "org/ns/real", echo: true, strict: true})
				ourEcho := startTalker(t, p, ours, talkerOptions{endpoint: endpoint, name: "org/ns/ours", echo: true})
				realCaller := startTalker(t, p, kind, talkerOptions{endpoint: endpoint, name: "org/ns/caller", strict: true})
				chaos := testnet.Chaos(3, 0.2)
				hook.set(func(f *wire.Frame) []*wire.Frame {
					if testnet.Type(f) > pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REPLY {
						return testnet.Pass(f)
					}
					return chaos(f)
				})
				for what, pair := range map[string][2]talker{"org/ns/real": {ourEcho, realEcho}, "org/ns/ours": {realCaller, ourEcho}} {
					t.Run("to "+what, func(t *testing.T) {
						ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
						defer cancel()
						c, err := pair[0].open(ctx, what, mls)
						if err != nil {
							t.Fatal(err)
						}
						if err := c.pump(ctx, 200, 256, 32); err != nil {
							t.Error(err)
						}
						_ = c.close(ctx)
					})
				}
			})
		}
	}
}

// Our side rotates the keys while messages flow both ways; real participants
// follow, also when the commit or its acknowledgement is lost.
func TestInteropRotation(t *testing.T) {
	p := realslim.Require(t)
	const update, ack = pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_UPDATE, pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK
	for _, kind := range realslim.Kinds {
		for what, tap := range map[string]testnet.Tap{
			"undisturbed": nil, "commit lost": testnet.Drop(1, update), "acknowledgement lost": testnet.Drop(1, ack),
			"three commits lost": testnet.Drop(3, update),
		} {
			t.Run(fmt.Sprintf("%s, %s", kind, what), func(t *testing.T) {
				var hook switchable
				endpoint := tappedNode(t, realslim.NodeOptions{Strict: true}, hook.onFrame)
				startTalker(t, p, kind, talkerOptions{endpoint: endpoint, name: "org/ns/real", echo: true, strict: true})
				app := ourApp(t, endpoint, "org/ns/ours", func(c *session.Config) { c.RotateMessages = 100 })
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				s, err := app.Open(ctx, name.MustParse("org/ns/real"), session.Options{})
				if err != nil {
					t.Fatal(err)
				}
				hook.set(tap)
				if err := (ourConversation{s}).pump(ctx, 450, 256, 16); err != nil {
					t.Error(err)
				}
				if e := s.Epoch(); e < 4 {
					t.Errorf("epoch %d after 450 messages each way, rotating every 100", e)
				}
				hook.set(nil)
				_ = s.Close()
			})
		}
	}
}
