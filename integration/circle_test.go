package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
)

// A circle is one group and what every member of it should know. Its methods
// fail the test when reality differs.
type circle struct {
	// lossy: data gets lost. SLIM 2.2 then reports messages as lost that came
	// late and that it delivered, since its timer runs on; who heard what is
	// checked anyway.
	lossy bool
	t     *testing.T
	seats []*seat // the moderator first
	round int
	began time.Time
}

// A seat is one member.
type seat struct {
	guest
	end  groupEnd
	away bool // paused
	mute bool // only listens
	// missed are the rounds of talk it may hear of late, if at all.
	missed  map[int]bool
	pending chan error // the result of the pause under way, if one is
}

func newCircle(t *testing.T, moderator guest, channel string, mls bool) *circle {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	end, err := moderator.createGroup(ctx, channel, mls)
	if err != nil {
		t.Fatalf("%s creates a group: %v", moderator.kind(), err)
	}
	return &circle{t: t, seats: []*seat{newSeat(moderator, end)}, began: time.Now()}
}

func newSeat(g guest, end groupEnd) *seat { return &seat{guest: g, end: end, missed: map[int]bool{}} }

func (s *seat) String() string { return fmt.Sprintf("%s (%s)", s.path(), s.kind()) }

func (c *circle) moderator() *seat { return c.seats[0] }

// present are those who talk.
func (c *circle) present() []*seat {
	return slices.DeleteFunc(slices.Clone(c.seats), func(s *seat) bool { return s.away })
}

func (c *circle) fatalf(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("%6.1f s, round %d: %s", time.Since(c.began).Seconds(), c.round, fmt.Sprintf(format, args...))
}

// bounded is a context for one step.
func (c *circle) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.t.Context(), 2*patience)
}

// invite adds a guest.
func (c *circle) invite(g guest) *seat {
	c.t.Helper()
	ctx, cancel := c.bounded()
	defer cancel()
	if err := c.moderator().end.invite(ctx, g.path()); err != nil {
		c.fatalf("%s invites %s (%s) as number %d: %v", c.moderator(), g.path(), g.kind(), len(c.seats)+1, err)
	}
	end, err := g.entered(ctx)
	if err != nil {
		c.fatalf("%s (%s) was not told of its group: %v", g.path(), g.kind(), err)
	}
	s := newSeat(g, end)
	c.seats = append(c.seats, s)
	return s
}

// drop takes a seat off the list.
func (c *circle) drop(s *seat) {
	c.seats = slices.DeleteFunc(c.seats, func(o *seat) bool { return o == s })
}

// remove lets the moderator take a member out, who must notice.
func (c *circle) remove(s *seat) {
	c.t.Helper()
	c.expel(s)
	ctx, cancel := c.bounded()
	defer cancel()
	if err := s.end.closed(ctx); err != nil {
		c.fatalf("%s was removed and does not notice: %v", s, err)
	}
}

// expel lets the moderator take a member out, who may notice later.
func (c *circle) expel(s *seat) {
	c.t.Helper()
	ctx, cancel := c.bounded()
	defer cancel()
	if err := c.moderator().end.remove(ctx, s.path()); err != nil {
		c.fatalf("%s removes %s: %v", c.moderator(), s, err)
	}
	c.drop(s)
}

// leave lets a member go by itself.
func (c *circle) leave(s *seat) {
	c.t.Helper()
	ctx, cancel := c.bounded()
	defer cancel()
	c.settle(ctx, s)
	if err := s.end.close(ctx); err != nil {
		c.fatalf("%s leaves: %v", s, err)
	}
	c.drop(s)
}

// pause waits until all others know. The member itself may wait longer: a real
// one does for members that were removed, until its retries run out.
func (c *circle) pause(s *seat) {
	c.t.Helper()
	ctx, cancel := c.bounded()
	defer cancel()
	c.settle(ctx, s)
	s.away, s.pending = true, make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
		defer cancel()
		s.pending <- s.end.pause(ctx)
	}()
	c.agree()
}

// resume brings a member back. A real one is deaf until it says that it is back.
// Pauses must be over: during one a real member answers those who come back, who
// then take it for present.
func (c *circle) resume(s *seat) {
	c.t.Helper()
	ctx, cancel := c.bounded()
	defer cancel()
	for _, o := range c.seats {
		c.settle(ctx, o)
	}
	if err := s.end.resume(ctx); err != nil {
		c.fatalf("%s comes back: %v", s, err)
	}
	s.away = false
	c.agree()
}

// settle waits for the end of a pause.
func (c *circle) settle(ctx context.Context, s *seat) {
	c.t.Helper()
	if s.pending == nil {
		return
	}
	select {
	case err := <-s.pending:
		if err != nil {
			c.fatalf("%s pauses: %v", s, err)
		}
		s.pending = nil
	case <-ctx.Done():
		c.fatalf("%s pauses without end", s)
	}
}

// agree waits until all who are present see the same members online, the same
// offline, and nobody else.
func (c *circle) agree() {
	c.t.Helper()
	ctx, cancel := c.bounded()
	defer cancel()
	for _, s := range c.present() {
		want := map[string]bool{}
		for _, o := range c.seats {
			want[o.path()] = !o.away
		}
		for {
			got, err := s.end.roster(ctx)
			if err != nil {
				c.fatalf("%s: roster: %v", s, err)
			}
			if maps.Equal(got, want) {
				break
			}
			select {
			case <-ctx.Done():
				c.fatalf("%s sees %v, want %v", s, got, want)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	c.sameEpoch(ctx)
}

// sameEpoch waits until all of ours are in one epoch. Real applications do not
// show theirs; but only in the same they can talk to ours.
func (c *circle) sameEpoch(ctx context.Context) {
	c.t.Helper()
	for {
		epochs := map[uint64]bool{}
		for _, s := range c.present() {
			if e, ok := s.end.(ourEnd); ok {
				epochs[e.Epoch()] = true
			}
		}
		if len(epochs) <= 1 {
			return
		}
		select {
		case <-ctx.Done():
			c.fatalf("different epochs: %v", epochs)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// talk lets all who are present say something, at once; everybody must hear
// everybody else, each once.
func (c *circle) talk() {
	c.t.Helper()
	c.agree()
	c.round++
	ctx, cancel := c.bounded()
	defer cancel()
	present := c.present()
	if len(present) == 1 {
		return // what it says waits for somebody to come
	}
	for _, s := range c.seats {
		if s.away {
			s.missed[c.round] = true
		}
	}
	errs := make(chan error, 2*len(present))
	var wg sync.WaitGroup
	for _, s := range present {
		wg.Go(func() {
			if s.mute {
				return
			}
			if err := s.end.say(ctx, c.words(s.path())); err != nil {
				errs <- fmt.Errorf("%s says: %w", s, err)
			}
		})
		wg.Go(func() {
			if err := c.listen(ctx, s, present); err != nil {
				errs <- fmt.Errorf("%s hears: %w", s, err)
			}
		})
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	if err := errors.Join(all...); err != nil {
		c.fatalf("%v", err)
	}
}

// words are what a member says this round: different for everybody and every
// round, long enough for padding to matter.
func (c *circle) words(path string) string {
	return fmt.Sprintf("%d %s %s", c.round, path, strings.Repeat("x", c.round*37%500))
}

// listen takes in one round.
func (c *circle) listen(ctx context.Context, s *seat, present []*seat) error {
	wanted := map[heard]bool{}
	for _, o := range present {
		if o != s && !o.mute {
			wanted[heard{o.path(), c.words(o.path())}] = true
		}
	}
	for len(wanted) > 0 {
		m, err := s.end.hear(ctx)
		if err != nil && len(s.missed) > 0 && isLost(err.Error()) {
			continue // from a time when it was away, too
		}
		var round int
		if err == nil && !wanted[m] {
			_, _ = fmt.Sscan(m.text, &round)
			if s.missed[round] || round < c.round && c.repeats(m.from, s) {
				continue // sent while it was away, or again
			}
		}
		if err != nil || !wanted[m] {
			return fmt.Errorf("message of %s that begins %.20q, error %w; still waiting for %v",
				m.from, m.text, err, senders(wanted))
		}
		delete(wanted, m)
	}
	return nil
}

// repeats reports whether one member may send another what it had sent before:
// a real one that was away sends all again, and real ones have forgotten.
func (c *circle) repeats(from string, to *seat) bool {
	return to.kind() != ours && slices.ContainsFunc(c.seats, func(s *seat) bool {
		return s.path() == from && s.kind() != ours && len(s.missed) > 0
	})
}

func senders(wanted map[heard]bool) []string {
	var list []string
	for m := range wanted {
		list = append(list, m.from)
	}
	slices.Sort(list)
	return list
}

// close brings back all who paused and ends the group, which all must notice.
func (c *circle) close() {
	c.t.Helper()
	ctx, cancel := c.bounded()
	defer cancel()
	for _, real := range []bool{true, false} { // ours may need a new epoch, which real ones may not
		for _, s := range c.seats {
			if s.away && (s.kind() != ours) == real {
				c.resume(s)
			}
		}
	}
	if err := c.moderator().end.close(ctx); err != nil {
		c.fatalf("%s closes: %v", c.moderator(), err)
	}
	for _, s := range c.seats {
		if err := s.end.closed(ctx); err != nil {
			c.fatalf("%s does not notice the end: %v", s, err)
		}
		texts := slices.DeleteFunc(s.end.complaints(), func(text string) bool {
			return len(s.missed) > 0 && isLost(text) ||
				c.lossy && s.kind() == realslim.Core22 && strings.Contains(text, "message receive retries exhausted")
		})
		if len(texts) > 0 {
			c.t.Errorf("%s complained: %q", s, texts)
		}
	}
}

// ofKind is the first member of a kind beside the moderator.
func (c *circle) ofKind(k realslim.Kind) *seat {
	i := slices.IndexFunc(c.seats[1:], func(s *seat) bool { return s.kind() == k })
	if i < 0 {
		c.fatalf("no %s in the group", k)
	}
	return c.seats[1+i]
}
