package arq

import "time"

const firstSlots = 16 // most sessions never need more

func (s *Sender[P, T]) idOf(seq uint64) MessageID { return MessageID(seq) & MaxID }

func (s *Sender[P, T]) slot(seq uint64) int { return int(seq % uint64(len(s.slots))) }

func (s *Sender[P, T]) at(seq uint64) *entry[P, T] { return &s.slots[s.slot(seq)] }

// find returns the message with this id if it is one of the newest len(slots).
func (s *Sender[P, T]) find(id MessageID) *entry[P, T] {
	back := uint64((s.idOf(s.newest) - id) & MaxID)
	if id > MaxID || back >= uint64(len(s.slots)) || back >= s.newest {
		return nil
	}
	return s.at(s.newest - back)
}

func (s *Sender[P, T]) lowestOpen() uint64 {
	for s.firstOpen <= s.newest && !s.at(s.firstOpen).open {
		s.firstOpen++
	}
	return s.firstOpen
}

// makeRoom readies the slot of the next message.
func (s *Sender[P, T]) makeRoom(now time.Time) {
	if len(s.slots) == 0 {
		s.grow()
	}
	e := s.at(s.newest + 1)
	if e.kept && len(s.slots) < s.cfg.Ring {
		s.grow()
		e = s.at(s.newest + 1)
	}
	if e.seq == 0 {
		return
	}
	if e.open {
		if e.sent {
			s.giveUp(e)
		} else {
			s.unsent--
		}
		s.early, s.earlyAt = append(s.early, s.settle(e)), now
	}
	s.drop(e)
	if e.behind > 0 {
		for _, p := range s.peers {
			s.advance(p, e.seq, time.Time{})
		}
	}
	s.firstOpen, s.firstKept = max(s.firstOpen, e.seq+1), max(s.firstKept, e.seq+1)
}

func (s *Sender[P, T]) grow() {
	old, n := s.slots, min(max(2*len(s.slots), firstSlots), s.cfg.Ring)
	to := func(slot int) int { return int(old[slot].seq % uint64(n)) }
	s.slots = make([]entry[P, T], n)
	s.timers = s.timers.moved(n, to)
	for i := range old {
		if old[i].seq != 0 {
			s.slots[to(i)] = old[i]
		}
	}
	for _, p := range s.peers {
		acked := newBits(n)
		for i := range old {
			if p.acked.has(i) {
				acked.set(to(i))
			}
		}
		p.acked = acked
	}
}

// release lets go of the payload once it is settled and nobody may ask for it.
func (s *Sender[P, T]) release(e *entry[P, T]) {
	if !e.open && e.behind == 0 {
		s.drop(e)
	}
}

func (s *Sender[P, T]) drop(e *entry[P, T]) {
	if !e.kept {
		return
	}
	var none T
	e.msg, e.kept = none, false
	s.keptBytes -= e.size
}

// trim keeps the payload within RingBytes: the oldest settled messages go first.
func (s *Sender[P, T]) trim() {
	if s.keptBytes <= s.cfg.RingBytes {
		return
	}
	for seq := s.firstKept; seq < s.newest && s.keptBytes > s.cfg.RingBytes; seq++ {
		e := s.at(seq)
		if !e.open {
			s.drop(e)
		}
		if !e.kept && seq == s.firstKept {
			s.firstKept++
		}
	}
}

// bits is a set of slot numbers.
type bits []uint64

func newBits(n int) bits { return make(bits, (n+63)/64) }

func (b bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bits) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bits) clear(i int)    { b[i/64] &^= 1 << (i % 64) }
