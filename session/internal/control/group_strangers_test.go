package control

import (
	"slices"
	"testing"
	"time"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

const stateType = pb.SessionMessageType_SESSION_MESSAGE_TYPE_UPDATE_PARTICIPANT_STATE

// believer is a participant that believes the moderator about others, as the
// real library does: who is listed as offline when it is let in anew is offline
// for it, until the moderator says otherwise.
type believer struct {
	Core
	s       *seat
	offline map[string]bool // by name
	forgot  []string        // in which order it was told that they are offline
}

func (b *believer) Step(now time.Time, ev Event) Output {
	in, ok := ev.(Received)
	if !ok {
		return b.Core.Step(now, ev)
	}
	switch in.Msg.Type {
	case updateType:
		u := in.Msg.Command.GetGroupUpdate()
		if who, _ := named(u.GetParticipant()); u.GetOp() == pb.GroupUpdateOp_REJOIN && who.Key() == b.s.full.Key() {
			b.offline = map[string]bool{}
			for _, p := range u.GetParticipants() {
				if n, _ := named(p); p.GetStatus() == pb.ParticipantState_OFFLINE {
					b.offline[n.Components[2]] = true
					b.forgot = append(b.forgot, n.Components[2])
				}
			}
		}
	case stateType:
		u := in.Msg.Command.GetUpdateParticipantState()
		who, _ := named(&pb.Participant{Name: u.GetParticipant()})
		if who.Key() == in.Msg.From.Key() {
			break
		}
		answer := groupAck(in.Msg.From)
		if u.GetEpoch() == b.Epoch() {
			b.offline[who.Components[2]] = u.GetNewState() == pb.ParticipantState_OFFLINE
		} else {
			answer = groupNack(in.Msg.From)
		}
		answer.ID = in.Msg.ID
		return Output{Send: []Outbound{answer}}
	}
	return b.Core.Step(now, ev)
}

// believes replaces the machine of a participant by one of another library.
func (h *hall) believes(n string) *believer {
	s := h.seat(n)
	s.mls.strict = true
	b := &believer{Core: s.m, s: s}
	s.m = b
	return b
}

// A member of the real library that was away gets to know who was invited
// meanwhile as offline first: it then forgets what it knew of an earlier stay.
func TestGroupIntroducesStrangers(t *testing.T) {
	for name, tc := range map[string]struct {
		ours   bool                                  // the member that comes back is of ours
		lose   func(from, to *seat, o Outbound) bool // while it comes back
		forgot []string
	}{
		"introduced": {forgot: []string{"carol", "dave"}},
		"introduction lost": {
			lose:   func(from, _ *seat, o Outbound) bool { return from.name == "alice" && o.Type == stateType },
			forgot: []string{"carol", "dave"},
		},
		"answer lost": {
			lose:   func(from, _ *seat, o Outbound) bool { return from.name == "bob" && o.Type == groupAckType },
			forgot: []string{"carol", "dave", "carol", "dave"}, // the list came twice
		},
		"of ours": {ours: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol", "dave", "erin")
			h.seat("bob").strict = !tc.ours
			for _, n := range []string{"bob", "carol", "erin"} {
				if err := h.outcome(h.invite(n)); err != nil {
					t.Fatal(err)
				}
			}
			bob := &believer{}
			if !tc.ours {
				bob = h.believes("bob")
			}
			h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
			h.run(time.Second)
			for _, op := range []Op{h.expel("carol", false), h.invite("carol"), h.invite("dave")} {
				if err := h.outcome(op); err != nil {
					t.Fatal(err)
				}
			}
			lossy := h.now.Add(500 * time.Millisecond)
			h.fate = loseWhile(func(from, to *seat, o Outbound) bool {
				return tc.lose != nil && h.now.Before(lossy) && tc.lose(from, to, o)
			})
			states := 0
			h.tap = func(s *seat, o Outbound) {
				if s.name == "alice" && o.Type == stateType {
					states++
				}
			}
			op := h.do(h.seat("bob"), func(op Op) Event { return Rejoin{Op: op} })
			h.run(8 * time.Second)
			if err, ok := h.seat("bob").done[op]; !ok || err != nil {
				t.Fatalf("bob comes back: %v, %v\n%s", ok, err, h.log)
			}
			if !slices.Equal(bob.forgot, tc.forgot) {
				t.Errorf("bob forgot %v, want %v", bob.forgot, tc.forgot)
			}
			for n, offline := range bob.offline {
				if offline {
					t.Errorf("bob was not told that %s is online\n%s", n, h.log)
				}
			}
			if tc.ours && states > 0 {
				t.Errorf("%d introductions to one of ours", states)
			}
			if err := h.outcome(h.expel("dave", false)); err != nil {
				t.Errorf("the next change: %v", err)
			}
		})
	}
}

// Who goes again while others are introduced to it does not hold up the next
// change.
func TestGroupIntroductionCutShort(t *testing.T) {
	h := newHall(t, hallOptions{retries: 30}, "alice", "bob", "carol", "dave")
	h.seat("bob").strict = true
	h.gather()
	h.believes("bob")
	h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
	h.run(time.Second)
	for _, op := range []Op{h.expel("carol", false), h.invite("carol")} {
		if err := h.outcome(op); err != nil {
			t.Fatal(err)
		}
	}
	h.fate = loseWhile(func(from, _ *seat, o Outbound) bool { return from.name == "alice" && o.Type == stateType })
	h.do(h.seat("bob"), func(op Op) Event { return Rejoin{Op: op} })
	h.run(time.Second)
	op := h.expel("dave", false)
	h.run(time.Second)
	if _, ok := h.seats[0].done[op]; ok {
		t.Fatal("the introduction does not last: the test tests nothing")
	}
	h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
	h.run(time.Second)
	if err, ok := h.seats[0].done[op]; !ok || err != nil {
		t.Errorf("removal of dave: %v, %v\n%s", ok, err, h.log)
	}
}
