package arq

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// snapshot is what a side has written down last, and what it did since.
type snapshot[S any] struct {
	due     bool // something happened that must not be forgotten
	since   int  // transmissions, or requests
	state   []byte
	content map[uint64]uint64
}

func (s *snapshot[S]) take(t *testing.T, state S, content iter.Seq2[uint64, uint64]) {
	t.Helper()
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	*s = snapshot[S]{state: text, content: maps.Collect(content)}
}

func (s *snapshot[S]) read(t *testing.T) (state S) {
	t.Helper()
	if err := json.Unmarshal(s.state, &state); err != nil {
		t.Fatal(err)
	}
	return state
}

func (s *snapshot[S]) message(seq uint64) (uint64, int, bool) {
	msg, ok := s.content[seq]
	return msg, 10, ok
}

// TestSimulationOfRestarts is TestSimulation with processes that die, of which
// a new one knows no more than what was written before the last
// acknowledgement, publication or report.
func TestSimulationOfRestarts(t *testing.T) {
	n := *seeds / 2
	if testing.Short() {
		n /= 10
	}
	for seed := range n {
		s := newSim(t, uint64(seed))
		s.plan.restarts = 1 + s.rnd.IntN(4)
		if s.plan.retries >= 14 {
			// So many fit the ring: what was sent on request, and lost, is not
			// pushed out while many pauses put the next request off.
			s.plan.messages = min(s.plan.messages, 60)
			s.left = s.plan.messages
		}
		s.run()
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, s.plan)
		}
	}
}

func (s *sim) planRestarts(some func() time.Duration) {
	for range s.plan.restarts {
		d := time.Duration(s.rnd.IntN(3)) * s.plan.interval / 2
		s.after(some(), func() { s.restart(d) })
		i := s.rnd.IntN(len(s.at))
		s.after(some(), func() { s.restartReceiver(i, d) })
	}
	s.save()
}

// save writes down what must not be forgotten, and sometimes the rest.
func (s *sim) save() {
	if s.plan.restarts == 0 {
		return
	}
	if s.saved.due || s.saved.state == nil || s.rnd.IntN(8) == 0 {
		s.saved.take(s.t, s.s.Save(), s.s.Kept())
	}
	for _, n := range s.at {
		if n.saved.due || n.saved.state == nil || s.rnd.IntN(8) == 0 {
			n.saved.take(s.t, n.r.Save(), n.r.Held())
		}
	}
}

// newEpoch is what a session does for peers that are sent nothing for the sake
// of others: restarts repeat so much that it can come to that.
func (s *sim) newEpoch() {
	if s.plan.restarts > 0 && s.s.Starved() {
		s.s.NewEpoch()
		s.saved.due = true
		for _, n := range s.at {
			n.heard = max(n.heard, s.number)
		}
	}
}

// restart lets the sender die, and come back after d.
func (s *sim) restart(d time.Duration) {
	restored, err := RestoreSender(s.s.cfg, s.saved.read(s.t), s.saved.message)
	if err != nil {
		s.t.Fatal(err)
	}
	skip := s.saved.since + s.rnd.IntN(5)
	restored.Skipped(skip)
	s.number += uint64(skip - s.saved.since)
	s.chances += s.saved.since
	s.s, s.saved.due = restored, true
	s.pause(d)
}

// restartReceiver lets receiver i die, and come back after d.
func (s *sim) restartReceiver(i int, d time.Duration) {
	n := s.at[i]
	restored, err := RestoreReceiver(n.r.cfg, n.saved.read(s.t), n.saved.message)
	if err != nil {
		s.t.Fatal(err)
	}
	n.resumes += n.saved.since
	n.r, n.saved.due = restored, true
	if n.away {
		return
	}
	n.away = true
	s.after(d, func() {
		n.away = false
		n.resumes++
		n.r.Resume(s.now)
	})
}

// again restores a sender from its own state.
func again[P comparable, T any](t *testing.T, s *Sender[P, T], size func(T) int) *Sender[P, T] {
	t.Helper()
	state := s.Save()
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	var read SenderState[P]
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	content := maps.Collect(s.Kept())
	restored, err := RestoreSender(s.cfg, read, func(seq uint64) (T, int, bool) {
		msg, ok := content[seq]
		delete(content, seq)
		return msg, size(msg), ok
	})
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if len(content) > 0 {
		t.Fatalf("%d messages were kept for nothing", len(content))
	}
	checkSender(t, restored)
	if other := restored.Save(); !reflect.DeepEqual(other, state) {
		t.Fatalf("restored %+v, saved %+v", other, state)
	}
	return restored
}

// TestSenderGoesOn compares a sender that was paused with one that was
// restored at that moment, in all that they do afterwards.
func TestSenderGoesOn(t *testing.T) {
	for seed := range *seeds / 2 {
		twinSenders(t, rand.New(rand.NewPCG(uint64(seed), 7)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func twinSenders(t *testing.T, rnd *rand.Rand) {
	c := SenderConfig{
		Reliable: rnd.IntN(20) > 0, MaxRetries: rnd.IntN(4), Ring: 4 + 8*rnd.IntN(4), Window: 3 + 8*rnd.IntN(2),
		RingBytes: 400, WindowBytes: 300, Reach: 24 * rnd.IntN(2),
	}
	s, now := NewSender[byte, byte](c), epoch
	var twin *Sender[byte, byte]
	for range 300 {
		if rnd.IntN(25) == 0 {
			twin = again(t, s, func(m byte) int { return int(m) })
			s.Pause(now)
			s.pausedAt = now
			for _, p := range s.peers {
				for seq := range p.asked {
					p.asked[seq] = now.Add(patience(s.cfg.Interval, s.cfg.MaxRetries))
				}
			}
		}
		op, a, wait := rnd.IntN(14), byte(rnd.IntN(256)), time.Duration(rnd.IntN(2000))*time.Millisecond
		if op == 0 {
			now = now.Add(wait)
		}
		did := stepSender(s, now, op, a)
		if twin == nil {
			continue
		}
		if other := stepSender(twin, now, op, a); fmt.Sprint(other) != fmt.Sprint(did) {
			t.Fatalf("restored: %+v, paused: %+v", other, did)
		}
		checkSender(t, twin)
		if x, y := due(s.NextTimeout(), now), due(twin.NextTimeout(), now); !x.Equal(y) {
			t.Fatalf("restored is due at %v, paused at %v", y, x)
		}
		if x, y := s.Save(), twin.Save(); !reflect.DeepEqual(x, y) {
			t.Fatalf("restored %+v, paused %+v", y, x)
		}
	}
}

// due makes all times in the past equal.
func due(at, now time.Time) time.Time {
	if !at.IsZero() && at.Before(now) {
		return now
	}
	return at
}

// stepSender does one of the things a sender can be asked for.
func stepSender(s *Sender[byte, byte], now time.Time, op int, a byte) []any {
	peer, id := a&3, idAt(s.newest-uint64(a>>2&15))
	switch op {
	case 0:
		resend, settled, lost := s.Tick(now)
		for range resend {
			s.Encrypted()
		}
		return []any{resend, settled, lost, s.Starved()}
	case 1, 2, 3:
		if s.CanPublish(int(a)) || a%16 == 15 { // sometimes against the rule
			id, transmit := s.Publish(now, a, int(a))
			return []any{id, transmit}
		}
		return nil
	case 4, 5, 6:
		return []any{s.Ack(peer, id)}
	case 7:
		if !s.CanAnswer(peer) {
			return nil
		}
		s.Count()
		msg, found, settled := s.Rtx(now, peer, id)
		return []any{msg, found, settled}
	case 8, 9:
		return []any{s.Online(now, peer)}
	case 10:
		if a < 128 {
			return []any{s.Offline(peer)}
		}
		if a < 160 {
			return []any{s.Remove(peer)}
		}
	case 11:
		if a < 30 {
			s.NewEpoch()
		}
		if a == 255 {
			return []any{s.Fail()}
		}
		if a > 200 {
			s.Pause(now)
		}
	default:
		s.Resume(now)
	}
	return []any{s.Pending(), s.Deaf(peer)}
}

// TestSavingIsCheap: with nothing open there is one slice, of the peers.
func TestSavingIsCheap(t *testing.T) {
	s := NewSender[int, *int](SenderConfig{Reliable: true})
	r := NewReceiver[*int](ReceiverConfig{Reliable: true, StartAtOne: true})
	s.Online(epoch, 0)
	s.Online(epoch, 1)
	for range 100 {
		id, _ := s.Publish(epoch, nil, 8)
		r.Message(epoch, id, nil, 8)
		s.Ack(0, id)
		s.Ack(1, id)
	}
	if got := testing.AllocsPerRun(100, func() {
		s.Save()
		r.Save()
		for range s.Kept() {
			t.Fatal("a message is kept")
		}
		for range r.Held() {
			t.Fatal("a message is held")
		}
	}); got != 1 {
		t.Errorf("%v allocations, want 1", got)
	}
}

// TestSkipped: what was skipped counts as missed by everybody, in this epoch.
func TestSkipped(t *testing.T) {
	s := NewSender[int, int](SenderConfig{Reliable: true, Reach: 20})
	s.Online(epoch, 0)
	s.Publish(epoch, 0, 1)
	s.Encrypted()
	s.Ack(0, 1)
	for _, c := range []struct {
		skip int
		deaf bool
	}{{20, false}, {-5, false}, {0, false}, {1, true}, {-1, true}} {
		if s.Skipped(c.skip); s.Deaf(0) != c.deaf {
			t.Errorf("%d more skipped: deaf %v", c.skip, s.Deaf(0))
		}
	}
	if s.NewEpoch(); s.Deaf(0) || s.Count() != 23 {
		t.Errorf("in a new epoch: deaf %v, %d transmissions", s.Deaf(0), s.thrift.sent)
	}
}
