package control

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// loseWhile loses what a condition says, for as long as it says so.
func loseWhile(cond func(from, to *seat, o Outbound) bool) func(*seat, *seat, Outbound) []time.Duration {
	return func(f, r *seat, o Outbound) []time.Duration {
		if cond(f, r, o) {
			return nil
		}
		return []time.Duration{hallDelay}
	}
}

func online(s *seat, h *hall, who string) bool {
	for _, e := range s.m.Roster() {
		if h.nameOf(e.Name) == who {
			return e.Online
		}
	}
	return false
}

// What was still on its way when a member soft-closed does not bring it back.
func TestGroupAwayStaysAway(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol")
	h.gather()
	h.fate = func(f, _ *seat, o Outbound) []time.Duration {
		if o.Type == msgType && f.name == "bob" {
			return []time.Duration{50 * time.Millisecond}
		}
		return []time.Duration{hallDelay}
	}
	h.publish(h.seat("bob"), "goodbye")
	h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
	h.run(time.Second)
	if !slices.Equal(h.seat("alice").got, []string{"goodbye"}) || online(h.seat("alice"), h, "bob") {
		t.Errorf("alice got %v, bob online: %v", h.seat("alice").got, online(h.seat("alice"), h, "bob"))
	}
}

// A change is not held up by the acknowledgement of one that left meanwhile.
func TestGroupDepartedAreNotWaitedFor(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol", "dave")
	h.gather()
	h.fate = loseWhile(func(f, _ *seat, o Outbound) bool { return f.name == "bob" && o.Type == groupAckType })
	op := h.expel("dave", false)
	h.run(100 * time.Millisecond)
	if _, ok := h.seats[0].done[op]; ok {
		t.Fatal("done without bob's acknowledgement")
	}
	h.step(h.seat("bob"), Close{})
	h.run(100 * time.Millisecond)
	if err, ok := h.seats[0].done[op]; !ok || err != nil {
		t.Errorf("removal done: %v, %v", ok, err)
	}
	h.agree()
}

// A member seen in the epoch of a commit has carried it out, though its
// acknowledgement never came; and while commits are on their way no heartbeat
// of the moderator announces their epoch.
func TestGroupEpochCountsAsAck(t *testing.T) {
	h := newHall(t, hallOptions{retries: 30}, "alice", "bob", "carol", "dave")
	h.gather()
	h.fate = loseWhile(func(f, _ *seat, o Outbound) bool { return f.name == "bob" && o.Type == groupAckType })
	op := h.expel("dave", false)
	h.run(12 * time.Second) // bob's heartbeat comes at 10 s
	if err, ok := h.seats[0].done[op]; !ok || err != nil {
		t.Errorf("removal done: %v, %v", ok, err)
	}
}

func TestGroupNoHeartbeatBeforeCommit(t *testing.T) {
	h := newHall(t, hallOptions{retries: 30}, "alice", "bob", "carol")
	h.gather()
	h.run(11 * time.Second)
	h.fate = loseWhile(func(_, r *seat, o Outbound) bool { return r.name == "bob" && o.Type == updateType })
	beats := 0
	h.tap = func(s *seat, o Outbound) {
		if s.name == "alice" && o.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_HEARTBEAT {
			beats++
		}
	}
	h.expel("carol", false)
	h.run(19 * time.Second)
	if beats > 0 {
		t.Errorf("%d heartbeats while bob misses the commit", beats)
	}
	h.run(20 * time.Second)
	if beats == 0 {
		t.Error("no heartbeat for 39 s: the moderator would be taken for gone")
	}
}

// Pinned invitations, from both sides.
func TestGroupPinnedSubject(t *testing.T) {
	t.Run("member", func(t *testing.T) {
		h := newHall(t, hallOptions{retries: 2}, "alice", "bob")
		invite := func(subject string) error {
			return h.outcome(h.do(h.seats[0], func(op Op) Event {
				return Invite{Op: op, Name: h.seat("bob").full.Service(), Subject: subject}
			}))
		}
		if err := invite("org/ns/somebody"); !errors.Is(err, ErrNobody) {
			t.Errorf("another subject: %v", err)
		}
		if err := invite(h.seat("bob").subject); err != nil {
			t.Errorf("the wanted subject: %v", err)
		}
	})
	t.Run("moderator", func(t *testing.T) {
		h := newHall(t, hallOptions{retries: 2}, "alice", "bob")
		bob := h.seat("bob")
		h.begin(bob)
		cfg := h.config(bob)
		cfg.Subject = "org/ns/somebody"
		bob.m = NewParticipant(cfg)
		h.step(bob, Start{})
		alice := h.seat("alice")
		h.step(bob, Received{Msg: Inbound{
			Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REQUEST, ID: 1,
			From: alice.full, Subject: alice.subject, Key: []byte(alice.subject),
		}})
		if bob.ended == nil || bob.ended.Reason != Rejected {
			t.Errorf("%+v", bob.ended)
		}
	})
}

// The answer to a REJOIN_REPLY bears a source without strings, or a moderator of
// the real library takes it for a repetition and never does anything again.
func TestGroupRejoinAckHasBareSource(t *testing.T) {
	h := newHall(t, hallOptions{retries: 2}, "alice", "bob", "carol")
	h.gather()
	bare := 0
	h.tap = func(s *seat, o Outbound) {
		if o.BareSource {
			bare++
			if s.name != "bob" || o.Type != groupAckType {
				t.Errorf("%s sends %v with a bare source", s.name, o.Type)
			}
		}
	}
	h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
	h.run(time.Second)
	h.expel("carol", false)
	h.run(time.Second)
	h.do(h.seat("bob"), func(op Op) Event { return Rejoin{Op: op} })
	h.run(time.Second)
	if bare != 1 {
		t.Errorf("%d acknowledgements with a bare source", bare)
	}
}

// A letter is acknowledged by the one it was for, and given up when that one
// goes.
func TestGroupLetters(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol")
	h.gather()
	h.fate = loseWhile(func(_, _ *seat, o Outbound) bool { return o.Type == msgType })
	var id MessageID
	h.after = func(_ *seat, out Output) { id = max(id, MessageID(out.PublishedID)) }
	h.step(h.seat("alice"), PublishTo{To: h.seat("bob").full, Msg: AppMessage{Payload: []byte("to bob")}})
	ack := forgery(h, ackType, h.seat("carol"))
	ack.ID = id
	h.step(h.seat("alice"), Received{Msg: ack})
	if len(h.seat("alice").settled) != 0 {
		t.Errorf("carol's acknowledgement settles a letter to bob: %v", h.seat("alice").settled)
	}
	h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
	h.run(100 * time.Millisecond)
	if st, ok := h.seat("alice").settled[uint32(id)]; !ok || st.Acknowledged {
		t.Errorf("letter to one that went: %v, %+v", ok, st)
	}
}

// A group without its moderator is no group: the participant leaves it.
func TestGroupCommitAgainstModerator(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol")
	h.gather()
	carol := *h.seat("carol").mls
	commit, _, _ := carol.Commit(Change{Remove: []uint32{0}}, h.now)
	in := forgery(h, updateType, h.seat("alice"))
	u := in.Command.GetGroupUpdate()
	u.Op, u.Participant, u.Mls = pb.GroupUpdateOp_REJOIN, participant(h.seat("carol").full), &pb.MlsPayload{CommitId: 3, MlsContent: commit}
	h.step(h.seat("bob"), Received{Msg: in})
	if e := h.seat("bob").ended; e == nil || e.Reason != CryptoFailed {
		t.Errorf("bob: %+v", e)
	}
}

// A departure that is played again does not remove one that was invited anew.
func TestGroupReplayedDeparture(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol")
	h.gather()
	var departure Inbound
	h.fate = func(f, _ *seat, o Outbound) []time.Duration {
		if o.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST && f.name == "carol" {
			departure = Inbound{Type: o.Type, ID: o.ID, From: f.full, Subject: f.subject, Key: []byte(f.subject), Command: o.Command, Metadata: o.Metadata}
		}
		return []time.Duration{hallDelay}
	}
	h.step(h.seat("carol"), Close{})
	h.run(time.Second)
	if err := h.outcome(h.invite("carol")); err != nil {
		t.Fatal(err)
	}
	h.step(h.seats[0], Received{Msg: departure})
	h.run(time.Second)
	if !slices.Contains(h.rosterOf(h.seats[0]), "carol") {
		t.Error("carol was removed by her own earlier departure")
	}
	h.agree()
}

// A member with an old token that asks to be let in anew cannot be, while one
// that checks ages is there.
func TestGroupStaleRejoin(t *testing.T) {
	h := staleHall(t, "bob")
	in := forgery(h, pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST, h.seat("dave"))
	kp, _ := h.seat("dave").mls.KeyPackage(h.now)
	in.Command.GetRejoinRequest().Participant = wire.FromName(h.seat("dave").full)
	in.Command.GetRejoinRequest().KeyPackage = kp
	epoch := h.seat("alice").m.Epoch()
	out := h.seat("alice").m.Step(h.now, Received{Msg: in})
	stale := (*StaleError)(nil)
	if len(out.Members) != 1 || out.Members[0].What != Blocked || !errors.As(out.Members[0].Err, &stale) || h.seat("alice").m.Epoch() != epoch {
		t.Errorf("%+v", out)
	}
}

// The moderator renews its own leaf before its token is old, also when nobody
// publishes, and so do the participants.
func TestGroupTokensStayFresh(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10, rotateTime: 45 * time.Minute, silent: true}, "alice", "bob", "carol")
	for _, s := range h.seats[1:] {
		s.strict = true
	}
	h.gather()
	for range 20 {
		h.run(15 * time.Minute)
		for _, m := range h.seat("alice").mls.Members() {
			if age := h.now.Sub(m.IssuedAt); age > 50*time.Minute {
				t.Fatalf("the token of %s is %v old", m.Subject, age)
			}
		}
	}
	h.agree()
}

// A name on the roster counts only with a leaf of its own in the group.
func TestGroupNameWithoutLeaf(t *testing.T) {
	h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol", "dave")
	h.invite("bob")
	h.run(time.Second)
	h.fate = func(f, _ *seat, o Outbound) []time.Duration {
		if w := o.Command.GetGroupWelcome(); w != nil { // carol is told of dave too
			w.Participants = append(w.Participants, participant(h.seat("dave").full))
		}
		return []time.Duration{hallDelay}
	}
	if err := h.outcome(h.invite("carol")); err != nil {
		t.Fatal(err)
	}
	h.agree()
}

// A message from an earlier stay in the group, under way for long, is not taken
// for the start of the new stream.
func TestGroupMessageOfEarlierStay(t *testing.T) {
	h := newHall(t, hallOptions{retries: 2}, "alice", "bob", "carol")
	h.gather()
	h.fate = func(f, _ *seat, o Outbound) []time.Duration {
		if o.Type == msgType && f.name == "carol" {
			return []time.Duration{900 * time.Millisecond}
		}
		return []time.Duration{hallDelay}
	}
	h.publish(h.seat("carol"), "old")
	h.expel("carol", false)
	h.run(100 * time.Millisecond)
	h.invite("carol")
	h.run(2 * time.Second)
	h.fate = allWell
	h.publish(h.seat("carol"), "new")
	h.run(time.Second)
	for _, n := range []string{"alice", "bob"} {
		if !slices.Equal(h.seat(n).got, []string{"new"}) {
			t.Errorf("%s got %v", n, h.seat(n).got)
		}
	}
}
