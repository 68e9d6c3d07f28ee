package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
)

// shortLife is how long the tokens of members live that are to grow stale. The
// real library gets itself a new one only 30 s after its start, and signs its
// control messages with that; but what is in its leaf stays.
const shortLife = 34 * time.Second

// The leaf of a real member holds a token that has expired; what our moderator
// can still do is the same whether the member runs 2.2.0 or 3.4.6.
func TestInteropGroupExpiredRealMember(t *testing.T) {
	p := realslim.Require(t)
	t.Parallel() // it waits most of the time
	endpoint := startNode(t, p, ours, realslim.NodeOptions{Strict: true})
	d := newSPIFFEDomain(t)
	d.life = time.Hour
	moderator := d.our(endpoint, "org/ns/moderator")
	mine := []guest{d.our(endpoint, "org/ns/first"), d.our(endpoint, "org/ns/later")}
	fresh, aged := map[realslim.Kind]guest{}, map[realslim.Kind]guest{}
	for k, short := range map[realslim.Kind]string{realslim.Core22: "22", realslim.Core34: "34"} {
		d.life = time.Hour
		fresh[k] = d.real(p, k, endpoint, "org/ns/fresh"+short)
		d.life = shortLife
		aged[k] = d.real(p, k, endpoint, "org/ns/aged"+short)
	}
	stale := time.Now().Add(shortLife + 2*time.Second)
	removal, back := map[realslim.Kind]*circle{}, map[realslim.Kind]*circle{}
	for _, k := range realslim.Kinds {
		removal[k] = newCircle(t, moderator, "org/ns/removal-"+aged[k].path()[7:], true)
		back[k] = newCircle(t, moderator, "org/ns/back-"+aged[k].path()[7:], true)
		for _, c := range []*circle{removal[k], back[k]} {
			c.invite(mine[0])
			c.invite(aged[k])
		}
		removal[k].invite(fresh[other(k)])
		removal[k].talk()
		back[k].talk()
	}
	d.renewFor(time.Hour)
	time.Sleep(time.Until(stale))
	var refused []func()
	for _, k := range realslim.Kinds {
		refused = append(refused, back[k].keepsExpiredOut(mine[1]))
	}
	for _, k := range realslim.Kinds {
		removal[k].replacesExpired(mine[1], fresh[k])
	}
	for _, wait := range refused {
		wait()
	}
}

func other(k realslim.Kind) realslim.Kind {
	if k == realslim.Core22 {
		return realslim.Core34
	}
	return realslim.Core22
}

// replacesExpired: while another real member is there the stale one can neither
// be replaced nor joined by a real one; afterwards the next real one makes the
// moderator replace it, and all is well.
func (c *circle) replacesExpired(our, real guest) {
	c.t.Helper()
	ctx, cancel := c.bounded()
	defer cancel()
	moderator := c.moderator().end.(ourEnd)
	aged, other := c.seats[2], c.seats[3]
	c.oldOnesHear(ctx, aged)
	aged.mute = true
	c.talk()

	c.invite(our)
	c.talk()
	blocks(c.t, "invite "+string(real.kind()), aged, shortLife, moderator.invite(ctx, real.path()))
	blocks(c.t, "remove", aged, shortLife, moderator.remove(ctx, aged.path()))
	c.talk()

	c.remove(other)
	c.talk()
	c.freshens(aged, real)
	c.invite(other.guest)
	c.talk()
	c.close()
}

// freshens: a real guest comes, so the moderator first removes the only other
// real member, whose leaf is old, and invites it again.
func (c *circle) freshens(aged *seat, real guest) {
	c.t.Helper()
	ctx, cancel := c.bounded()
	defer cancel()
	c.invite(real)
	if err := aged.end.closed(ctx); err != nil {
		c.fatalf("%s was removed and does not notice: %v", aged, err)
	}
	end, err := aged.entered(ctx)
	if err != nil {
		c.fatalf("%s was not invited again: %v", aged, err)
	}
	aged.end, aged.mute = end, false
	c.talk()
}

// keepsExpiredOut: a stale member that was away while the epoch changed cannot be
// let in anew: it would refuse its own leaf. Both sides are told, the member
// after its retries; the function returned waits for that.
func (c *circle) keepsExpiredOut(our guest) (wait func()) {
	c.t.Helper()
	ctx, cancel := c.bounded()
	moderator := c.moderator().end.(ourEnd)
	aged := c.seats[2]
	c.pause(aged)
	c.invite(our)
	c.talk()
	epoch := moderator.Epoch()
	back := make(chan error, 1)
	go func() { back <- aged.end.resume(ctx) }()
	blocks(c.t, "return", aged, shortLife, blockedEvent(ctx, moderator))
	return func() {
		defer cancel()
		if err := <-back; err == nil {
			c.t.Errorf("%s is let in anew", aged)
		}
		if e := moderator.Epoch(); e != epoch {
			c.t.Errorf("epoch %d after %d: a commit in vain", e, epoch)
		}
		c.talk()
		if err := moderator.Close(); err != nil {
			c.t.Errorf("close: %v", err)
		}
	}
}

// oldOnesHear checks that all but members of core 3.4 read what a member with a
// stale leaf says.
func (c *circle) oldOnesHear(ctx context.Context, aged *seat) {
	c.t.Helper()
	if err := aged.end.say(ctx, "old"); err != nil {
		c.t.Fatal(err)
	}
	for _, s := range c.seats {
		if s == aged || s.kind() == realslim.Core34 {
			continue
		}
		if m, err := s.end.hear(ctx); err != nil || m != (heard{aged.path(), "old"}) {
			c.t.Errorf("%s hears %v, %v", s, m, err)
		}
	}
}

// Members of ours whose tokens live for seconds renew their leaves in time,
// under a moderator of every kind: when the tokens that they joined with have
// expired members of core 3.4 still hear them, and real members still join.
func TestInteropGroupShortTokens(t *testing.T) {
	p := realslim.Require(t)
	t.Parallel() // it waits most of the time
	endpoint := startNode(t, p, ours, realslim.NodeOptions{Strict: true})
	d := newSPIFFEDomain(t)
	d.life = 20 * time.Second
	brief := []guest{d.our(endpoint, "org/ns/brief1"), d.our(endpoint, "org/ns/brief2")}
	expired := time.Now().Add(d.life + 2*time.Second)
	d.life = time.Hour
	var real []guest
	for i, k := range []realslim.Kind{realslim.Core22, realslim.Core34, realslim.Core22, realslim.Core34} {
		real = append(real, d.real(p, k, endpoint, fmt.Sprint("org/ns/real", i)))
	}
	var circles []*circle
	for i, moderator := range []guest{brief[0], real[0], real[1]} {
		c := newCircle(t, moderator, fmt.Sprint("org/ns/hall", i), true)
		for _, g := range []guest{brief[1], real[0], real[1]} {
			if g != moderator {
				c.invite(g)
			}
		}
		c.talk()
		circles = append(circles, c)
	}
	time.Sleep(time.Until(expired))
	for _, c := range circles {
		c.talk()
		for _, g := range real[2:] {
			c.invite(g)
			c.talk()
		}
		c.close()
	}
}
