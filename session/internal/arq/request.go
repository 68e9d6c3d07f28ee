package arq

import "time"

// Reply takes an RTX_REPLY. lost is its error flag: the source has the
// message no more. A reply is never acknowledged, and refused unless the
// message was asked for and has not arrived.
func (r *Receiver[T]) Reply(now time.Time, id MessageID, msg T, size int, lost bool) (out Result[T]) {
	if id > MaxID || !r.cfg.Reliable || !r.started {
		out.Refused = true
		return out
	}
	if !After(id, r.Last()) {
		out.Duplicate = true
		return out
	}
	seq := r.seqOf(id)
	if seq > r.newest {
		out.Refused = true
		return out
	}
	switch s := r.at(seq); {
	case s.state == held:
		out.Duplicate = true
	case s.state == missing && s.asked == 0: // found while the link was down
		out.Refused = true
	case lost:
		r.abandon(seq)
		r.drain(&out)
	default:
		r.accept(now, seq, msg, size, &out)
	}
	return out
}

// abandon gives a missing message up.
func (r *Receiver[T]) abandon(seq uint64) {
	r.timers.disarm(r.index(seq))
	*r.at(seq) = slot[T]{seq: seq, state: gone}
}

// NextTimeout returns when Tick has something to do, zero for never.
func (r *Receiver[T]) NextTimeout() time.Time {
	if r.paused {
		return time.Time{}
	}
	_, at, _ := r.timers.first()
	return at
}

// Pause stops the timers because the link is down or the source is offline.
func (r *Receiver[T]) Pause(now time.Time) { r.paused = true }

// Resume starts them again: every missing message is asked for at now, which
// is not counted as a retry.
func (r *Receiver[T]) Resume(now time.Time) {
	if !r.paused {
		return
	}
	r.paused = false
	for seq := r.last + 1; seq <= r.newest; seq++ {
		if s := r.at(seq); s.state == missing {
			s.again = s.asked > 0
			r.timers.arm(r.index(seq), now)
		}
	}
}

// Tick acts on the deadlines up to now: a missing message is asked for at 0,
// I, .., M*I after the gap was seen, and lost at (M+1)*I. Upstream 2.2 stops
// the stream there; like 3.x we go on with the next message.
func (r *Receiver[T]) Tick(now time.Time) (out Result[T]) {
	if r.paused {
		return out
	}
	for i, at, ok := r.timers.popDue(now); ok; i, at, ok = r.timers.popDue(now) {
		s := &r.slots[i]
		if !s.again && s.asked > r.cfg.MaxRetries {
			r.abandon(s.seq)
			continue
		}
		if !s.again {
			s.asked++
		}
		s.again = false
		r.timers.arm(i, following(at, now, r.cfg.Interval))
		out.Request = append(out.Request, idAt(s.seq))
	}
	r.drain(&out)
	return out
}

// Flush gives every open gap up and delivers what is held, for a source that
// is gone for good.
func (r *Receiver[T]) Flush() (out Result[T]) {
	for seq := r.last + 1; seq <= r.newest; seq++ {
		if r.at(seq).state == missing {
			r.abandon(seq)
		}
	}
	r.drain(&out)
	return out
}
