package control

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// crashPoint is where an app dies in a step.
type crashPoint int

const (
	lives crashPoint = iota
	beforeSave
	afterSave // the application knows, nobody else
)

var errCrashed = errors.New("crashed")

// keptSeat is what a seat that saves has.
type keptSeat struct {
	disk   disk
	sealed int
	dead   bool
	back   time.Time // when it starts again
}

// dies saves s where it must, and reports whether it crashed.
func (h *hall) dies(s *seat, out Output) bool {
	point := h.crash(s, out)
	if out.ReliedOn() && point != beforeSave {
		s.disk.write(h.t, s.m)
		s.sealed = 0
	}
	if point == lives || out.Ended != nil && point == afterSave {
		return false
	}
	if point == afterSave {
		h.note(s, out)
		if h.after != nil {
			h.after(s, out)
		}
	}
	h.notef(s, "crashes")
	s.m, s.down, s.dead, s.subscribed = nil, true, true, false
	for _, op := range s.open {
		if _, ok := s.done[op]; !ok {
			s.done[op] = errCrashed
		}
	}
	return true
}

// seals is called before a message is encrypted.
func (h *hall) seals(s *seat) {
	if h.crash == nil {
		return
	}
	if s.sealed == SkipAhead {
		s.disk.write(h.t, s.m)
		s.sealed = 0
	}
	s.sealed++
}

// revive starts the app of s again, with what it has stored.
func (h *hall) revive(s *seat) {
	s.down, s.dead = false, false
	if s.disk.state == nil {
		s.opened = false
		h.notef(s, "starts without a session")
		return
	}
	h.notef(s, "starts again")
	s.mls = h.newTree(s)
	core, saved := s.disk.restore(h.t, h.now, func(cfg *Config) {
		own := h.config(s)
		cfg.MLS, cfg.NewID, cfg.LostAfter, cfg.RotateMessages, cfg.RotateAfter = own.MLS, own.NewID, own.LostAfter, own.RotateMessages, own.RotateAfter
	})
	s.m, s.subscribed, s.sealed = core, true, 0
	before := s.disk.state
	s.disk.write(h.t, s.m)
	sameAgain(h.t, before, s.disk.state)
	h.step(s, LinkUp{})
	if saved.Closing() && s.m != nil {
		h.step(s, Close{})
	}
}

// Groups whose apps crash at any step, before or after it is stored, and come
// back, under loss: the invariants of TestGroupChaos, and no key is used twice.
func TestGroupRestarts(t *testing.T) {
	for seed := range *restartSeeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			runChaos(t, seed, hallOptions{retries: 12, rotateMsgs: 15, restarts: true})
		})
		if t.Failed() {
			t.Fatalf("replay with: go test ./session/internal/control -run 'TestGroupRestarts/^%d$' -restart-seeds %d", seed, seed+1)
		}
	}
}

// crashes makes apps die now and then, and start again.
func (c *chaosHall) crashes() {
	c.used = map[string]bool{}
	r := rand.New(rand.NewPCG(c.r.Uint64(), 3))
	c.crash = func(s *seat, out Output) crashPoint {
		if c.calm || r.IntN(400) > 0 {
			return lives
		}
		s.back = c.now.Add(time.Duration(r.IntN(40)) * time.Second)
		return []crashPoint{beforeSave, afterSave}[r.IntN(2)]
	}
	for _, s := range c.seats {
		if s.m != nil {
			s.mls.used = c.used
			s.disk.write(c.t, s.m)
		}
	}
}

func (c *chaosHall) reviveDue(all bool) {
	for _, s := range c.seats {
		if s.dead && (all || !c.now.Before(s.back)) {
			c.revive(s)
		}
	}
}

// keepingHall is a group whose apps save.
func keepingHall(t *testing.T, names ...string) *hall {
	h := newHall(t, hallOptions{retries: 3}, names...)
	h.gather()
	h.crash = func(*seat, Output) crashPoint { return lives }
	for _, s := range h.seats {
		s.disk.write(t, s.m)
	}
	return h
}

// One that had left, or whose invitation had failed, is taken out after the
// restart, though nobody remembers the task.
func TestRestoredModeratorTidiesUp(t *testing.T) {
	for what, bend := range map[string]func(*member){
		"left":           func(m *member) { m.departed = true },
		"never welcomed": func(m *member) { m.welcomed = false },
	} {
		t.Run(what, func(t *testing.T) {
			h := keepingHall(t, "alice", "bob", "carol")
			alice := h.seats[0]
			bend(alice.m.(*Moderator).members[0])
			alice.disk.write(t, alice.m)
			h.revive(alice)
			h.run(20 * time.Second)
			if got := h.rosterOf(alice); !slices.Equal(got, []string{"alice", "carol"}) {
				t.Errorf("the group is %v", got)
			}
			h.agree()
		})
	}
}

// The first message to a new member must not be overtaken, also after a restart.
func TestRestoredWaitsForNewcomer(t *testing.T) {
	h := keepingHall(t, "alice", "bob")
	alice := h.seats[0]
	h.fate = func(*seat, *seat, Outbound) []time.Duration { return nil }
	h.step(alice, Publish{Msg: AppMessage{Payload: []byte("first")}})
	h.revive(alice)
	if alice.m.CanPublish() {
		t.Error("the second message may overtake the first")
	}
	h.fate = allWell
	h.run(5 * time.Second)
	if !alice.m.CanPublish() || !slices.Equal(h.seats[1].got, []string{"first"}) {
		t.Errorf("bob read %v", h.seats[1].got)
	}
}

// An invitation is finished after the restart if the group had been told of it.
func TestRestoredInvitationGoesOn(t *testing.T) {
	h := keepingHall(t, "alice", "bob", "carol")
	h.seats = append(h.seats, &seat{name: "dave", subject: "org/ns/dave_x", done: map[Op]error{}, drops: map[string]int{}, ids: 9000})
	dave := h.seats[3]
	dave.full = name.New("org", "ns", "dave").WithID(name.IDOf(dave.subject))
	h.fate = func(_, to *seat, o Outbound) []time.Duration {
		if o.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_WELCOME {
			return nil
		}
		return allWell(nil, to, o)
	}
	h.invite("dave")
	h.run(time.Second / 2)
	if dave.opened {
		t.Fatal("the welcome was not lost")
	}
	alice := h.seats[0]
	h.revive(alice)
	h.fate = allWell
	h.run(5 * time.Second)
	if !dave.opened || !slices.Contains(alice.news, "dave joined") {
		t.Errorf("dave is in: %v; alice heard %v", dave.opened, alice.news)
	}
	h.agree()
}

// A moderator from whom all have gone, and whose next invitation failed after it
// had made a new MLS group, has members that it remembers, but no group.
func TestRestoredAloneAfterFailedInvitation(t *testing.T) {
	h := keepingHall(t, "alice", "bob")
	alice := h.seats[0]
	h.do(alice, func(op Op) Event { return Remove{Op: op, Name: h.seat("bob").full} })
	h.run(5 * time.Second)
	h.tap = func(_ *seat, o Outbound) {
		if reply := o.Command.GetJoinReply(); reply != nil {
			reply.KeyPackage = []byte("not one")
		}
	}
	op := h.invite("bob")
	h.run(5 * time.Second)
	if !errors.Is(alice.done[op], errFake) {
		t.Fatalf("the invitation ended with %v", alice.done[op])
	}
	h.revive(alice)
	h.tap = nil
	h.invite("bob")
	h.run(5 * time.Second)
	if got := h.rosterOf(alice); !slices.Equal(got, []string{"alice", "bob"}) {
		t.Errorf("the group is %v", got)
	}
	h.agree()
}

// A moderator may list as many as the list may have, and neither itself nor us.
func TestRestoredFullRoster(t *testing.T) {
	h := newHall(t, hallOptions{retries: 3, plain: true}, "alice", "bob")
	h.tap = func(_ *seat, o Outbound) {
		if w := o.Command.GetGroupWelcome(); w != nil {
			w.Participants = nil
			for i := range MaxMembers {
				w.Participants = append(w.Participants, participant(name.New("org", "ns", fmt.Sprint(i)).WithID(name.ID{Hi: 1, Lo: uint64(i + 1)})))
			}
		}
	}
	h.invite("bob")
	h.run(time.Second)
	bob := h.seats[1]
	if n := len(bob.m.Roster()); n != MaxMembers+2 {
		t.Fatalf("the roster of bob has %d members", n)
	}
	bob.disk.write(t, bob.m)
	h.revive(bob)
	if n := len(bob.m.Roster()); n != MaxMembers+2 {
		t.Errorf("after the restart it has %d members", n)
	}
}
