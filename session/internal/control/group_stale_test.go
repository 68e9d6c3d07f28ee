package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// staleHall has dave with an old token, and erin and frank to invite.
func staleHall(t *testing.T, strict ...string) *hall {
	h := newHall(t, hallOptions{retries: 3}, "alice", "bob", "dave", "erin")
	for _, n := range strict {
		h.seat(n).strict = true
	}
	for _, n := range []string{"bob", "dave"} {
		h.invite(n)
		h.run(time.Second)
	}
	for _, s := range h.seats { // dave's token is the only old one
		leaf := h.seat("dave").mls.leaf
		if s.mls != nil && s.mls.leaves != nil {
			l := s.mls.leaves[leaf]
			l.Issued = h.now.Add(-TokenLife)
			s.mls.leaves[leaf] = l
		}
	}
	for _, s := range h.seats {
		if m, ok := s.m.(*Moderator); ok {
			m.tree = nil
		}
	}
	h.run(15 * time.Second)
	return h
}

func (h *hall) outcome(op Op) error {
	h.t.Helper()
	h.run(20 * time.Second)
	err, ok := h.seats[0].done[op]
	if !ok {
		h.t.Fatalf("operation %d is not over\n%s", op, h.log)
	}
	return err
}

// comesBackInVain lets a member be away while the epoch changes, and returns what
// the moderator is told when it comes back. No commit must be made.
func (h *hall) comesBackInVain(t *testing.T, who string) (blocked error) {
	t.Helper()
	s := h.seat(who)
	h.do(s, func(op Op) Event { return SoftClose{Op: op} })
	h.run(time.Second)
	if err := h.outcome(h.invite("erin")); err != nil {
		t.Fatal(err)
	}
	epoch := h.seats[0].m.Epoch()
	h.after = func(_ *seat, out Output) {
		for _, c := range out.Members {
			if c.What == Blocked && h.nameOf(c.Name) == who {
				blocked = c.Err
			}
		}
	}
	op := h.do(s, func(op Op) Event { return Rejoin{Op: op} })
	h.run(20 * time.Second)
	if err, ok := s.done[op]; !ok || err == nil {
		t.Errorf("%s comes back: %v, %v\n%s", who, ok, err, h.log)
	}
	if e := h.seats[0].m.Epoch(); e != epoch {
		t.Errorf("epoch %d after %d: a commit that %s cannot follow", e, epoch, who)
	}
	return blocked
}

// Members running the real library refuse leaves with old tokens; the table of
// what a moderator can still do.
func TestGroupStaleMember(t *testing.T) {
	names := func(t *testing.T, h *hall, err error, who string) {
		t.Helper()
		stale := (*StaleError)(nil)
		if !errors.As(err, &stale) || stale.Member.Key() != h.seat(who).full.Key() || stale.Age < TokenLife {
			t.Errorf("error %v, want one that names %s", err, who)
		}
	}
	t.Run("a member of ours joins", func(t *testing.T) {
		h := staleHall(t, "bob")
		if err := h.outcome(h.invite("erin")); err != nil {
			t.Error(err)
		}
		h.agree()
	})
	t.Run("a real member cannot join, and the blocker is named", func(t *testing.T) {
		h := staleHall(t, "erin")
		names(t, h, h.outcome(h.invite("erin")), "dave")
		h.agree()
		if e := h.seat("erin"); e.ended == nil || e.ended.Reason != Removed {
			t.Errorf("erin's half-open session: %+v", e.ended)
		}
	})
	t.Run("two real members, one of them old: the blocker is named", func(t *testing.T) {
		h := staleHall(t, "erin", "dave", "bob")
		before := len(h.seat("alice").news)
		names(t, h, h.outcome(h.invite("erin")), "dave")
		h.agree()
		if news := h.seat("alice").news[before:]; len(news) > 0 {
			t.Errorf("alice hears %q", news)
		}
	})
	t.Run("a real member joins after the old one, the only other real one, was invited again", func(t *testing.T) {
		h := staleHall(t, "erin", "dave")
		life := h.seat("dave").life
		h.after = func(s *seat, out Output) {
			if s.name == "dave" && out.Ended != nil { // a real member says that it leaves, late
				leave := leaveRequest(h.seats[0].full)
				leave.ID = 77
				h.fate = func(from, to *seat, o Outbound) []time.Duration {
					if o.ID == 77 {
						return []time.Duration{500 * time.Millisecond}
					}
					return allWell(from, to, o)
				}
				h.send(s, leave)
			}
		}
		if err := h.outcome(h.invite("erin")); err != nil {
			t.Error(err)
		}
		h.agree()
		if got := h.rosterOf(h.seat("alice")); len(got) != 4 {
			t.Errorf("the group is %v", got)
		}
		if h.seat("dave").life != life+1 {
			t.Error("dave was not invited again")
		}
	})
	t.Run("the old one cannot be invited again: the application is told, the newcomer joins", func(t *testing.T) {
		h := staleHall(t, "erin", "dave")
		h.fate = func(from, to *seat, o Outbound) []time.Duration {
			if from.name == "dave" && o.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REPLY {
				return nil
			}
			return allWell(from, to, o)
		}
		if err := h.outcome(h.invite("erin")); err != nil {
			t.Error(err)
		}
		if news := h.seat("alice").news; !slices.Contains(news, "dave removed") || !slices.ContainsFunc(news, func(n string) bool { return strings.HasPrefix(n, "dave blocked") }) {
			t.Errorf("alice hears %q", news)
		}
	})
	t.Run("an old one that is away is not invited again", func(t *testing.T) {
		h := staleHall(t, "erin", "dave")
		h.do(h.seat("dave"), func(op Op) Event { return SoftClose{Op: op} })
		h.run(time.Second)
		names(t, h, h.outcome(h.invite("erin")), "dave")
	})
	t.Run("removing the old one is refused while a real member is there", func(t *testing.T) {
		h := staleHall(t, "bob")
		names(t, h, h.outcome(h.expel("dave", false)), "dave")
		h.agree()
	})
	t.Run("by force it is done, and the real member comes back by a rejoin", func(t *testing.T) {
		h := staleHall(t, "bob")
		if err := h.outcome(h.expel("dave", true)); err != nil {
			t.Error(err)
		}
		if got := h.rosterOf(h.seat("alice")); slices.Contains(got, "dave") {
			t.Errorf("roster %v", got)
		}
		if h.seat("bob").drops["commit refused: fake refusal"] == 0 {
			t.Error("bob did not refuse the commit that removes an old leaf")
		}
		h.run(time.Minute)
		h.agree()
	})
	t.Run("the old real member is removed and invited again", func(t *testing.T) {
		h := staleHall(t, "dave")
		if err := h.outcome(h.expel("dave", false)); err != nil {
			t.Error(err)
		}
		if err := h.outcome(h.invite("dave")); err != nil {
			t.Error(err)
		}
		h.agree()
	})
	t.Run("a real member that comes back cannot be let in anew, and the blocker is named", func(t *testing.T) {
		h := staleHall(t, "bob")
		names(t, h, h.comesBackInVain(t, "bob"), "dave")
	})
	t.Run("the old real member that comes back names itself", func(t *testing.T) {
		h := staleHall(t, "dave")
		h.seat("dave").mls.keeps, h.seat("dave").mls.issued = true, h.now.Add(-TokenLife)
		names(t, h, h.comesBackInVain(t, "dave"), "dave")
	})
	t.Run("one that leaves stays in the tree, and the application is told", func(t *testing.T) {
		h := staleHall(t, "bob")
		h.step(h.seat("dave"), Close{})
		h.run(time.Second)
		news := h.seat("alice").news
		if len(news) == 0 || !slices.ContainsFunc(news, func(n string) bool { return len(n) > 12 && n[:12] == "dave blocked" }) {
			t.Errorf("alice hears %q", news)
		}
		if h.seat("bob").m.Epoch() != h.seat("alice").m.Epoch() {
			t.Error("bob was lost")
		}
	})
}

// A token says when it expires; one that does not lives as long as one made
// from a shared secret.
func TestMemberStale(t *testing.T) {
	now := epochStart
	for name, tc := range map[string]struct {
		issued, expires time.Time
		want            bool
	}{
		"unknown age":      {},
		"as old as can be": {issued: now.Add(-TokenLife)},
		"too old":          {issued: now.Add(-TokenLife - time.Second), want: true},
		"short life":       {issued: now.Add(-2 * time.Minute), expires: now.Add(-time.Second), want: true},
		"long life":        {issued: now.Add(-2 * TokenLife), expires: now.Add(time.Second)},
		"expires now":      {issued: now.Add(-time.Minute), expires: now},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (Member{IssuedAt: tc.issued, Expires: tc.expires}).stale(now); got != tc.want {
				t.Errorf("stale: %v", got)
			}
		})
	}
}

// Leaves with tokens that live for minutes are renewed before these expire, if
// somebody looks at that.
func TestGroupShortTokensStayFresh(t *testing.T) {
	for _, watched := range []bool{true, false} {
		t.Run(fmt.Sprint("watched=", watched), func(t *testing.T) {
			h := newHall(t, hallOptions{
				retries: 10, rotateTime: 45 * time.Minute, tokenLife: 5 * time.Minute, silent: true,
			}, "alice", "bob", "carol", "dave")
			h.seat("bob").strict = watched
			h.gather()
			epoch := h.seats[0].m.Epoch()
			for range 80 {
				h.run(30 * time.Second)
				for _, m := range h.seat("alice").mls.Members() {
					if watched && m.stale(h.now.Add(30*time.Second)) {
						t.Fatalf("the token of %s is %v old", m.Subject, h.now.Sub(m.IssuedAt))
					}
				}
			}
			commits, most := h.seats[0].m.Epoch()-epoch, uint64(0)
			if watched {
				most = 4 * 12 // of four members in forty minutes
			}
			if commits > most {
				t.Errorf("%d commits, at most %d are needed", commits, most)
			}
			h.agree()
		})
	}
}
