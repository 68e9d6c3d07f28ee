package control

import (
	"testing"
	"time"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// No state makes Restore panic, or what it makes: it is refused, or goes on.
func FuzzRestore(f *testing.F) {
	p := newPair(&testing.T{}, pairOptions{mls: true, retries: 3, rotateMsgs: 3})
	p.step(p.a, Start{})
	p.run(200 * time.Millisecond)
	for range 5 {
		p.step(p.a, Publish{Msg: AppMessage{Payload: []byte("text")}})
		p.run(10 * time.Millisecond)
	}
	p.fate = func(*side, Outbound) []time.Duration { return nil }
	p.step(p.a, Publish{Msg: AppMessage{Payload: []byte("lost")}})
	h := newHall(&testing.T{}, hallOptions{retries: 3, silent: true}, "alice", "bob", "carol")
	for _, s := range h.seats[1:] {
		h.invite(s.name)
		h.run(100 * time.Millisecond)
	}
	h.fate = func(*seat, *seat, Outbound) []time.Duration { return nil }
	h.step(h.seats[1], PublishTo{To: h.seats[2].full, Msg: AppMessage{Payload: []byte("letter")}})
	h.expel("carol", false)
	for _, m := range []Core{p.a.m, p.b.m, h.seats[0].m, h.seats[1].m} {
		state, err := m.Save()
		if err != nil || state == nil {
			f.Fatal("no seed")
		}
		f.Add(state)
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		saved, err := ReadSaved(state)
		if err != nil {
			return
		}
		cfg := saved.Config()
		cfg.NewID, cfg.LostAfter, cfg.RotateMessages = func() uint32 { return 5 }, time.Minute, 10
		if saved.Encrypted() {
			cfg.MLS = &fakeMLS{subject: "org/ns/alice_x"}
			if len(saved.s.Local.Components[2]) == 3 {
				cfg.MLS = &fakeMLS{subject: "org/ns/bob_x"}
			}
			if saved.s.Group != nil {
				count := 0
				cfg.MLS = &fakeTree{subject: cfg.MLS.(*fakeMLS).subject, count: &count}
			}
		}
		m, err := saved.Restore(epochStart, cfg, func(string) (AppMessage, bool) { return AppMessage{Payload: []byte("x")}, true })
		if err != nil {
			return
		}
		now := epochStart
		for _, ev := range []Event{
			LinkUp{}, Tick{}, Publish{Msg: AppMessage{Payload: []byte("y")}},
			Received{Msg: Inbound{Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG_ACK, ID: 1, From: cfg.Peer}},
			LinkDown{}, LinkUp{}, Tick{}, Close{}, Tick{},
		} {
			m.Step(now, ev)
			if _, err := m.Save(); err != nil {
				t.Fatal(err)
			}
			now = now.Add(5 * time.Second)
		}
	})
}
