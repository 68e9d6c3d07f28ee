package integration

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
)

// Random lives of groups of up to nine members of all kinds, under a moderator
// of every kind: invite, remove, leave, pause, come back, in any order; after
// each step everybody decrypts what everybody says.
//
// What goes wrong among real members alone is left out; mayInvite, lockedOut,
// mayRemove and waitsFor say what that is.
//
// SLIM_GROUP_STEPS is the length of each life, SLIM_GROUP_SEED another seed. The
// real members make long lives slow: they wait up to 11 s for the answers of
// members that are gone, whenever they pause and when they come back.
func TestInteropGroupHistories(t *testing.T) {
	p := realslim.Require(t)
	steps := fromEnv(t, "SLIM_GROUP_STEPS", 24)
	seed := fromEnv(t, "SLIM_GROUP_SEED", 3)
	endpoint := startNode(t, p, ours, realslim.NodeOptions{Strict: true})
	guests := startGuests(t, p, endpoint, ours, realslim.Core22, realslim.Core34,
		ours, realslim.Core22, ours, realslim.Core34, realslim.Core22, ours)
	for i, moderator := range guests[:3] {
		t.Run("moderator="+string(moderator.kind()), func(t *testing.T) {
			t.Logf("SLIM_GROUP_STEPS=%d SLIM_GROUP_SEED=%d", steps, seed)
			h := &history{
				circle: newCircle(t, moderator, "org/ns/hall", true), r: rand.New(rand.NewPCG(seed, uint64(i))),
				outside: slices.Concat(guests[:i], guests[i+1:]), outdated: map[*seat]bool{}, done: map[string]int{},
				waitsFor: map[*seat][]*seat{}, repeatsUntil: map[*seat]time.Time{},
			}
			for range steps {
				h.step()
			}
			h.settleAll()
			h.close()
			t.Logf("%d rounds of talk in %v: %v", h.round, time.Since(h.began).Round(time.Second), h.done)
		})
	}
}

func fromEnv(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// history makes random changes of a circle.
type history struct {
	*circle
	r        *rand.Rand
	outside  []guest
	outdated map[*seat]bool // paused, and the epoch is another since
	unaware  []*unaware
	// waitsFor are the real members that were away when another real one came
	// back. That one waits for their acknowledgements, and repeats what it said
	// until repeatsUntil, even when it was removed meanwhile, whatever they
	// answer. Those of them that are back then take that for the start of its
	// stream, and when it is invited again drop its new messages as old. This
	// happens among real members alone; so one that repeats is not removed.
	waitsFor     map[*seat][]*seat
	repeatsUntil map[*seat]time.Time
	done         map[string]int // steps by kind
}

// unaware is a real member that was removed while it was away. It learns of that
// from our moderator some time after it came back.
type unaware struct {
	guest
	told chan error
}

// step makes one change that is possible, and lets all talk. The kinds have
// equal chances, whoever they may be about.
func (h *history) step() {
	h.t.Helper()
	kinds := map[string][]func() string{}
	for _, g := range h.outside {
		if h.mayInvite(g) {
			kinds["invite"] = append(kinds["invite"], func() string { return h.comes(g) })
		}
	}
	for _, u := range h.unaware {
		kinds["learn"] = append(kinds["learn"], func() string { return h.learns(u) })
	}
	for _, s := range h.seats[1:] {
		for kind, change := range h.changesOf(s) {
			kinds[kind] = append(kinds[kind], func() string { change(s); return s.String() })
		}
	}
	var names []string
	for kind := range kinds {
		names = append(names, kind)
	}
	slices.Sort(names)
	kind := names[h.r.IntN(len(names))]
	if kinds["invite"] != nil && h.r.IntN(4) == 0 {
		kind = "invite" // else groups stay small
	}
	who := kinds[kind][h.r.IntN(len(kinds[kind]))]()
	h.done[kind]++
	h.t.Logf("%6.1f s, %d members: %s %s", time.Since(h.began).Seconds(), len(h.seats), kind, who)
	h.talk()
}

func (h *history) mayInvite(g guest) bool {
	// A real moderator makes trees that members of 2.2.0 cannot join when they
	// grow beyond eight; ours does not.
	refusedByTree := h.moderator().kind() != ours && g.kind() == realslim.Core22 && len(h.seats) >= 8
	return len(h.seats) < 9 && !refusedByTree
}

// changesOf are those that a member can make or suffer.
func (h *history) changesOf(s *seat) map[string]func(*seat) {
	changes := map[string]func(*seat){}
	switch {
	case !s.away:
		changes["pause"] = h.pause
	case !h.lockedOut(s):
		changes["return"] = h.returns
	}
	if h.mayLeave() {
		changes["leave"] = func(s *seat) { h.leave(s); h.gone(s) }
	}
	switch {
	case !h.mayRemove(s):
	case s.away && s.kind() != ours:
		changes["remove the absent"] = h.dismiss
	default:
		changes["remove"] = func(s *seat) {
			time.Sleep(time.Until(h.repeatsUntil[s]))
			h.remove(s)
			h.gone(s)
		}
	}
	return changes
}

// lockedOut reports whether a member must not come back: a real one hangs a real
// moderator by that when the epoch has changed. It can leave and be invited again.
func (h *history) lockedOut(s *seat) bool {
	return h.moderator().kind() != ours && s.kind() != ours && h.outdated[s]
}

// mayLeave: a real moderator ends a group in which it would be alone.
func (h *history) mayLeave() bool { return h.moderator().kind() == ours || len(h.seats) > 2 }

// mayRemove: of one that is away a real moderator reports after 11 s that the
// removal failed, though it made it, if the member is a real one, which takes no
// notice of it then or ever, or if nobody is there to acknowledge it. Both
// happen among real members alone.
func (h *history) mayRemove(s *seat) bool {
	acknowledged := len(h.present()) > 1 || len(h.seats) == 2
	return h.moderator().kind() == ours || !s.away || s.kind() == ours && acknowledged
}

// talk notes which real members go on repeating what they said.
func (h *history) talk() {
	h.t.Helper()
	h.circle.talk()
	for s, others := range h.waitsFor {
		if !s.away && slices.ContainsFunc(others, func(o *seat) bool { return o.away }) {
			h.repeatsUntil[s] = time.Now().Add(12 * time.Second)
		}
	}
}

func (h *history) comes(g guest) string {
	s := h.invite(g)
	h.outside = slices.DeleteFunc(h.outside, func(o guest) bool { return o == g })
	h.newEpoch()
	return s.String()
}

func (h *history) gone(s *seat) {
	h.outside = append(h.outside, s.guest)
	delete(h.outdated, s)
	delete(h.waitsFor, s)
	h.newEpoch()
}

// dismiss removes a real member that is away, and lets it come back. It may be
// invited again once it has learnt that it is no member any more.
func (h *history) dismiss(s *seat) {
	h.expel(s)
	delete(h.outdated, s)
	delete(h.waitsFor, s)
	h.newEpoch()
	u := &unaware{guest: s.guest, told: make(chan error, 1)}
	h.unaware = append(h.unaware, u)
	go func() {
		ctx, cancel := context.WithTimeout(h.t.Context(), 2*patience)
		defer cancel()
		if s.pending != nil {
			<-s.pending
		}
		_ = s.end.resume(ctx) // whatever the library says to this, it must end the session
		u.told <- s.end.closed(ctx)
	}()
}

// settleAll lets all learn what they do not know, and those go who cannot come
// back.
func (h *history) settleAll() {
	h.t.Helper()
	for len(h.unaware) > 0 {
		h.learns(h.unaware[0])
	}
	for _, s := range slices.Clone(h.seats) {
		if !h.lockedOut(s) {
			continue
		}
		if !h.mayLeave() {
			h.comes(h.outside[slices.IndexFunc(h.outside, h.mayInvite)])
		}
		h.leave(s)
		h.gone(s)
	}
}

func (h *history) learns(u *unaware) string {
	if err := <-u.told; err != nil {
		h.fatalf("%s (%s) was removed while it was away, and does not notice: %v", u.path(), u.kind(), err)
	}
	h.unaware = slices.DeleteFunc(h.unaware, func(o *unaware) bool { return o == u })
	h.outside = append(h.outside, u.guest)
	return u.path()
}

func (h *history) returns(s *seat) {
	h.resume(s)
	delete(h.waitsFor, s)
	for _, o := range h.seats {
		if s.kind() != ours && o.kind() != ours && o.away {
			h.waitsFor[s] = append(h.waitsFor[s], o)
		}
	}
	if h.outdated[s] {
		h.newEpoch()
	}
	delete(h.outdated, s)
}

func (h *history) newEpoch() {
	for _, s := range h.seats {
		if s.away {
			h.outdated[s] = true
		}
	}
}
