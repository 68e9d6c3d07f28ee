package arq

import (
	"slices"
	"time"
)

// NextTimeout returns when Tick has something to do, zero for never.
func (s *Sender[P, T]) NextTimeout() time.Time {
	_, at, _ := s.timers.first()
	switch {
	case len(s.early) > 0:
		return s.earlyAt
	case s.paused:
		return time.Time{}
	case s.unsent > 0 && s.online > 0:
		return s.resumed
	case s.thrift.wake:
		return s.thrift.heldAt
	}
	return at
}

// Pause stops the timers because the link is down. Nothing published
// meanwhile is sent before Resume.
func (s *Sender[P, T]) Pause(now time.Time) {
	if !s.paused {
		s.paused, s.pausedAt = true, now
	}
}

// Resume starts the timers again: everything open is due at now, and this
// transmission is not counted as a retry.
func (s *Sender[P, T]) Resume(now time.Time) {
	if !s.paused {
		return
	}
	s.paused, s.resumed = false, now
	for _, p := range s.peers { // requests may be repeated for that much longer
		for seq, until := range p.asked {
			if until.After(s.pausedAt) {
				p.asked[seq] = until.Add(now.Sub(s.pausedAt))
			}
		}
	}
	for seq := s.lowestOpen(); seq <= s.newest; seq++ {
		if e := s.at(seq); e.open && e.sent {
			e.again = true
			s.timers.arm(s.slot(seq), now)
		}
	}
}

// Tick acts on the deadlines up to now. A message is sent at 0, I, .., M*I
// after its first transmission, always to the peers that have not
// acknowledged it, and at (M+1)*I settles without them. Those peers are taken
// offline and returned as lost, unless they came online after the message was
// first sent: they had less than the full time. Some of what is due may be
// withheld, see reach.go.
func (s *Sender[P, T]) Tick(now time.Time) (resend []Outgoing[P, T], settled []Settled[P], lost []P) {
	settled, s.early = s.early, nil
	if s.paused {
		return nil, settled, nil
	}
	var due []uint64
	for i, at, ok := s.timers.popDue(now); ok; i, at, ok = s.timers.popDue(now) {
		e := &s.slots[i]
		if e.again || e.attempt < s.cfg.MaxRetries {
			due = append(due, e.seq)
			if !e.again {
				e.attempt++
			}
			e.again = false
			s.timers.arm(i, following(at, now, s.cfg.Interval))
			continue
		}
		s.giveUp(e)
		lost = s.addLost(lost, e)
		settled = append(settled, s.settle(e))
	}
	for _, p := range lost {
		settled = append(settled, s.Offline(p)...)
	}
	s.thrift.all, s.thrift.some, s.thrift.starved = 0, 0, false
	for _, seq := range due {
		resend = s.retransmit(resend, seq, now)
	}
	if s.thrift.wake {
		resend = s.sendHeld(resend)
	}
	if s.online > 0 && s.unsent > 0 {
		resend = append(resend, s.sendUnsent(now, s.firstOnline())...)
	}
	return resend, settled, lost
}

// addLost adds the peers that e was given up for after the full time.
func (s *Sender[P, T]) addLost(lost []P, e *entry[P, T]) []P {
	for _, p := range s.peers {
		if s.owes(p, e) && e.seq > p.from && !slices.Contains(lost, p.id) {
			lost = append(lost, p.id)
		}
	}
	return lost
}

func (s *Sender[P, T]) firstOnline() P {
	i := slices.IndexFunc(s.peers, func(p *peer[P]) bool { return p.online })
	return s.peers[i].id
}

// retransmit sends seq to the peers that owe an acknowledgement.
func (s *Sender[P, T]) retransmit(out []Outgoing[P, T], seq uint64, now time.Time) []Outgoing[P, T] {
	e := s.at(seq)
	if !e.open {
		return out
	}
	for _, p := range s.peers {
		if s.owes(p, e) {
			out = s.sendAgain(out, p, e, now)
		}
	}
	return out
}
