package arq

import (
	"math"
	"slices"
	"time"
)

// A receiver whose keys move on with every message, as in MLS, takes nothing
// that is more than Reach transmissions beyond the last one it decrypted, and
// a transmission to anybody counts. So the sender numbers its transmissions and
// notes how far each peer is known to be: at the first transmission of what it
// acknowledged, since which of several it was is not known. While an online
// peer is far behind, retransmissions are withheld, lest those to one that is
// gone make it deaf, and everybody else that waits for its acknowledgement:
//
//	transmissions behind    what is retransmitted of what is due
//	below the budget        everything
//	below its reach         to each peer the oldest message that it owes; and two
//	                        that were withheld for each it acknowledges;
//	                        the second half is for the peer itself, if it owes any
//	above                   nothing
//
// The budget is 3/4 of Reach - Window. The reach of a peer is Reach, less what
// may still be published before its acknowledgement is waited for: Window, less
// what it owes. What is withheld counts as an attempt: a message is given up
// when its time is over, however often it was sent. A peer more than Reach
// behind is deaf until the next epoch, and is not spared. Answers to requests
// are withheld above the reach ([Sender.CanAnswer]): they will be repeated.

// thrift is what the sender keeps about its transmissions.
type thrift struct {
	budget uint64 // zero: no limit
	sent   uint64
	// sealed: the transmissions up to here have been encrypted, maybe more.
	sealed uint64
	start  uint64 // sealed at the start of the epoch
	// starved: somebody could be sent nothing, for the sake of others.
	starved bool
	held    int // entries of all entry.held together
	// all and some: below these numbers everything may be sent again, or some of
	// it; of the call under way. Zero: not found yet. For the peer that sets some,
	// someFor counts instead.
	all, some, someFor uint64
	// wake: somebody may be sent what was withheld at heldAt.
	wake   bool
	heldAt time.Time
}

// standing is how far a peer is.
type standing struct {
	heard   uint64 // it decrypted this transmission or a later one
	allowed int    // so much of what was withheld may be sent
	// Below these numbers others, or it too, may be sent some; of the call under
	// way.
	half, reach uint64
}

// Count numbers one transmission. Callers count those that the sender did not
// ask for, but that use up a key of the same sequence.
func (s *Sender[P, T]) Count() uint64 {
	s.thrift.sent++
	return s.thrift.sent
}

// CanAnswer reports whether a request of p may be answered now ([Sender.Rtx]).
func (s *Sender[P, T]) CanAnswer(p P) bool {
	pr := s.byID[p]
	s.thrift.all, s.thrift.some = 0, 0
	return pr == nil || s.mayAll() || !s.starves(pr)
}

// Deaf reports whether p has missed so much that it takes nothing more before the
// next epoch, as far as is known.
func (s *Sender[P, T]) Deaf(p P) bool {
	pr := s.byID[p]
	return pr != nil && s.thrift.budget > 0 && s.thrift.sent-pr.heard > uint64(s.cfg.Reach)
}

// Encrypted says that one more transmission has been encrypted, in the order in
// which they were counted. Some may have been left out.
func (s *Sender[P, T]) Encrypted() { s.thrift.sealed = min(s.thrift.sealed+1, s.thrift.sent) }

// NewEpoch says that what is encrypted from now on is so with new keys, of which
// no peer has missed any.
func (s *Sender[P, T]) NewEpoch() {
	s.thrift.start = s.thrift.sealed
	for _, p := range s.peers {
		p.heard = max(p.heard, s.thrift.start)
	}
}

// hears notes that p has acknowledged e, for the first time.
func (s *Sender[P, T]) hears(p *peer[P], e *entry[P, T]) {
	s.thrift.sealed = max(s.thrift.sealed, e.first)
	p.heard = max(p.heard, e.first)
	if s.thrift.held > 0 && p.online {
		p.allowed = min(p.allowed+2, s.cfg.Window)
		s.thrift.wake = true
	}
}

// spared reports whether p can still be kept from falling too far behind.
func (s *Sender[P, T]) spared(p *peer[P]) bool {
	return p.online && s.thrift.sent-p.heard <= uint64(s.cfg.Reach)
}

// mayAll reports whether everything may be retransmitted.
func (s *Sender[P, T]) mayAll() bool {
	th := &s.thrift
	if th.all == 0 {
		th.all = math.MaxUint64
		for _, p := range s.peers {
			if th.budget > 0 && s.spared(p) {
				th.all = min(th.all, p.heard+th.budget)
			}
		}
	}
	return th.sent < th.all
}

// maySome reports whether p may be sent the oldest message, or what was
// withheld from it.
func (s *Sender[P, T]) maySome(p *peer[P]) bool {
	th := &s.thrift
	if th.some == 0 {
		s.findReach()
	}
	limit := th.some
	if p.half == limit {
		limit = th.someFor
	}
	return th.sent < min(limit, p.reach)
}

// starves reports, and notes, that p may be sent nothing.
func (s *Sender[P, T]) starves(p *peer[P]) bool {
	if s.maySome(p) {
		return false
	}
	s.thrift.starved = true
	return true
}

// Starved reports whether somebody could be sent nothing again at the last Tick
// or since. With a new epoch it can.
func (s *Sender[P, T]) Starved() bool { return s.thrift.starved }

// findReach finds the limits of all peers, and the least for others.
func (s *Sender[P, T]) findReach() {
	th := &s.thrift
	th.some, th.someFor = math.MaxUint64, math.MaxUint64
	for _, p := range s.peers {
		p.half, p.reach = math.MaxUint64, math.MaxUint64
		if th.budget == 0 || !s.spared(p) {
			continue
		}
		window, owed := uint64(s.cfg.Window), s.owed(p)
		p.reach = p.heard + uint64(s.cfg.Reach) - window + min(owed, window)
		if p.half = p.reach; owed > 0 {
			p.half = (p.heard + th.budget + p.reach) / 2
		}
		if p.half < th.some {
			th.some, th.someFor = p.half, th.some
		} else {
			th.someFor = min(th.someFor, p.half)
		}
	}
}

// owed is how many messages p has not acknowledged.
func (s *Sender[P, T]) owed(p *peer[P]) (n uint64) {
	for seq := s.lowestOpen(); seq <= s.newest; seq++ {
		if e := s.at(seq); e.open && s.owes(p, e) {
			n++
		}
	}
	return n
}

// sendAgain sends e to p, or notes that it was withheld.
func (s *Sender[P, T]) sendAgain(out []Outgoing[P, T], p *peer[P], e *entry[P, T], now time.Time) []Outgoing[P, T] {
	s.unhold(p, e)
	if !s.mayAll() && (s.starves(p) || !s.isOldest(p, e)) {
		e.held = append(e.held, p)
		s.thrift.held++
		s.thrift.heldAt = now
		return out
	}
	s.Count()
	return append(out, Outgoing[P, T]{ID: s.idOf(e.seq), Peer: p.id, Msg: e.msg, Attempt: e.attempt})
}

// isOldest reports whether p owes nothing older than e.
func (s *Sender[P, T]) isOldest(p *peer[P], e *entry[P, T]) bool {
	for seq := s.lowestOpen(); seq < e.seq; seq++ {
		if o := s.at(seq); o.open && s.owes(p, o) {
			return false
		}
	}
	return true
}

// unhold forgets that e was withheld from p, and reports whether it was.
func (s *Sender[P, T]) unhold(p *peer[P], e *entry[P, T]) bool {
	i := slices.Index(e.held, p)
	if i >= 0 {
		e.held = slices.Delete(e.held, i, i+1)
		s.thrift.held--
	}
	return i >= 0
}

// sendHeld sends what was withheld from peers that acknowledge again.
func (s *Sender[P, T]) sendHeld(out []Outgoing[P, T]) []Outgoing[P, T] {
	s.thrift.wake = false
	for _, p := range s.peers {
		if p.allowed == 0 {
			continue
		}
		for seq := s.lowestOpen(); seq <= s.newest && p.allowed > 0 && s.maySome(p); seq++ {
			if e := s.at(seq); s.unhold(p, e) {
				p.allowed--
				s.Count()
				out = append(out, Outgoing[P, T]{ID: s.idOf(seq), Peer: p.id, Msg: e.msg, Attempt: e.attempt})
			}
		}
		if p.allowed > 0 && !s.starves(p) {
			p.allowed = 0 // nothing more is withheld
		}
	}
	return out
}
