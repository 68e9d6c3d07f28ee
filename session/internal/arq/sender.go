package arq

import "time"

// Outgoing is one message to put on the wire now.
type Outgoing[P comparable, T any] struct {
	ID MessageID
	// ToAll: to the session destination, for every peer (a first
	// transmission). Otherwise to Peer alone.
	ToAll   bool
	Peer    P
	Msg     T
	Attempt int // retransmissions counted so far; 0 for the first transmission
}

// Settled says that the sender waits no longer for acknowledgements of a message.
type Settled[P comparable] struct {
	ID      MessageID
	Missing []P  // peers that did not acknowledge; empty: everybody did
	Failed  bool // from Fail: the session ended first; Missing is empty if it was never sent
}

// Sender is the sending side of one session: one sequence of ids and the
// peers that acknowledge it. Not safe for concurrent use.
//
// A published message is open until every peer that was online has
// acknowledged it, left, or been given up. Afterwards it is kept, within Ring
// and RingBytes, for as long as some known peer may still ask for it.
type Sender[P comparable, T any] struct {
	cfg    SenderConfig
	newest uint64 // sequence number of the newest message; its id is the low 31 bits
	// slots holds message n in slots[n%len]. It starts small and doubles up
	// to cfg.Ring while messages that are still needed would be overwritten.
	slots  []entry[P, T]
	timers timers // of messages that are open and sent

	peers  []*peer[P] // in order of first Online, so that outputs repeat
	byID   map[P]*peer[P]
	online int
	asked  int // entries of all peer.asked together

	firstOpen uint64 // no open message is below
	firstKept uint64 // no kept message is below
	unsent    int    // the newest messages that were never sent: parked, or published while paused
	open      int
	openBytes int
	keptBytes int

	paused   bool
	pausedAt time.Time // of the last Pause
	resumed  time.Time // of the last Resume
	closed   bool
	thrift   thrift
	early    []Settled[P] // pushed out of the ring unsettled, for the next Tick
	earlyAt  time.Time
}

type entry[P comparable, T any] struct {
	seq  uint64
	msg  T
	size int
	open bool // not settled
	sent bool
	kept bool // msg is here; always so while open
	// again: the link was down, the next transmission is not counted.
	again   bool
	attempt int
	waiting int // online peers that owe an acknowledgement
	behind  int // known peers whose floor is below seq
	missing []P // peers that left without acknowledging
	// first is the number of the first transmission; held are the peers from
	// which the last one was withheld.
	first uint64
	held  []*peer[P]
}

// NewSender returns a sender without peers whose first id is 1.
func NewSender[P comparable, T any](c SenderConfig) *Sender[P, T] {
	s := &Sender[P, T]{cfg: c.withDefaults(), byID: make(map[P]*peer[P]), firstOpen: 1, firstKept: 1}
	if c.Reliable && c.Reach > 0 {
		s.thrift.budget = uint64(s.cfg.Reach-s.cfg.Window) * 3 / 4
	}
	return s
}

// CanPublish reports whether a message of size bytes fits the window. It can
// turn true with Ack, Rtx, Offline, Remove and Tick. Unreliable senders always
// have room; a sender after Fail never has.
func (s *Sender[P, T]) CanPublish(size int) bool {
	switch {
	case s.closed:
		return false
	case !s.cfg.Reliable || s.open == 0:
		return true
	case s.open >= s.cfg.Window || s.openBytes+max(size, 0) > s.cfg.WindowBytes:
		return false
	}
	// One slow message must not be pushed out by a ring of faster ones.
	return s.newest+1-s.lowestOpen() < uint64(s.cfg.Ring)
}

// Publish assigns the next id to msg of size bytes and, if transmit is true,
// asks the caller to send it to the session destination at once. Otherwise it
// waits for a peer (see Online) or for the link (see Resume). An unreliable
// sender keeps nothing and settles nothing: transmit false means that nobody
// is there and the message is gone.
//
// The caller asks CanPublish first. Without it a message may push the oldest
// one out of the ring, which the next Tick then reports as settled with its
// peers missing, as upstream does.
func (s *Sender[P, T]) Publish(now time.Time, msg T, size int) (id MessageID, transmit bool) {
	if s.closed {
		return s.idOf(s.newest), false
	}
	if !s.cfg.Reliable {
		s.newest++
		s.firstOpen = s.newest + 1
		return s.idOf(s.newest), s.online > 0 && !s.paused
	}
	if s.asked > 0 {
		for _, p := range s.peers {
			s.advance(p, 0, now)
		}
	}
	s.makeRoom(now)
	s.newest++
	e := s.at(s.newest)
	*e = entry[P, T]{seq: s.newest, msg: msg, size: max(size, 0), open: true, kept: true, waiting: s.online, behind: len(s.peers)}
	s.open++
	s.openBytes += e.size
	s.keptBytes += e.size
	s.trim()
	if s.paused || s.online == 0 || s.unsent > 0 {
		s.unsent++ // behind older ones, so that the first to arrive is the oldest
		return s.idOf(s.newest), false
	}
	e.sent, e.first = true, s.Count()
	s.timers.arm(s.slot(e.seq), now.Add(s.cfg.Interval))
	return s.idOf(s.newest), true
}

// Ack notes that p has message id. Ids not sent or no longer known, and
// peers never online, are ignored.
func (s *Sender[P, T]) Ack(p P, id MessageID) (settled []Settled[P]) {
	pr, e := s.byID[p], s.find(id)
	if pr == nil || e == nil || !e.sent || e.seq <= pr.floor {
		return nil
	}
	was := pr.done(e.seq, s.slot(e.seq))
	pr.acked.set(s.slot(e.seq))
	s.hears(pr, e)
	s.advance(pr, 0, time.Time{})
	return s.answered(pr, e, was)
}

// Rtx answers the RTX_REQUEST of p for message id, which also counts as its
// acknowledgement. Not found means the reply carries the error flag: the
// message has left the ring, was published before p came, or lies at or below
// the id up to which p had acknowledged everything. The last rule is ours: a
// 3.x receiver that forgot its position asks for the whole history and would
// deliver it again. A request counts as received (MaxRetries+1) intervals after
// its last repetition, not counting the time the link was down.
func (s *Sender[P, T]) Rtx(now time.Time, p P, id MessageID) (msg T, found bool, settled []Settled[P]) {
	pr, e := s.byID[p], s.find(id)
	if pr == nil || e == nil || !e.sent {
		return msg, false, nil
	}
	s.advance(pr, 0, now)
	if e.seq <= pr.floor || !e.kept {
		return msg, false, nil
	}
	msg = e.msg
	was := pr.done(e.seq, s.slot(e.seq))
	if !pr.acked.has(s.slot(e.seq)) {
		s.ask(pr, e.seq, now)
	}
	return msg, true, s.answered(pr, e, was)
}

// answered updates e after p acknowledged it; was: it had done so before.
func (s *Sender[P, T]) answered(p *peer[P], e *entry[P, T], was bool) []Settled[P] {
	if was || !e.open {
		return nil
	}
	s.unhold(p, e)
	if p.online {
		e.waiting--
	} else {
		e.forgive(p.id)
	}
	if e.waiting > 0 {
		return nil
	}
	return []Settled[P]{s.settle(e)}
}

// settle closes e. Peers still waited for must be in e.missing by now.
func (s *Sender[P, T]) settle(e *entry[P, T]) Settled[P] {
	out := Settled[P]{ID: s.idOf(e.seq), Missing: e.missing}
	e.open, e.waiting, e.missing = false, 0, nil
	s.thrift.held -= len(e.held)
	e.held = nil
	s.open--
	s.openBytes -= e.size
	s.timers.disarm(s.slot(e.seq))
	s.release(e)
	return out
}

// Pending returns the number of messages not settled, parked ones included.
func (s *Sender[P, T]) Pending() int { return s.open }

// Fail settles everything open because the session ended: Missing lists who
// had not acknowledged what was sent. Nothing can be published afterwards.
func (s *Sender[P, T]) Fail() []Settled[P] {
	settled := s.early
	for seq := s.lowestOpen(); seq <= s.newest; seq++ {
		e := s.at(seq)
		if !e.open {
			continue
		}
		if e.sent {
			s.giveUp(e)
		}
		out := s.settle(e)
		out.Failed = true
		settled = append(settled, out)
	}
	s.closed, s.early, s.unsent, s.keptBytes = true, nil, 0, 0
	s.slots, s.timers = nil, timers{}
	s.firstOpen, s.firstKept = s.newest+1, s.newest+1
	return settled
}
