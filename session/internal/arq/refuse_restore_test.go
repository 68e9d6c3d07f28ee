package arq

import (
	"fmt"
	"testing"
)

// twoPeers: message 1 is kept for b, 2 is open and withheld from a, 3 was
// never sent.
func twoPeers() SenderState[string] {
	return SenderState[string]{
		Newest: 3, Slots: 16, Unsent: 1, Sent: 9, Sealed: 8, Start: 1,
		Peers: []PeerState[string]{
			{ID: "a", Online: true, Floor: 1, From: 1, Heard: 4, Allowed: 1},
			{ID: "b", Floor: 0, Acked: []uint64{2}},
		},
		Messages: []MessageState[string]{
			{Kept: true, First: 3}, {Open: true, Kept: true, Attempt: 1, First: 4, Held: []int{0}}, {Open: true, Kept: true},
		},
	}
}

func TestRestoreSenderRefuses(t *testing.T) {
	type state = SenderState[string]
	reliable := SenderConfig{Reliable: true, Ring: 16}
	ended := state{Newest: 3, Closed: true, Peers: []PeerState[string]{{ID: "a", Floor: 1}}}
	all := func(uint64) (int, int, bool) { return 0, 1, true }
	for _, c := range []struct {
		reason string
		bend   func(*state)
	}{
		{"", func(*state) {}},
		{"", func(st *state) { *st = ended }},
		{"", func(st *state) { st.Slots = 3 }},
		{"", func(st *state) { st.Slots = 4000 }}, // the ring was larger once
		{"a number is too large", func(st *state) { *st = state{Newest: 1<<62 + 1} }},
		{"a number is too large", func(st *state) { st.Sent = 1<<62 + 1 }},
		{"order of transmissions", func(st *state) { st.Sealed = 10 }},
		{"order of transmissions", func(st *state) { st.Start = 9 }},
		{"number of messages", func(st *state) { st.Newest = 2 }},
		{"number of messages", func(st *state) { st.Unsent = 4 }},
		{"number of messages", func(st *state) { st.Unsent = -1 }},
		{"messages of a sender that keeps none", func(st *state) { st.Closed = true }},
		{"messages of a sender that keeps none", func(st *state) { *st = state{Closed: true, Slots: 1} }},
		{"more messages than room", func(st *state) { st.Slots = 2 }},
		{"more messages than room", func(st *state) { *st = state{Slots: -1} }},
		{"more messages than room", func(st *state) {
			*st = state{Newest: 20, Slots: 32, Unsent: 17, Messages: make([]MessageState[string], 17)}
		}},
		{"the same peer twice", func(st *state) { st.Peers[1].ID = "a" }},
		{"a peer is ahead", func(st *state) { st.Peers[1].Floor = 3 }},
		{"a peer is ahead", func(st *state) { st.Peers[1].From = 3 }},
		{"a peer is ahead", func(st *state) { st.Peers[1].Heard = 10 }},
		{"a peer lacks messages that are not there", func(st *state) { st.Messages = st.Messages[1:] }},
		{"acknowledgements of nothing", func(st *state) { st.Peers[1].Acked = []uint64{2, 0} }},
		{"acknowledgements of nothing", func(st *state) { *st = ended; st.Peers[0].Asked = []uint64{2} }},
		{"number allowed", func(st *state) { st.Peers[0].Allowed = -1 }},
		{"number allowed", func(st *state) { st.Peers[1].Allowed = 1 }},
		{"acknowledged before it was sent", func(st *state) { st.Peers[1].Acked[0] = 4 }},
		{"messages asked for", func(st *state) { st.Peers[0].Asked = []uint64{1} }},
		{"messages asked for", func(st *state) { st.Peers[0].Asked = []uint64{3} }},
		{"messages asked for", func(st *state) { st.Peers[1].Asked = []uint64{2, 1} }},
		{"messages asked for", func(st *state) { st.Peers[1].Asked = []uint64{1, 1} }},
		{"a message is settled, or has no content, too early", func(st *state) { st.Messages[1].Kept = false }},
		{"a message is settled, or has no content, too early", func(st *state) { st.Messages[2] = MessageState[string]{} }},
		{"a message waits for nobody", func(st *state) { st.Peers[0].Online, st.Peers[0].Allowed = false, 0 }},
		{"a message waits for nobody", func(st *state) { st.Peers[1].Floor, st.Peers[1].Acked = 1, nil }},
		{"attempts", func(st *state) { st.Messages[0].Attempt = 1 }},
		{"attempts", func(st *state) { st.Messages[0].Missing = []string{"b"} }},
		{"attempts", func(st *state) { st.Messages[0].Held = []int{0} }},
		{"attempts", func(st *state) { st.Messages[1].Attempt = -1 }},
		{"first transmission", func(st *state) { st.Messages[1].First = 10 }},
		{"first transmission", func(st *state) { st.Messages[2].First = 1 }},
		{"first transmission", func(st *state) { st.Messages[2].Attempt = 1 }},
		{"first transmission", func(st *state) { st.Messages[2].Missing = []string{"b"} }},
		{"withheld from a peer that does not want it", func(st *state) { st.Messages[1].Held[0] = -1 }},
		{"withheld from a peer that does not want it", func(st *state) { st.Messages[1].Held[0] = 1 }},
		{"withheld from a peer that does not want it", func(st *state) { st.Messages[1].Held[0] = 2 }},
		{"withheld from a peer that does not want it", func(st *state) { st.Messages[1].Held = []int{0, 0} }},
		{"withheld from a peer that does not want it", func(st *state) { st.Messages[2].Held = []int{0} }},
		{"what left the ring", func(st *state) { *st = state{Newest: 20, Slots: 16, Early: []Settled[string]{{ID: 5}}} }},
		{"what left the ring", func(st *state) { *st = state{Newest: 20, Slots: 16, Early: []Settled[string]{{ID: 0}}} }},
		{"what left the ring", func(st *state) { *st = state{Newest: 20, Slots: 16, Early: []Settled[string]{{ID: 1<<31 + 4}}} }},
		{"what left the ring", func(st *state) { *st = state{Newest: 20, Slots: 16, Early: []Settled[string]{{ID: 4, Failed: true}}} }},
		{"what left the ring", func(st *state) { *st = state{Newest: 20, Slots: 16, Early: []Settled[string]{{ID: 4}, {ID: 4}}} }},
		{"what left the ring", func(st *state) { *st = state{Newest: 20, Slots: 16, Early: []Settled[string]{{ID: 4}, {ID: 3}}} }},
		{"what left the ring", func(st *state) { *st = state{Newest: 20, Closed: true, Early: []Settled[string]{{ID: 4}}} }},
		{"", func(st *state) { *st = state{Newest: 20, Slots: 16, Early: []Settled[string]{{ID: 3}, {ID: 4}}} }},
	} {
		st := twoPeers()
		c.bend(&st)
		s, err := RestoreSender(reliable, st, all)
		wantUnfit(t, fmt.Sprintf("%+v", st), err, c.reason)
		if err == nil {
			checkSender(t, s)
		}
	}
	_, err := RestoreSender(SenderConfig{}, twoPeers(), all)
	wantUnfit(t, "unreliable", err, "messages of a sender that keeps none")
	for seq := range uint64(3) {
		_, err := RestoreSender(reliable, twoPeers(), func(n uint64) (int, int, bool) { return 0, 1, n != seq+1 })
		wantUnfit(t, fmt.Sprint("without message ", seq+1), err, "the content of a message is missing")
	}
}

func TestRestoreReceiverRefuses(t *testing.T) {
	type state = ReceiverState
	gap := func(g ...GapState) state { return state{Started: true, Last: 9, Gap: g} }
	for _, c := range []struct {
		reason string
		st     state
	}{
		{"", state{}},
		{"", gap(GapState{Asked: 1}, GapState{Gone: true}, GapState{Held: true})},
		{"", gap(GapState{}, GapState{Held: true}, GapState{Held: true})},
		{"a number is too large", state{Started: true, Last: 1<<62 + 1}},
		{"more messages than room", gap(make([]GapState, 6)...)},
		{"messages before the first one", state{Last: 1}},
		{"messages before the first one", state{Gap: make([]GapState, 1)}},
		{"the oldest message is not missing", gap(GapState{Held: true})},
		{"the oldest message is not missing", gap(GapState{Gone: true})},
		{"state of a message", gap(GapState{}, GapState{Held: true, Gone: true})},
		{"state of a message", gap(GapState{}, GapState{Held: true, Asked: 1})},
		{"state of a message", gap(GapState{}, GapState{Gone: true, Asked: 1})},
		{"state of a message", gap(GapState{Asked: -1})},
		{"more bytes than room", gap(GapState{}, GapState{Held: true}, GapState{Held: true}, GapState{Held: true})},
		{"the content of a message is missing", gap(GapState{}, GapState{}, GapState{}, GapState{}, GapState{Held: true})},
	} {
		r, err := RestoreReceiver(ReceiverConfig{Reliable: true, Hold: 5, HoldBytes: 100}, c.st, func(seq uint64) (int, int, bool) {
			return 0, 50, seq != 14
		})
		wantUnfit(t, fmt.Sprintf("%+v", c.st), err, c.reason)
		if err == nil {
			checkReceiver(t, r)
		}
	}
	none := func(uint64) (int, int, bool) { return 0, 0, false }
	_, err := RestoreReceiver(ReceiverConfig{}, gap(GapState{}), none)
	wantUnfit(t, "unreliable", err, "more messages than room")
	r, err := RestoreReceiver(ReceiverConfig{Reliable: true, StartAtOne: true}, state{}, none)
	wantUnfit(t, "nothing seen", err, "")
	if out := r.Message(epoch, 2, 2, 1); len(out.Deliver) > 0 || r.newest != 2 {
		t.Errorf("a stream that starts at one starts at two: %+v", out)
	}
	// One large message, and empty ones around it, are a state of its own making.
	large := gap(GapState{}, GapState{Held: true}, GapState{Held: true}, GapState{Held: true})
	_, err = RestoreReceiver(ReceiverConfig{Reliable: true, HoldBytes: 100}, large, func(seq uint64) (int, int, bool) {
		return 0, map[uint64]int{12: 1000}[seq], true
	})
	wantUnfit(t, "one large", err, "")
}

func wantUnfit(t *testing.T, what string, err error, reason string) {
	t.Helper()
	want, got := "", ""
	if reason != "" {
		want = "arq: saved state does not fit together: " + reason
	}
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%s: error %q, want %q", what, got, want)
	}
}
