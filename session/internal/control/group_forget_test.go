package control

import (
	"maps"
	"slices"
	"testing"
	"time"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// believer is a participant that believes the moderator's list when it is let in
// anew, as the real library does: it forgets what it knew of those who are listed
// as offline, and all others that are not listed.
type believer struct {
	Core
	s      *seat
	forgot []string
	listed map[string]bool // name: online
}

func (b *believer) Step(now time.Time, ev Event) Output {
	if in, ok := ev.(Received); ok && in.Msg.Type == updateType {
		u := in.Msg.Command.GetGroupUpdate()
		if who, _ := named(u.GetParticipant()); u.GetOp() == pb.GroupUpdateOp_REJOIN && who.Key() == b.s.full.Key() {
			b.listed = map[string]bool{}
			for _, p := range u.GetParticipants() {
				n, _ := named(p)
				online := p.GetStatus() == pb.ParticipantState_ONLINE
				if b.listed[n.Components[2]] = online; !online {
					b.forgot = append(b.forgot, n.Components[2])
				}
			}
		}
	}
	return b.Core.Step(now, ev)
}

// believes replaces the machine of a participant by one of another library.
func (h *hall) believes(n string) *believer {
	s := h.seat(n)
	b := &believer{Core: s.m, s: s}
	s.m = b
	return b
}

// A member of the real library that was away is told first of all who came or
// went meanwhile that they are offline, so that it forgets what it knew of an
// earlier stay; and then the truth.
func TestGroupMakesForget(t *testing.T) {
	for name, tc := range map[string]struct {
		ours   bool                                  // the member that comes back is of ours
		lose   func(from, to *seat, o Outbound) bool // while it comes back
		forgot []string
	}{
		"told": {forgot: []string{"carol", "dave", "frank"}},
		"the truth is lost": {
			lose: func(from, to *seat, o Outbound) bool {
				return from.name == "alice" && o.Type == updateType && !o.Broadcast
			},
			forgot: []string{"carol", "dave", "frank"},
		},
		"its answer is lost": {
			lose:   func(from, _ *seat, o Outbound) bool { return from.name == "bob" && o.Type == groupAckType },
			forgot: []string{"carol", "dave", "frank", "carol", "dave", "frank"}, // the list came twice
		},
		"of ours": {ours: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol", "dave", "erin", "frank")
			h.seat("bob").strict = !tc.ours
			for _, n := range []string{"bob", "carol", "frank", "erin"} {
				if err := h.outcome(h.invite(n)); err != nil {
					t.Fatal(err)
				}
			}
			bob := h.believes("bob")
			h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
			h.run(time.Second)
			for _, op := range []Op{h.expel("carol", false), h.expel("frank", false), h.invite("carol"), h.invite("dave")} {
				if err := h.outcome(op); err != nil {
					t.Fatal(err)
				}
			}
			lossy := h.now.Add(500 * time.Millisecond)
			h.fate = loseWhile(func(from, to *seat, o Outbound) bool {
				return tc.lose != nil && h.now.Before(lossy) && tc.lose(from, to, o)
			})
			op := h.do(h.seat("bob"), func(op Op) Event { return Rejoin{Op: op} })
			h.run(8 * time.Second)
			if err, ok := h.seat("bob").done[op]; !ok || err != nil {
				t.Fatalf("bob comes back: %v, %v\n%s", ok, err, h.log)
			}
			if !slices.Equal(bob.forgot, tc.forgot) {
				t.Errorf("bob forgot %v, want %v", bob.forgot, tc.forgot)
			}
			want := map[string]bool{"alice": true, "bob": true, "carol": true, "dave": true, "erin": true}
			if !maps.Equal(bob.listed, want) {
				t.Errorf("bob was told %v in the end, want %v\n%s", bob.listed, want, h.log)
			}
			op = h.expel("dave", false)
			h.run(time.Second)
			if err, ok := h.seats[0].done[op]; !ok || err != nil {
				t.Errorf("the next change: %v, %v\n%s", ok, err, h.log)
			}
			h.agree()
		})
	}
}

// Who goes again before it was told the truth does not hold up the next change.
func TestGroupForgetfulGoes(t *testing.T) {
	h := newHall(t, hallOptions{retries: 30}, "alice", "bob", "carol", "dave")
	h.seat("bob").strict = true
	h.gather()
	h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
	h.run(time.Second)
	for _, op := range []Op{h.expel("carol", false), h.invite("carol")} {
		if err := h.outcome(op); err != nil {
			t.Fatal(err)
		}
	}
	h.fate = loseWhile(func(from, _ *seat, o Outbound) bool {
		return from.name == "alice" && o.Type == updateType && !o.Broadcast
	})
	h.do(h.seat("bob"), func(op Op) Event { return Rejoin{Op: op} })
	h.run(time.Second)
	op := h.expel("dave", false)
	h.run(time.Second)
	if _, ok := h.seats[0].done[op]; ok {
		t.Fatal("the list is not repeated: the test tests nothing")
	}
	h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
	h.run(time.Second)
	if err, ok := h.seats[0].done[op]; !ok || err != nil {
		t.Errorf("removal of dave: %v, %v\n%s", ok, err, h.log)
	}
}
