package arq

import (
	"math"
	"slices"
	"time"
)

// peer is what the sender knows about one receiver, online or not.
//
// Invariant: for an open message, entry.waiting counts the online peers for
// which done is false.
type peer[P comparable] struct {
	id     P
	online bool
	// floor: everything up to here is acknowledged, was published before the
	// peer came, or has left the ring.
	floor uint64
	// from is the newest message sent when the peer last came online.
	from  uint64
	acked bits // by slot, above floor: acknowledged by MSG_ACK
	// asked holds, above floor, what was sent in answer to a request, and
	// until when the request may be repeated because the answer was lost.
	asked map[uint64]time.Time
	standing
}

// done reports whether p owes no acknowledgement for seq.
func (p *peer[P]) done(seq uint64, slot int) bool {
	if seq <= p.floor || p.acked.has(slot) {
		return true
	}
	_, ok := p.asked[seq]
	return ok
}

func (s *Sender[P, T]) owes(p *peer[P], e *entry[P, T]) bool {
	return p.online && !p.done(e.seq, s.slot(e.seq))
}

// forgive takes id off the list of those who left.
func (e *entry[P, T]) forgive(id P) {
	e.missing = slices.DeleteFunc(e.missing, func(m P) bool { return m == id })
}

// giveUp moves the peers still waited for to the missing ones.
func (s *Sender[P, T]) giveUp(e *entry[P, T]) {
	for _, p := range s.peers {
		if s.owes(p, e) {
			e.missing = append(e.missing, p.id)
		}
	}
}

// advance raises p.floor to seq to at least, and on over everything
// acknowledged. A request counts once it can no longer be repeated.
func (s *Sender[P, T]) advance(p *peer[P], to uint64, now time.Time) {
	if len(s.slots) == 0 { // unreliable, or ended
		return
	}
	if s.paused {
		now = s.pausedAt
	}
	for p.floor < s.newest {
		seq := p.floor + 1
		i := s.slot(seq)
		if seq > to && !p.acked.has(i) {
			until, ok := p.asked[seq]
			if !ok || now.Before(until) {
				return
			}
		}
		p.floor = seq
		p.acked.clear(i)
		s.unask(p, seq)
		s.slots[i].behind--
		s.release(&s.slots[i])
	}
}

func (s *Sender[P, T]) ask(p *peer[P], seq uint64, now time.Time) {
	if s.paused { // its clock stands still
		now = s.pausedAt
	}
	if p.asked == nil {
		p.asked = make(map[uint64]time.Time)
	}
	if _, ok := p.asked[seq]; !ok {
		s.asked++
	}
	p.asked[seq] = now.Add(patience(s.cfg.Interval, s.cfg.MaxRetries))
}

func (s *Sender[P, T]) unask(p *peer[P], seq uint64) {
	if _, ok := p.asked[seq]; ok {
		delete(p.asked, seq)
		s.asked--
	}
}

// Online notes that p joined or came back and returns what to send now:
// what is open and p does not have, then everything that waited for a peer.
// A peer seen for the first time gets nothing that was sent before it came.
// A peer that came back can ask for what it missed, as far as it is kept.
func (s *Sender[P, T]) Online(now time.Time, p P) (send []Outgoing[P, T]) {
	pr := s.byID[p]
	if pr == nil {
		pr = s.admit(p)
	}
	if pr.online {
		return nil
	}
	pr.online = true
	s.online++
	pr.from = s.newest - uint64(s.unsent)
	s.thrift.all, s.thrift.some = 0, 0
	for seq := s.lowestOpen(); seq <= s.newest; seq++ {
		e := s.at(seq)
		if !e.open || pr.done(seq, s.slot(seq)) {
			continue
		}
		e.waiting++
		e.forgive(p)
		if e.sent && !s.paused {
			send = s.sendAgain(send, pr, e, now)
		}
	}
	return append(send, s.sendUnsent(now, p)...)
}

// admit adds a new peer, for which the stream begins at the first unsent message.
func (s *Sender[P, T]) admit(p P) *peer[P] {
	pr := &peer[P]{id: p, floor: s.newest - uint64(s.unsent), acked: newBits(len(s.slots))}
	pr.heard = s.thrift.start
	s.byID[p] = pr
	s.peers = append(s.peers, pr)
	for seq := pr.floor + 1; seq <= s.newest; seq++ {
		s.at(seq).behind++
	}
	return pr
}

// sendUnsent sends for the first time what waited for a peer or the link.
func (s *Sender[P, T]) sendUnsent(now time.Time, first P) (send []Outgoing[P, T]) {
	if s.paused || s.online == 0 {
		return nil
	}
	for ; s.unsent > 0; s.unsent-- {
		e := s.at(s.newest - uint64(s.unsent) + 1)
		e.sent, e.first = true, s.Count()
		s.timers.arm(s.slot(e.seq), now.Add(s.cfg.Interval))
		send = append(send, Outgoing[P, T]{ID: s.idOf(e.seq), ToAll: true, Peer: first, Msg: e.msg})
	}
	return send
}

// Offline takes p off the acknowledgement lists. Messages that waited for
// nobody else settle with p missing. What p has is remembered.
func (s *Sender[P, T]) Offline(p P) (settled []Settled[P]) {
	pr := s.byID[p]
	if pr == nil || !pr.online {
		return nil
	}
	for seq := s.lowestOpen(); seq <= s.newest; seq++ {
		e := s.at(seq)
		if !e.open || !s.owes(pr, e) {
			continue
		}
		e.waiting--
		s.unhold(pr, e)
		if !e.sent {
			continue // parked again if nobody is left
		}
		e.missing = append(e.missing, p)
		if e.waiting == 0 {
			settled = append(settled, s.settle(e))
		}
	}
	pr.online, pr.allowed = false, 0
	s.online--
	return settled
}

// Remove takes p off for good, as when it leaves the roster: Offline, and
// what is known about it is forgotten. If it comes back it is a new peer.
func (s *Sender[P, T]) Remove(p P) (settled []Settled[P]) {
	settled = s.Offline(p)
	pr := s.byID[p]
	if pr == nil {
		return nil
	}
	s.advance(pr, math.MaxUint64, time.Time{})
	delete(s.byID, p)
	s.peers = slices.DeleteFunc(s.peers, func(o *peer[P]) bool { return o == pr })
	return settled
}
