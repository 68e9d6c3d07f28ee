package arq

import "iter"

// ReceiverState is what a [Receiver] must not forget, except the messages it
// holds ([Receiver.Held]). It shares nothing with the receiver.
//
// A message beyond the window is forgotten: it was neither kept nor
// acknowledged, and the window must not move without two of them.
type ReceiverState struct {
	Started bool   `json:",omitempty"`
	Last    uint64 `json:",omitempty"` // sequence number delivered last
	// Gap are the messages after Last, ascending, up to the newest one that is
	// held. The first is missing.
	Gap []GapState `json:",omitempty"`
}

// GapState is one message of an open gap: held, gone (lost, but not reported
// yet) or, if neither, missing.
type GapState struct {
	Held  bool `json:",omitempty"`
	Gone  bool `json:",omitempty"`
	Asked int  `json:",omitempty"` // requests sent, while missing
}

// Save returns the state of r, for [RestoreReceiver]. Without a gap it
// allocates nothing.
func (r *Receiver[T]) Save() ReceiverState {
	st := ReceiverState{Started: r.started, Last: r.last}
	if r.newest > r.last {
		st.Gap = make([]GapState, r.newest-r.last)
	}
	for i := range st.Gap {
		s := r.at(r.last + 1 + uint64(i))
		st.Gap[i] = GapState{Held: s.state == held, Gone: s.state == gone, Asked: s.asked}
	}
	return st
}

// Held yields the sequence number and the message of everything that is held
// until older ones come, ascending. The content of a number never changes. The
// receiver must not be used meanwhile.
func (r *Receiver[T]) Held() iter.Seq2[uint64, T] {
	return func(yield func(uint64, T) bool) {
		for seq := r.last + 1; seq <= r.newest; seq++ {
			if s := r.at(seq); s.state == held && !yield(seq, s.msg) {
				return
			}
		}
	}
}

// RestoreReceiver makes the receiver that Save saw, paused: nothing is asked
// for before Resume, and then every missing message at once. message returns
// the content of a sequence number and its size in bytes, false if there is
// none; it is asked for all that [Receiver.Held] gave, ascending.
//
// It is an error if the state does not fit together, or is larger than c
// allows, or a content is missing.
func RestoreReceiver[T any](c ReceiverConfig, st ReceiverState, message func(seq uint64) (msg T, size int, ok bool)) (*Receiver[T], error) {
	r := NewReceiver[T](c)
	n := len(st.Gap)
	switch {
	case st.Last > maxSaved:
		return nil, unfit("a number is too large")
	case n > 0 && !r.cfg.Reliable || n > r.cfg.Hold:
		return nil, unfit("more messages than room")
	case !st.Started && (st.Last != 0 || n > 0):
		return nil, unfit("messages before the first one")
	case n > 0 && (st.Gap[0].Held || st.Gap[0].Gone):
		return nil, unfit("the oldest message is not missing")
	}
	r.started = r.started || st.Started
	r.last, r.newest, r.paused = st.Last, st.Last, true
	for i := range st.Gap {
		if err := r.restoreSlot(&st.Gap[i], message); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// restoreSlot restores the message after newest.
func (r *Receiver[T]) restoreSlot(st *GapState, message func(uint64) (T, int, bool)) error {
	if st.Held && st.Gone || st.Asked < 0 || st.Asked > 0 && (st.Held || st.Gone) {
		return unfit("state of a message")
	}
	r.newest++
	if r.newest-r.last > uint64(len(r.slots)) {
		r.grow()
	}
	s := r.at(r.newest)
	*s = slot[T]{seq: r.newest, state: missing, asked: st.Asked}
	switch {
	case st.Gone:
		s.state = gone
	case st.Held:
		msg, size, ok := message(r.newest)
		if !ok {
			return unfit("the content of a message is missing")
		}
		s.state, s.msg, s.size = held, msg, max(size, 0)
		if s.size > 0 && r.heldBytes > 0 && r.heldBytes+s.size > r.cfg.HoldBytes {
			return unfit("more bytes than room")
		}
		r.heldBytes += s.size
	default:
		r.timers.arm(r.index(r.newest), restored) // Resume sets it
	}
	return nil
}
