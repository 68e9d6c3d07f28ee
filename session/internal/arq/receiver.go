package arq

import "time"

// Item is one step of a delivered stream: a message, or a run of messages
// that will never come.
type Item[T any] struct {
	ID   MessageID
	Msg  T
	Lost bool
	// Through ends a lost run ID..Through, both included and counted with
	// Next. It equals ID for a single loss and for a message. A run can be
	// long (up to 2^30): do not loop over it.
	Through MessageID
}

// Result is what a receiver wants done.
type Result[T any] struct {
	Ack     bool        // acknowledge the message just given
	Deliver []Item[T]   // to the application, in order
	Request []MessageID // send one RTX_REQUEST each
	// Duplicate: the message was there already, nothing is delivered.
	Duplicate bool
	// Refused: neither kept nor acknowledged (beyond the window, no room, or
	// a reply nobody asked for).
	Refused bool
}

// Receiver is the receiving side of one source. Not safe for concurrent use.
//
// Keep it while its source is offline: it remembers what was delivered, so
// that nothing old is asked for or delivered again. Drop it when the source
// leaves the roster, since a source that is invited again starts anew.
//
// The window ends Hold messages after the last delivered one. A message
// beyond it is refused, so that a lying peer cannot open an endless gap. A
// real gap that long (the source lost more than its ring while we were away)
// is recognised by persistence: with no gap open, a second message beyond the
// window, less than Hold away from the first, at least half an Interval later
// and with nothing from inside the window in between, moves the window so
// that it ends there. What falls out is delivered as one lost run and the
// rest is asked for. An open gap is filled or given up first.
type Receiver[T any] struct {
	cfg     ReceiverConfig
	started bool
	// Sequence numbers; the id is the low 31 bits. last is delivered, newest
	// is the highest that is held or asked for: last <= newest <= last+Hold.
	last, newest uint64
	// slots holds last < n <= newest in slots[n%len]. It starts empty, since
	// most sources never have a gap, and doubles up to Hold.
	slots     []slot[T]
	timers    timers // of missing messages
	heldBytes int
	paused    bool

	far   uint64 // the message beyond the window that was refused last, 0: none
	farAt time.Time
}

type slot[T any] struct {
	seq   uint64
	state slotState
	msg   T
	size  int
	asked int // requests sent, while missing
	// again: the link was down, the next request is not counted.
	again bool
}

type slotState uint8

const (
	vacant  slotState = iota
	missing           // asked for
	held              // waits for older ones
	gone              // lost, not reported yet since older ones are open
)

// NewReceiver returns a receiver that has seen nothing.
func NewReceiver[T any](c ReceiverConfig) *Receiver[T] {
	return &Receiver[T]{cfg: c.withDefaults(), started: c.StartAtOne}
}

// HeldBytes is the size of what waits for older messages.
func (r *Receiver[T]) HeldBytes() int { return r.heldBytes }

// Last returns the id delivered (or reported lost) last, 0 at the start.
func (r *Receiver[T]) Last() MessageID { return idAt(r.last) }

func idAt(seq uint64) MessageID { return MessageID(seq) & MaxID }

// Message takes a published message of size bytes. Ids above MaxID are not
// part of the sequence and refused.
func (r *Receiver[T]) Message(now time.Time, id MessageID, msg T, size int) (out Result[T]) {
	switch {
	case id > MaxID:
		out.Refused = true
		return out
	case !r.cfg.Reliable:
		if !r.started || After(id, r.Last()) {
			r.started, r.last = true, r.seqOf(id)
			r.newest = r.last
		}
		out.Deliver = []Item[T]{{ID: id, Msg: msg, Through: id}}
		return out
	case !r.started: // any id is accepted as the start of a source
		r.started, r.last = true, uint64(id)+uint64(MaxID) // the id before
		r.newest = r.last
	case !After(id, r.Last()):
		out.Ack, out.Duplicate = true, true
		return out
	}
	seq := r.seqOf(id)
	if seq > r.last+uint64(r.cfg.Hold) && !r.jump(now, seq, &out) {
		out.Refused = true
		return out
	}
	r.accept(now, seq, msg, size, &out)
	out.Ack = !out.Refused
	return out
}

// seqOf returns the sequence number of an id after last.
func (r *Receiver[T]) seqOf(id MessageID) uint64 {
	return r.last + uint64((id-idAt(r.last))&MaxID)
}

// jump decides about a message beyond the window; see Receiver.
func (r *Receiver[T]) jump(now time.Time, seq uint64, out *Result[T]) bool {
	if r.newest > r.last {
		return false
	}
	hold := uint64(r.cfg.Hold)
	if r.far == 0 || seq >= r.far+hold || r.far >= seq+hold {
		r.far, r.farAt = seq, now
		return false
	}
	if now.Sub(r.farAt) < r.cfg.Interval/2 {
		return false
	}
	out.Deliver = appendLost(out.Deliver, idAt(r.last+1), idAt(seq-hold))
	r.last, r.newest = seq-hold, seq-hold
	return true
}

// accept takes a message inside the window.
func (r *Receiver[T]) accept(now time.Time, seq uint64, msg T, size int, out *Result[T]) {
	if seq == r.last+1 && seq > r.newest { // no gap: the usual case
		r.last, r.newest, r.far = seq, seq, 0
		out.Deliver = append(out.Deliver, Item[T]{ID: idAt(seq), Msg: msg, Through: idAt(seq)})
		return
	}
	if seq <= r.newest && r.at(seq).state == held {
		out.Duplicate = true
		return
	}
	if seq != r.last+1 && r.heldBytes > 0 && r.heldBytes+max(size, 0) > r.cfg.HoldBytes {
		r.noRoom(now, seq)
		out.Refused = true
		return
	}
	r.far = 0
	r.open(now, seq, out)
	s := r.at(seq)
	r.timers.disarm(r.index(seq))
	*s = slot[T]{seq: seq, state: held, msg: msg, size: max(size, 0)}
	r.heldBytes += s.size
	r.drain(out)
}

// noRoom keeps a missing message that came, but could not be held, from
// running out of retries. The oldest one is always taken, so this ends.
func (r *Receiver[T]) noRoom(now time.Time, seq uint64) {
	if seq > r.newest {
		return
	}
	if s := r.at(seq); s.state == missing && s.asked > 1 {
		s.asked = 1
	}
}

// open extends the gap up to seq and asks for what lies between.
func (r *Receiver[T]) open(now time.Time, seq uint64, out *Result[T]) {
	for r.newest < seq {
		r.newest++
		if r.newest-r.last > uint64(len(r.slots)) {
			r.grow()
		}
		i := r.index(r.newest)
		r.slots[i] = slot[T]{seq: r.newest, state: missing}
		if r.newest == seq {
			return
		}
		if r.paused {
			r.timers.arm(i, now)
			continue
		}
		r.slots[i].asked = 1
		r.timers.arm(i, now.Add(r.cfg.Interval))
		out.Request = append(out.Request, idAt(r.newest))
	}
}

// drain delivers what is in order now.
func (r *Receiver[T]) drain(out *Result[T]) {
	for r.last < r.newest {
		s := r.at(r.last + 1)
		id := idAt(s.seq)
		switch s.state {
		case held:
			out.Deliver = append(out.Deliver, Item[T]{ID: id, Msg: s.msg, Through: id})
		case gone:
			out.Deliver = appendLost(out.Deliver, id, id)
		default:
			return
		}
		r.last++
		r.heldBytes -= s.size
		*s = slot[T]{}
	}
}

// appendLost adds a lost run, joined to one that ends just before it.
func appendLost[T any](items []Item[T], from, through MessageID) []Item[T] {
	if n := len(items); n > 0 && items[n-1].Lost && Next(items[n-1].Through) == from {
		items[n-1].Through = through
		return items
	}
	return append(items, Item[T]{ID: from, Lost: true, Through: through})
}

func (r *Receiver[T]) index(seq uint64) int { return int(seq % uint64(len(r.slots))) }

func (r *Receiver[T]) at(seq uint64) *slot[T] { return &r.slots[r.index(seq)] }

func (r *Receiver[T]) grow() {
	old, n := r.slots, min(max(2*len(r.slots), firstSlots), r.cfg.Hold)
	to := func(slot int) int { return int(old[slot].seq % uint64(n)) }
	r.slots = make([]slot[T], n)
	r.timers = r.timers.moved(n, to)
	for i := range old {
		if old[i].state != vacant {
			r.slots[to(i)] = old[i]
		}
	}
}
