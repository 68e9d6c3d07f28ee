package arq

import (
	"container/heap"
	"flag"
	"math/rand/v2"
	"testing"
	"time"
)

var seeds = flag.Int("seeds", 3000, "number of random runs of each simulation")

// TestSimulation runs a sender and its receivers in virtual time over a
// channel that loses, duplicates and reorders.
func TestSimulation(t *testing.T) {
	n := *seeds
	if testing.Short() {
		n /= 10
	}
	for seed := range n {
		s := newSim(t, uint64(seed))
		s.run()
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, s.plan)
		}
	}
}

type plan struct {
	peers, messages  int
	loss, dup        float64
	jitter           time.Duration
	interval         time.Duration
	retries          int
	start            uint64 // sequence number before the first message
	first            bool   // StartAtOne
	absences, pauses int
	reach            int
	restarts         int // of the sender, and as many of receivers
}

type sim struct {
	t    *testing.T
	rnd  *rand.Rand
	plan plan
	now  time.Time
	q    events
	n    uint64

	s       *Sender[int, uint64]
	at      []*node
	down    bool // the sender's link
	left    int  // messages to publish
	settled map[MessageID]bool
	missing int
	sends   map[[2]uint64]int // message, peer
	chances int               // transmissions that are not counted: resumes, returns
	tickAt  time.Time
	deaf    int
	number  uint64 // of the last transmission, encrypted anew each
	saved   snapshot[SenderState[int]]
}

// node is one receiver and what its application saw.
type node struct {
	r        *Receiver[uint64]
	away     bool
	cut      bool // out of reach, and nobody knows
	seen     bool
	next     MessageID // expected
	got      int
	lost     int
	requests map[MessageID]int
	resumes  int
	tickAt   time.Time
	heard    uint64 // the last transmission decrypted
	saved    snapshot[ReceiverState]
}

func newSim(t *testing.T, seed uint64) *sim {
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := plan{
		peers: 1 + rnd.IntN(3), messages: 5 + rnd.IntN(80),
		loss: rnd.Float64() * 0.15, dup: rnd.Float64() * 0.3,
		jitter:   time.Duration(rnd.IntN(800)) * time.Millisecond,
		interval: time.Duration(200+rnd.IntN(1800)) * time.Millisecond,
		retries:  14 + rnd.IntN(6), first: rnd.IntN(2) == 0,
	}
	if seed%3 == 1 { // hard: messages may get lost, order and once-ness must not
		p.loss, p.retries, p.absences, p.pauses = rnd.Float64()*0.6, rnd.IntN(4), rnd.IntN(4), rnd.IntN(3)
	} else if seed%3 == 2 {
		p.pauses = rnd.IntN(4)
	}
	if !p.first && rnd.IntN(3) == 0 {
		p.start = uint64(MaxID) - uint64(rnd.IntN(40))
	}
	s := &sim{t: t, rnd: rnd, plan: p, now: epoch, left: p.messages, settled: map[MessageID]bool{}, sends: map[[2]uint64]int{}}
	window := 1 + rnd.IntN(40)
	if seed%2 == 0 {
		window, s.plan.reach = min(window, 16), 96
		s.plan.jitter = min(p.jitter, p.interval/2)
	}
	s.s = NewSender[int, uint64](SenderConfig{Reliable: true, Interval: p.interval, MaxRetries: p.retries, Window: window, Ring: 64, Reach: s.plan.reach})
	s.s.newest, s.s.firstOpen, s.s.firstKept = p.start, p.start+1, p.start+1
	for range p.peers {
		r := NewReceiver[uint64](ReceiverConfig{Reliable: true, StartAtOne: p.first, Interval: p.interval, MaxRetries: p.retries, Hold: 64})
		s.at = append(s.at, &node{r: r, seen: p.first, next: 1, requests: map[MessageID]int{}})
	}
	return s
}

func (s *sim) after(d time.Duration, do func()) {
	s.n++
	heap.Push(&s.q, event{s.now.Add(d), s.n, do})
}

func (s *sim) run() {
	span := time.Duration(s.plan.messages) * 100 * time.Millisecond
	some := func() time.Duration { return time.Duration(s.rnd.Int64N(int64(span))) }
	for i := range s.at {
		s.after(time.Duration(s.rnd.IntN(2))*some()/4*time.Duration(s.plan.absences), func() { s.online(i) })
	}
	s.after(0, s.publish)
	for range s.plan.absences {
		i, d := s.rnd.IntN(len(s.at)), some()
		s.after(some(), func() { s.leave(i, d) })
	}
	for range btoi(s.plan.reach > 0) {
		i, d := s.rnd.IntN(len(s.at)), time.Duration(s.rnd.IntN(7))*s.plan.interval
		s.after(some(), func() {
			s.at[i].cut = true
			s.after(d, func() { s.at[i].cut = false })
		})
	}
	for range s.plan.pauses {
		d := some()
		s.after(some(), func() { s.pause(d) })
	}
	s.planRestarts(some)
	for steps := 0; s.q.Len() > 0 && !s.t.Failed(); steps++ {
		e := heap.Pop(&s.q).(event)
		s.now = e.at
		e.do()
		checkSender(s.t, s.s)
		s.save()
		s.arm()
		if steps > 200_000 {
			s.t.Error("does not come to rest")
		}
	}
	s.finish()
}

// arm schedules the ticks both sides ask for.
func (s *sim) arm() {
	if at := s.s.NextTimeout(); !at.IsZero() && at != s.tickAt {
		s.tickAt = at
		s.after(max(at.Sub(s.now), 0), func() { s.tickAt = time.Time{}; s.tickSender() })
	}
	for i, n := range s.at {
		checkReceiver(s.t, n.r)
		if at := n.r.NextTimeout(); !at.IsZero() && at != n.tickAt {
			n.tickAt = at
			s.after(max(at.Sub(s.now), 0), func() {
				n.tickAt = time.Time{}
				s.result(i, 0, n.r.Tick(s.now))
				if at := n.r.NextTimeout(); !at.IsZero() && !at.After(s.now) {
					s.t.Errorf("receiver %d: due at %v after the tick at %v", i, at.Sub(epoch), s.now.Sub(epoch))
				}
			})
		}
	}
}

func (s *sim) publish() {
	size := s.rnd.IntN(1000)
	if s.s.CanPublish(size) {
		seq := s.s.newest + 1
		id, transmit := s.s.Publish(s.now, seq, size)
		if id != idAt(seq) {
			s.t.Errorf("id %d, want %d", id, idAt(seq))
		}
		if transmit {
			s.send([]Outgoing[int, uint64]{{ID: id, ToAll: true, Msg: seq}})
		}
		s.left--
		s.saved.due = true
	}
	if s.left > 0 {
		s.after(time.Duration(s.rnd.IntN(200))*time.Millisecond, s.publish)
	}
}

func (s *sim) tickSender() {
	resend, settled, lost := s.s.Tick(s.now)
	s.send(resend)
	s.settle(settled)
	s.saved.due = s.saved.due || len(lost) > 0
	s.newEpoch()
	for _, i := range lost { // a heartbeat brings it back
		s.after(5*time.Second, func() {
			if !s.at[i].away {
				s.online(i)
			}
		})
	}
	if at := s.s.NextTimeout(); !at.IsZero() && !at.After(s.now) {
		s.t.Errorf("sender: due at %v after the tick at %v", at.Sub(epoch), s.now.Sub(epoch))
	}
}

func (s *sim) online(i int) {
	s.chances++
	s.saved.due = true
	s.send(s.s.Online(s.now, i))
}

func (s *sim) leave(i int, d time.Duration) {
	n := s.at[i]
	if n.away {
		return
	}
	n.away = true
	n.r.Pause(s.now)
	if s.rnd.IntN(2) == 0 {
		s.after(d/2, func() {
			s.saved.due = true
			s.settle(s.s.Offline(i))
		})
	}
	s.after(d, func() {
		n.away = false
		n.resumes++
		n.r.Resume(s.now)
		s.online(i)
	})
}

func (s *sim) pause(d time.Duration) {
	if s.down {
		return
	}
	s.down = true
	s.s.Pause(s.now)
	for _, n := range s.at {
		n.r.Pause(s.now)
	}
	s.after(d, func() {
		s.down = false
		s.chances++
		s.s.Resume(s.now)
		for _, n := range s.at {
			if !n.away {
				n.resumes++
				n.r.Resume(s.now)
			}
		}
	})
}

// carry takes something over the channel between the sender and peer i.
func (s *sim) carry(i int, do func()) {
	for range 1 + btoi(s.rnd.Float64() < s.plan.dup) {
		if s.down || s.at[i].away || s.at[i].cut || s.rnd.Float64() < s.plan.loss {
			continue
		}
		s.after(5*time.Millisecond+time.Duration(s.rnd.Int64N(int64(s.plan.jitter)+1)), func() {
			if !s.down && !s.at[i].away {
				do()
			}
		})
	}
}

// encrypted carries what was encrypted under the next number: it is refused by
// a peer that has decrypted none of so many before it.
func (s *sim) encrypted(number uint64, i int, do func()) {
	s.carry(i, func() {
		n := s.at[i]
		if s.plan.reach > 0 && number > n.heard+1+uint64(s.plan.reach) {
			s.deaf++
			return
		}
		n.heard = max(n.heard, number)
		do()
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *sim) send(list []Outgoing[int, uint64]) {
	for _, o := range list {
		if s.down {
			s.t.Errorf("sends %d while paused", o.ID)
		}
		s.number++
		s.saved.since++
		s.s.Encrypted()
		for i, n := range s.at {
			if !o.ToAll && i != o.Peer {
				continue
			}
			if s.settled[o.ID] {
				s.t.Errorf("sends %d after it was settled", o.ID)
			}
			s.sends[[2]uint64{o.Msg, uint64(i)}]++
			s.encrypted(s.number, i, func() {
				s.result(i, o.ID, n.r.Message(s.now, o.ID, o.Msg, 10))
			})
		}
	}
}

// result carries out what receiver i wants.
func (s *sim) result(i int, id MessageID, out Result[uint64]) {
	n := s.at[i]
	n.saved.due = n.saved.due || out.Ack || len(out.Deliver) > 0
	if out.Ack {
		s.carry(i, func() { s.settle(s.s.Ack(i, id)) })
	}
	for _, id := range out.Request {
		n.requests[id]++
		n.saved.since++
		if n.requests[id] > s.plan.retries+1+n.resumes {
			s.t.Errorf("peer %d: %d requests for %d", i, n.requests[id], id)
		}
		s.carry(i, func() {
			if !s.s.CanAnswer(i) {
				return
			}
			msg, found, settled := s.s.Rtx(s.now, i, id)
			s.settle(settled)
			s.number = s.s.Count()
			s.saved.since++
			s.s.Encrypted()
			s.encrypted(s.number, i, func() { s.result(i, id, n.r.Reply(s.now, id, msg, 10, !found)) })
		})
	}
	for _, item := range out.Deliver {
		if !n.seen {
			n.seen, n.next = true, item.ID
		}
		if item.ID != n.next {
			s.t.Errorf("peer %d: %d delivered, want %d", i, item.ID, n.next)
		}
		n.next = Next(item.Through)
		if item.Lost {
			n.lost += int((item.Through-item.ID)&MaxID) + 1
			continue
		}
		if n.got++; idAt(item.Msg) != item.ID {
			s.t.Errorf("peer %d: id %d with message %d", i, item.ID, item.Msg)
		}
	}
}

func (s *sim) settle(list []Settled[int]) {
	for _, one := range list {
		if s.settled[one.ID] {
			s.t.Errorf("message %d settled twice", one.ID)
		}
		s.settled[one.ID] = true
		s.saved.due = true
		s.missing += len(one.Missing)
	}
}

// finish checks the state of rest.
func (s *sim) finish() {
	if s.s.online > 0 && s.s.Pending() != 0 || s.left > 0 {
		s.t.Errorf("%d pending, %d not published", s.s.Pending(), s.left)
	}
	if s.number != s.s.thrift.sent || s.number != s.s.thrift.sealed {
		s.t.Errorf("%d transmissions, counted %d, encrypted %d", s.number, s.s.thrift.sent, s.s.thrift.sealed)
	}
	for key, n := range s.sends {
		if n > s.plan.retries+1+s.chances {
			s.t.Errorf("message %d sent %d times to peer %d", key[0], n, key[1])
		}
	}
	if s.plan.absences > 0 || s.plan.retries < 14 {
		return
	}
	if s.deaf != 0 {
		s.t.Errorf("%d transmissions too far ahead", s.deaf)
	}
	if s.missing != 0 {
		s.t.Errorf("%d acknowledgements missing", s.missing)
	}
	for i, n := range s.at {
		if n.lost != 0 || s.plan.first && n.got != s.plan.messages || n.next != idAt(s.s.newest+1) {
			s.t.Errorf("peer %d: %d of %d delivered, %d lost, next %d", i, n.got, s.plan.messages, n.lost, n.next)
		}
	}
}
