package arq

// RestoreSender makes the sender that Save saw, paused: nothing is sent before
// Resume. message returns the content of a sequence number and its size in
// bytes, false if there is none; it is asked for all that [Sender.Kept] gave,
// ascending. The sizes of c may have grown since. What is kept beyond RingBytes
// goes with the next Publish, as it would have.
//
// It is an error if the state does not fit together, or is larger than c
// allows, or a content is missing.
func RestoreSender[P comparable, T any](c SenderConfig, st SenderState[P], message func(seq uint64) (msg T, size int, ok bool)) (*Sender[P, T], error) {
	s := NewSender[P, T](c)
	if err := s.restoreCounters(&st); err != nil {
		return nil, err
	}
	for i := range st.Peers {
		if err := s.restorePeer(&st.Peers[i]); err != nil {
			return nil, err
		}
	}
	for i := range st.Messages {
		if err := s.restoreMessage(s.firstOpen+uint64(i), &st.Messages[i], message); err != nil {
			return nil, err
		}
	}
	if err := s.restoreEarly(st.Early); err != nil {
		return nil, err
	}
	return s, nil
}

// restoreCounters restores all but peers and messages, and makes the slots.
func (s *Sender[P, T]) restoreCounters(st *SenderState[P]) error {
	n := len(st.Messages)
	switch {
	case st.Newest > maxSaved || st.Sent > maxSaved:
		return unfit("a number is too large")
	case st.Start > st.Sealed || st.Sealed > st.Sent:
		return unfit("order of transmissions")
	case uint64(n) > st.Newest || st.Unsent < 0 || st.Unsent > n:
		return unfit("number of messages")
	case (st.Closed || !s.cfg.Reliable) && (st.Slots != 0 || n > 0):
		return unfit("messages of a sender that keeps none")
	case n > min(st.Slots, s.cfg.Ring):
		return unfit("more messages than room")
	}
	if st.Slots > 0 {
		s.slots = make([]entry[P, T], min(st.Slots, s.cfg.Ring))
		s.timers = newTimers(len(s.slots))
	}
	s.newest, s.unsent, s.closed = st.Newest, st.Unsent, st.Closed
	s.firstOpen = s.newest - uint64(n) + 1
	s.firstKept = s.firstOpen
	for seq := s.firstOpen - min(uint64(len(s.slots)-n), s.newest-uint64(n)); seq < s.firstOpen; seq++ {
		*s.at(seq) = entry[P, T]{seq: seq, sent: true} // everybody has it
	}
	s.paused, s.pausedAt, s.earlyAt = true, restored, restored
	th := &s.thrift
	th.sent, th.sealed, th.start = st.Sent, st.Sealed, st.Start
	th.starved, th.wake, th.heldAt = st.Starved, st.Wake, restored
	return nil
}

func (s *Sender[P, T]) restorePeer(st *PeerState[P]) error {
	sent := s.newest - uint64(s.unsent)
	keeps := s.cfg.Reliable && !s.closed
	p := &peer[P]{id: st.ID, online: st.Online, floor: st.Floor, from: st.From, acked: newBits(len(s.slots))}
	p.heard, p.allowed = st.Heard, min(st.Allowed, s.cfg.Window)
	switch {
	case s.byID[st.ID] != nil:
		return unfit("the same peer twice")
	case st.Floor > sent || st.From > sent || st.Heard > s.thrift.sent:
		return unfit("a peer is ahead")
	case keeps && st.Floor+1 < s.firstOpen:
		return unfit("a peer lacks messages that are not there")
	case !keeps && len(st.Asked) > 0 || len(st.Acked) > len(p.acked):
		return unfit("acknowledgements of nothing")
	case st.Allowed < 0 || st.Allowed > 0 && !st.Online:
		return unfit("number allowed")
	}
	if err := s.restoreDone(p, st, sent); err != nil {
		return err
	}
	if p.online {
		s.online++
	}
	s.byID[p.id] = p
	s.peers = append(s.peers, p)
	return nil
}

// restoreDone restores what p acknowledged or asked for, up to the message sent last.
func (s *Sender[P, T]) restoreDone(p *peer[P], st *PeerState[P], sent uint64) error {
	for i := range 64 * len(st.Acked) {
		if !bits(st.Acked).has(i) {
			continue
		}
		seq := st.Floor + 1 + uint64(i)
		if seq > sent {
			return unfit("acknowledged before it was sent")
		}
		p.acked.set(s.slot(seq))
	}
	for i, seq := range st.Asked {
		if seq <= st.Floor || seq > sent || i > 0 && seq <= st.Asked[i-1] {
			return unfit("messages asked for")
		}
		s.ask(p, seq, restored)
	}
	return nil
}

func (s *Sender[P, T]) restoreMessage(seq uint64, st *MessageState[P], message func(uint64) (T, int, bool)) error {
	e := s.at(seq)
	*e = entry[P, T]{
		seq: seq, open: st.Open, kept: st.Kept, sent: seq+uint64(s.unsent) <= s.newest,
		attempt: st.Attempt, first: st.First, missing: cloned(st.Missing),
	}
	for _, p := range s.peers {
		if seq > p.floor {
			e.behind++
		}
		if e.open && s.owes(p, e) {
			e.waiting++
		}
	}
	switch {
	case e.open && !e.kept || !e.open && !e.sent:
		return unfit("a message is settled, or has no content, too early")
	case e.open && e.sent && e.waiting == 0 || e.kept && !e.open && e.behind == 0:
		return unfit("a message waits for nobody")
	case !e.open && (e.attempt != 0 || len(e.missing) > 0 || len(st.Held) > 0) || e.attempt < 0:
		return unfit("attempts")
	case e.first > s.thrift.sent || !e.sent && (e.first != 0 || e.attempt != 0 || len(e.missing) > 0):
		return unfit("first transmission")
	}
	for _, i := range st.Held {
		if err := s.restoreHeld(e, i); err != nil {
			return err
		}
	}
	return s.restoreContent(e, message)
}

// restoreHeld notes that e was withheld from the peer with this index.
func (s *Sender[P, T]) restoreHeld(e *entry[P, T], peer int) error {
	if peer < 0 || peer >= len(s.peers) || !e.sent || !s.owes(s.peers[peer], e) || s.unhold(s.peers[peer], e) {
		return unfit("withheld from a peer that does not want it")
	}
	e.held = append(e.held, s.peers[peer])
	s.thrift.held++
	return nil
}

// restoreContent gets the message of e and adds it to the totals.
func (s *Sender[P, T]) restoreContent(e *entry[P, T], message func(uint64) (T, int, bool)) error {
	if !e.kept {
		return nil
	}
	msg, size, ok := message(e.seq)
	if !ok {
		return unfit("the content of a message is missing")
	}
	e.msg, e.size = msg, max(size, 0)
	s.keptBytes += e.size
	if e.open {
		s.open++
		s.openBytes += e.size
		if e.sent {
			s.timers.arm(s.slot(e.seq), restored) // Resume sets it
		}
	}
	return nil
}

// restoreEarly restores what was pushed out of the ring, which is older than
// what is in it.
func (s *Sender[P, T]) restoreEarly(early []Settled[P]) error {
	last := uint64(0)
	for _, one := range early {
		back := uint64((s.idOf(s.newest) - one.ID) & MaxID)
		if one.ID > MaxID || one.Failed || s.closed || back < uint64(len(s.slots)) || back >= s.newest || last != 0 && back >= last {
			return unfit("what left the ring")
		}
		last = back
		s.early = append(s.early, Settled[P]{ID: one.ID, Missing: cloned(one.Missing)})
	}
	return nil
}
