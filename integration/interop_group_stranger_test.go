package integration

import (
	"slices"
	"testing"

	"github.com/slimbridge/slimbridge/integration/realslim"
)

// While real members are away others are removed, and invited again at once or
// when all are back. Their streams begin anew, which the real library does not
// learn by itself: it would acknowledge what they say and drop it as old. Our
// moderator makes it forget.
func TestInteropGroupReplacedWhileRealAway(t *testing.T) {
	p := realslim.Require(t)
	endpoint := startNode(t, p, ours, realslim.NodeOptions{Strict: true})
	guests := startGuests(t, p, endpoint, ours, realslim.Core22, realslim.Core34,
		ours, realslim.Core22, realslim.Core34, ours, realslim.Core22, realslim.Core34)
	c := newCircle(t, guests[0], "org/ns/hall", true)
	for _, g := range guests[1:] {
		c.invite(g)
	}
	for range 3 {
		c.talk()
	}
	travellers, atOnce, later := slices.Clone(c.seats[1:3]), slices.Clone(c.seats[3:6]), slices.Clone(c.seats[6:])
	for _, s := range travellers {
		c.pause(s)
	}
	c.talk()
	for _, s := range atOnce {
		c.remove(s)
		c.invite(s.guest)
	}
	for _, s := range later {
		c.remove(s)
	}
	c.talk()
	for _, s := range travellers {
		c.resume(s)
		c.talk()
	}
	for _, s := range later {
		c.invite(s.guest)
		c.talk()
	}
	c.close()
}
