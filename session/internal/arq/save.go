package arq

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"time"
)

// A session that outlives its process saves its windows and restores them in
// the next one. To the windows that is a long pause: a restored one is paused,
// and Resume makes everything due at once. So no state has a time in it.

// restored is the time at which a restored window was paused. It must lie
// before all real times, and not be zero, which means never.
var restored = time.Unix(0, 0)

// maxSaved bounds the numbers of a saved state, so that no sum overflows.
const maxSaved = 1 << 62

// unfit is the error of a state that Save cannot have made.
func unfit(reason string) error {
	return errors.New("arq: saved state does not fit together: " + reason)
}

// SenderState is what a [Sender] must not forget, except the content of its
// messages ([Sender.Kept]). It shares nothing with the sender, and survives
// encoding/json if P does.
type SenderState[P comparable] struct {
	Newest uint64 // sequence number of the newest message
	Slots  int    `json:",omitempty"` // how many newest messages are looked up by id
	Unsent int    `json:",omitempty"` // the newest messages that were never sent
	Closed bool   `json:",omitempty"` // after Fail

	// Transmissions, see reach.go.
	Sent    uint64 `json:",omitempty"`
	Sealed  uint64 `json:",omitempty"`
	Start   uint64 `json:",omitempty"` // Sealed at the start of the epoch
	Starved bool   `json:",omitempty"`
	Wake    bool   `json:",omitempty"`

	Peers []PeerState[P] `json:",omitempty"` // in order of first Online
	// Messages are the newest ones, ascending: from the oldest that is open or
	// that some peer is not known to have, up to Newest.
	Messages []MessageState[P] `json:",omitempty"`
	Early    []Settled[P]      `json:",omitempty"` // for the next Tick
}

// PeerState is what a sender knows about one peer.
type PeerState[P comparable] struct {
	ID     P
	Online bool   `json:",omitempty"`
	Floor  uint64 `json:",omitempty"` // nothing up to here is owed or can be asked for
	From   uint64 `json:",omitempty"` // newest message sent when it came online
	// Acked has bit i of word w set if message Floor+1+64*w+i was acknowledged.
	Acked []uint64 `json:",omitempty"`
	// Asked are the messages above Floor sent on request, ascending. The time
	// for repeating a request begins anew with Resume: rather too long, since
	// what counts as received too early would be lost.
	Asked   []uint64 `json:",omitempty"`
	Heard   uint64   `json:",omitempty"` // it decrypted this transmission or a later one
	Allowed int      `json:",omitempty"` // so much of what was withheld may be sent
}

// MessageState is what a sender knows about one message.
type MessageState[P comparable] struct {
	Open    bool   `json:",omitempty"` // not settled
	Kept    bool   `json:",omitempty"` // its content is needed; always so while Open
	Attempt int    `json:",omitempty"` // retransmissions counted, while Open
	First   uint64 `json:",omitempty"` // number of the first transmission
	Missing []P    `json:",omitempty"` // peers that left without acknowledging, while Open
	Held    []int  `json:",omitempty"` // peers it was withheld from, by index
}

// Save returns the state of s, for [RestoreSender]. It costs as much as there
// are peers, and messages that are open or that some peer does not have.
func (s *Sender[P, T]) Save() SenderState[P] {
	st := SenderState[P]{
		Newest: s.newest, Slots: len(s.slots), Unsent: s.unsent, Closed: s.closed,
		Sent: s.thrift.sent, Sealed: s.thrift.sealed, Start: s.thrift.start,
		Starved: s.thrift.starved, Wake: s.thrift.wake,
	}
	if len(s.peers) > 0 {
		st.Peers = make([]PeerState[P], len(s.peers))
	}
	for i, p := range s.peers {
		st.Peers[i] = s.savePeer(p)
	}
	low := s.needed()
	if low < s.newest {
		st.Messages = make([]MessageState[P], s.newest-low)
	}
	for i := range st.Messages {
		st.Messages[i] = s.saveMessage(low + 1 + uint64(i))
	}
	for _, one := range s.early {
		st.Early = append(st.Early, Settled[P]{ID: one.ID, Missing: cloned(one.Missing)})
	}
	return st
}

// needed returns the sequence number below the first message to be saved. All
// that peers do not have is in the slots: what leaves them raises the floors.
func (s *Sender[P, T]) needed() uint64 {
	if len(s.slots) == 0 { // unreliable, ended, or nothing published
		return s.newest
	}
	low := s.newest - uint64(s.unsent)
	for _, p := range s.peers {
		low = min(low, p.floor)
	}
	return low
}

func (s *Sender[P, T]) savePeer(p *peer[P]) PeerState[P] {
	st := PeerState[P]{ID: p.id, Online: p.online, Floor: p.floor, From: p.from, Heard: p.heard, Allowed: p.allowed}
	if len(s.slots) == 0 {
		return st
	}
	for seq := p.floor + 1; seq <= s.newest; seq++ {
		if p.acked.has(s.slot(seq)) {
			i := int(seq - p.floor - 1)
			for len(st.Acked) <= i/64 {
				st.Acked = append(st.Acked, 0)
			}
			bits(st.Acked).set(i)
		}
	}
	if len(p.asked) > 0 {
		st.Asked = slices.Sorted(maps.Keys(p.asked))
	}
	return st
}

func (s *Sender[P, T]) saveMessage(seq uint64) MessageState[P] {
	e := s.at(seq)
	st := MessageState[P]{Kept: e.kept, First: e.first}
	if !e.open {
		return st
	}
	st.Open, st.Attempt, st.Missing = true, e.attempt, cloned(e.missing)
	for _, p := range e.held {
		st.Held = append(st.Held, slices.Index(s.peers, p))
	}
	return st
}

// cloned copies a list; nil if it is empty, as after encoding/json.
func cloned[E any](list []E) []E { return append([]E(nil), list...) }

// Kept yields the sequence number and the message of everything of which a
// restored sender needs the content, ascending. The content of a number never
// changes. The sender must not be used meanwhile.
func (s *Sender[P, T]) Kept() iter.Seq2[uint64, T] {
	return func(yield func(uint64, T) bool) {
		for seq := s.needed() + 1; seq <= s.newest; seq++ {
			if e := s.at(seq); e.kept && !yield(seq, e.msg) {
				return
			}
		}
	}
}

// Skipped notes that n transmissions may have been made of which nobody knows,
// with keys of this epoch: after a restart so many keys are passed over, lest
// one is used twice. They count like transmissions that no peer has heard.
func (s *Sender[P, T]) Skipped(n int) {
	// None of them can belong to a later epoch.
	s.thrift.sent += uint64(max(n, 0))
	s.thrift.sealed += uint64(max(n, 0))
}
