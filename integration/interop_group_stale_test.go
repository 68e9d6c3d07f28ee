package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// backdated is an identity whose tokens are as old as it is told.
type backdated struct {
	identity.Provider
	age atomic.Int64 // a time.Duration
}

func (b *backdated) Token(now time.Time) (string, error) {
	return b.Provider.Token(now.Add(-time.Duration(b.age.Load())))
}

const (
	almostStale = 3590 * time.Second // real members refuse leaves older than an hour
	untilStale  = 15 * time.Second
)

// inviteAged adds an app of ours whose leaf has an old token. What it says
// afterwards has fresh ones.
func (c *circle) inviteAged(endpoint, path string, rotateAfter time.Duration) *seat {
	c.t.Helper()
	var id *backdated
	g := newOurGuest(c.t, endpoint, path, func(cfg *session.Config) {
		id = &backdated{Provider: cfg.Identity}
		cfg.Identity, cfg.RotateAfter = id, rotateAfter
	})
	id.age.Store(int64(almostStale))
	s := c.invite(g)
	id.age.Store(0)
	return s
}

// A member of ours renews its leaf before real members refuse it, whoever
// moderates: the group still grows by real members afterwards.
func TestInteropGroupLeafRenewed(t *testing.T) {
	p := realslim.Require(t)
	endpoint := startNode(t, p, ours, realslim.NodeOptions{})
	guests := startGuests(t, p, endpoint, ours, realslim.Core22, realslim.Core34, ours, realslim.Core22, realslim.Core34)
	var circles []*circle
	epochs := map[*circle]uint64{}
	for i, moderator := range guests[:3] {
		c := newCircle(t, moderator, fmt.Sprint("org/ns/hall", i), true)
		c.invite(guests[3])
		c.invite(guests[1+i%2*3]) // 2.2.0, not the moderator
		c.invite(guests[2+i/2*3]) // 3.4.6, likewise
		c.inviteAged(endpoint, fmt.Sprint("org/ns/aged", i), almostStale+5*time.Second)
		epochs[c] = c.seats[1].end.(ourEnd).Epoch()
		circles = append(circles, c)
	}
	time.Sleep(untilStale)
	for _, c := range circles {
		if e := c.seats[1].end.(ourEnd).Epoch(); e != epochs[c]+1 {
			t.Errorf("moderator %s: epoch %d after %d: the leaf was not renewed", c.moderator(), e, epochs[c])
		}
		c.talk()
		for _, g := range guests[4:] {
			if !slices.ContainsFunc(c.seats, func(s *seat) bool { return s.guest == g }) {
				c.invite(g)
			}
		}
		c.talk()
		c.close()
	}
}

// A member of ours keeps a leaf whose token real members refuse. The group goes
// on and takes more members of ours; what real members could not follow is
// refused, with the name of the member that is in the way.
func TestInteropGroupStaleLeaf(t *testing.T) {
	p := realslim.Require(t)
	endpoint := startNode(t, p, ours, realslim.NodeOptions{})
	guests := startGuests(t, p, endpoint, ours, realslim.Core22, realslim.Core34, ours, realslim.Core22, realslim.Core34, ours)
	c := newCircle(t, guests[0], "org/ns/hall", true)
	c.invite(guests[1])
	c.invite(guests[2])
	aged := c.inviteAged(endpoint, "org/ns/aged", -1)
	c.talk()
	time.Sleep(untilStale)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	onlyOldHear(ctx, t, c, aged)
	aged.mute = true
	c.talk()

	c.invite(guests[3]) // ours
	c.talk()
	moderator := c.moderator().end.(ourEnd)
	for _, real := range guests[4:6] {
		blocks(t, "invite "+string(real.kind()), aged, time.Hour, moderator.invite(ctx, real.path()))
		c.talk()
	}
	blocks(t, "remove", aged, time.Hour, moderator.remove(ctx, aged.path()))
	c.talk()

	// It pauses, and cannot be let in anew, of which the application is told; the
	// commits that it missed bring it back.
	c.pause(aged)
	c.invite(guests[6]) // ours
	c.talk()
	c.resume(aged)
	blocks(t, "return", aged, time.Hour, blockedEvent(ctx, moderator))
	c.talk()

	// By force real members are lost, until they ask to be let in anew.
	if err := moderator.Remove(ctx, name.MustParse(aged.path()), session.RemoveOptions{Force: true}); err != nil {
		t.Fatalf("remove by force: %v", err)
	}
	c.drop(aged)
	c.talk()
	for _, real := range guests[4:6] {
		c.invite(real)
		c.talk()
	}
	c.close()
}

// onlyOldHear checks that members of core 3.4 do not decrypt what a member with
// a stale leaf says, while all others do.
func onlyOldHear(ctx context.Context, t *testing.T, c *circle, aged *seat) {
	t.Helper()
	r, err := aged.end.(ourEnd).Publish(ctx, session.Message{Payload: []byte("old")})
	if err != nil {
		t.Fatal(err)
	}
	var deaf string
	for _, s := range c.seats {
		switch {
		case s == aged:
		case s.kind() == realslim.Core34:
			deaf = s.path()
		default:
			if m, err := s.end.hear(ctx); err != nil || m != (heard{aged.path(), "old"}) {
				t.Errorf("%s hears %v, %v", s, m, err)
			}
		}
	}
	err = r.Wait(ctx)
	if missing := r.Missing(); len(missing) != 1 || missing[0].Path() != deaf {
		t.Errorf("not acknowledged by %v (%v), want %s", missing, err, deaf)
	}
}

// blocks checks that a change was refused because of one member, whose token is
// older than it may be.
func blocks(t *testing.T, change string, by *seat, life time.Duration, err error) {
	t.Helper()
	var stale *session.StaleMemberError
	if !errors.As(err, &stale) {
		t.Fatalf("%s: %v, want a StaleMemberError", change, err)
	}
	if stale.Member.Path() != by.path() || stale.Age < life {
		t.Errorf("%s is blocked by %s, %v old; want %s", change, stale.Member.Path(), stale.Age, by)
	}
}

// blockedEvent waits for the news that a change was not made.
func blockedEvent(ctx context.Context, e ourEnd) error {
	for {
		select {
		case ev := <-e.Events():
			if ev.Kind == session.MemberBlocked {
				return ev.Err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Without real members nothing is refused for the age of a leaf.
func TestInteropGroupStaleLeafOfOurs(t *testing.T) {
	p := realslim.Require(t)
	t.Parallel() // it waits most of the time
	endpoint := startNode(t, p, ours, realslim.NodeOptions{})
	guests := startGuests(t, p, endpoint, ours, ours, realslim.Core22)
	c := newCircle(t, guests[0], "org/ns/hall", true)
	aged := c.inviteAged(endpoint, "org/ns/aged", -1)
	c.invite(guests[1])
	time.Sleep(untilStale)
	c.talk()
	c.returnAfter(aged, func() { c.remove(c.seats[2]) })
	c.invite(guests[1])
	c.invite(guests[2]) // the return has renewed the leaf
	c.talk()
	c.close()
}
