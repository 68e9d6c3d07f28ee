package session_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// slowConn takes its time to read, so that acknowledgements of the node do.
type slowConn struct{ net.Conn }

func (c slowConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	time.Sleep(50 * time.Millisecond)
	return n, err
}

// Two groups of one channel: a member enters the second while it leaves the
// first. It must hear the second.
func TestGroupFollowsGroupOnChannel(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		t.Cleanup(func() { time.Sleep(time.Second) }) // the last read of a slowConn
		first := newHall(t, nw, 0, session.GroupOptions{})
		app := nw.App("org/ns/member", func(c *session.Config) {
			c.NetDial = func(ctx context.Context, addr string) (net.Conn, error) {
				conn, err := nw.Dial(ctx, addr)
				if err != nil {
					return nil, err
				}
				return slowConn{conn}, nil
			}
		})
		l, err := app.ListenGroups(session.GroupListenOptions{AnyModerator: true})
		if err != nil {
			t.Fatal(err)
		}
		left := first.enter(app, l)
		// unreliable, since else what is said to the channel would come as a retransmission
		g, err := first.apps[0].CreateGroup(t.Context(), chatChannel, session.GroupOptions{Delivery: session.Unreliable})
		if err != nil {
			t.Fatal(err)
		}
		second := &hall{t: t, nw: nw, apps: first.apps, groups: []*session.Group{g}}
		var held []*wire.Frame // the end of the first group, until the member enters the second
		nw.Tap(func(f *wire.Frame) []*wire.Frame {
			switch testnet.Type(f) {
			case closeType:
				held = append(held, f)
				return nil
			case welcomeType:
				return append(held, f)
			}
			return testnet.Pass(f)
		})
		go func() { _ = first.groups[0].Close() }()
		synctest.Wait()
		second.enter(app, l)
		nw.Tap(nil)
		<-left.Done()
		time.Sleep(time.Second)
		second.talk()
		time.Sleep(time.Minute)
		second.agree()
		second.talk()
	})
}

// Members that leave as soon as they enter do not stay subscribed.
func TestGroupLeavesChannel(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		app := nw.App("org/ns/member", nil)
		if _, err := app.ListenGroups(session.GroupListenOptions{AnyModerator: true}); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			h := newHall(t, nw, 0, session.GroupOptions{})
			var bye []*wire.Frame // to be heard together with the welcome
			nw.Tap(func(f *wire.Frame) []*wire.Frame {
				if testnet.Type(f) == welcomeType && bye == nil {
					go func() { _ = h.groups[0].Close() }()
					bye = []*wire.Frame{f}
					return nil
				}
				if testnet.Type(f) == closeType || testnet.Type(f) == leaveType {
					return append(bye, f)
				}
				return testnet.Pass(f)
			})
			_ = h.groups[0].Invite(t.Context(), app.Name(), session.InviteOptions{})
			time.Sleep(time.Minute)
			nw.Tap(nil)
			heard := 0
			nw.Tap(func(f *wire.Frame) []*wire.Frame {
				heard++
				return nil
			})
			r := newRogue(t, nw, "org/ns/moderator", testnet.Identity(t, testnet.Secret, "org/ns/moderator"))
			r.say(h.groups[0].ID(), h.groups[0].Channel(), heartbeatType, nil)
			time.Sleep(time.Second)
			nw.Tap(nil)
			if heard > 0 {
				t.Fatal("the channel of a group that is over is still subscribed")
			}
		}
	})
}
