package integration

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/slimnode"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Members of all kinds pause and come back under our moderator: into the epoch
// that they left, and into another one because the group grew, or shrank.
func TestInteropGroupReturn(t *testing.T) {
	p := realslim.Require(t)
	endpoint := startNode(t, p, ours, realslim.NodeOptions{Strict: true})
	guests := startGuests(t, p, endpoint, ours, ours, realslim.Core22, realslim.Core34, ours, realslim.Core22, ours)
	for _, mls := range []bool{false, true} {
		t.Run(fmt.Sprintf("mls=%v", mls), func(t *testing.T) {
			c := newCircle(t, guests[0], "org/ns/hall", mls)
			for _, g := range guests[1:4] {
				c.invite(g)
			}
			c.talk()
			travellers := c.seats[1:4]
			for i, s := range travellers {
				c.returnAfter(s, func() {})
				c.returnAfter(s, func() { c.invite(guests[4+i]) })
			}
			c.returnAfter(c.moderator(), func() {})
			if !mls {
				c.close() // what follows is about epochs
				return
			}
			// Some that are away at once.
			for _, s := range travellers {
				c.pause(s)
			}
			c.remove(c.seats[5])
			c.talk()
			for _, s := range travellers {
				c.resume(s)
				c.talk()
			}
			c.close()
		})
	}
}

// returnAfter lets a member pause, something happen, and the member return.
func (c *circle) returnAfter(s *seat, what func()) {
	c.t.Helper()
	c.pause(s)
	what()
	c.talk()
	c.resume(s)
	c.talk()
}

// While a member of ours is away others are removed and invited again; their
// streams begin anew. It must not take what they say for old. (Real members do:
// they acknowledge it and drop it, until the numbers exceed those from before.)
func TestInteropGroupReplacedMeanwhile(t *testing.T) {
	p := realslim.Require(t)
	endpoint := startNode(t, p, ours, realslim.NodeOptions{Strict: true})
	guests := startGuests(t, p, endpoint, ours, ours, ours, realslim.Core22, realslim.Core34)
	for _, mls := range []bool{false, true} {
		t.Run(fmt.Sprintf("mls=%v", mls), func(t *testing.T) {
			c := newCircle(t, guests[0], "org/ns/hall", mls)
			for _, g := range guests[1:] {
				c.invite(g)
			}
			c.talk()
			c.talk()
			c.returnAfter(c.seats[1], func() {
				for _, o := range slices.Clone(c.seats[2:]) {
					c.remove(o)
					c.invite(o.guest)
				}
			})
			c.talk()
			c.close()
		})
	}
}

// Under a real moderator ours comes back into another epoch, and the moderator
// is able to change the group afterwards; real members can only come back into
// the epoch that they left, since the other way hangs the moderator.
func TestInteropGroupReturnRealModerator(t *testing.T) {
	p := realslim.Require(t)
	for _, kind := range realslim.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			endpoint := startNode(t, p, ours, realslim.NodeOptions{Strict: true})
			guests := startGuests(t, p, endpoint, kind, ours, ours, realslim.Core22, realslim.Core34, ours)
			for _, mls := range []bool{false, true} {
				t.Run(fmt.Sprintf("mls=%v", mls), func(t *testing.T) {
					c := newCircle(t, guests[0], "org/ns/hall", mls)
					for _, g := range guests[1:5] {
						c.invite(g)
					}
					c.talk()
					for _, s := range c.seats[1:] {
						c.returnAfter(s, func() {})
					}
					if !mls {
						c.close() // nobody tells one that comes back of new members
						return
					}
					var extra *seat
					c.returnAfter(c.seats[1], func() { extra = c.invite(guests[5]) })
					c.returnAfter(c.seats[2], func() { c.remove(extra) })
					c.invite(guests[5])
					c.talk()
					c.close()
				})
			}
		})
	}
}

// addressBook is a tap that learns which link leads to whom.
type addressBook struct {
	mu    sync.Mutex
	links map[string]slimnode.ConnID // by the id of the name
}

func (b *addressBook) learn(to slimnode.ConnID, f *wire.Frame) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.links == nil {
		b.links = map[string]slimnode.ConnID{}
	}
	b.links[f.Header().Destination.ID.String()] = to
}

// leadsTo reports whether a link is that of a genuine application.
func (b *addressBook) leadsTo(link slimnode.ConnID, g guest) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.links[g.(realGuest).ID] == link
}

// Real members that got no commit for a while, so that they are taken for gone,
// are led back by our moderator: through the commits it kept, or by a new
// admission if there were too many.
func TestInteropGroupMissedCommits(t *testing.T) {
	p := realslim.Require(t)
	var hook wiretap
	endpoint := groupNode(t, &hook)
	guests := startGuests(t, p, endpoint, ours, ours, realslim.Core22, realslim.Core34, ours)
	for _, commits := range []int{1, 3, 10} {
		t.Run(fmt.Sprint(commits), func(t *testing.T) {
			var book addressBook
			hook.set(func(_, to slimnode.ConnID, f *wire.Frame) []*wire.Frame {
				book.learn(to, f)
				return testnet.Pass(f)
			})
			c := newCircle(t, guests[0], "org/ns/hall", true)
			for _, g := range guests[1:4] {
				c.invite(g)
			}
			c.talk()
			deaf := c.seats[2:4]
			var lost int
			hook.set(func(_, to slimnode.ConnID, f *wire.Frame) []*wire.Frame {
				for _, s := range deaf {
					if testnet.Type(f) == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_UPDATE && book.leadsTo(to, s.guest) {
						lost++
						return nil
					}
				}
				return testnet.Pass(f)
			})
			var extra *seat
			for i := range commits {
				if i%2 == 0 {
					extra = c.invite(guests[4])
				} else {
					c.remove(extra)
				}
			}
			hook.set(nil)
			if lost < len(deaf)*commits {
				t.Errorf("only %d group updates were lost", lost)
			}
			c.talk()
			c.talk()
			c.close()
		})
	}
}

// A group of eight in which a member was replaced grows to nine. With a real
// moderator members of 2.2.0 cannot join then; with ours they can.
func TestInteropGroupReplaceThenGrow(t *testing.T) {
	p := realslim.Require(t)
	endpoint := startNode(t, p, ours, realslim.NodeOptions{Strict: true})
	guests := startGuests(t, p, endpoint, ours,
		realslim.Core22, ours, realslim.Core22, realslim.Core34, ours, ours, ours, realslim.Core22)
	for _, replaced := range []int{2, 3} {
		t.Run(fmt.Sprint("leaf ", replaced), func(t *testing.T) {
			c := newCircle(t, guests[0], "org/ns/hall", true)
			for _, g := range guests[1:8] {
				c.invite(g)
			}
			c.talk()
			c.remove(c.seats[replaced])
			c.invite(guests[replaced]) // takes the leftmost free leaf: the same
			c.talk()
			c.invite(guests[8])
			c.talk()
			c.remove(c.seats[4])
			c.talk()
			c.close()
		})
	}
}
