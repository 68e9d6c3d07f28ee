package simulate

import (
	"slices"
	"strconv"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/arq"
	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// What must hold after every step.

// maxOutbox bounds what a machine may say while its link is down.
const maxOutbox = 1024

// orderKey is the id of a GROUP_UPDATE.
type orderKey struct {
	talk *conversation
	id   control.MessageID
}

// read checks what a step delivered. before is the roster it began with.
func (s *session) read(before []control.RosterEntry, out control.Output) {
	for i, d := range out.Deliver {
		if !listed(before, d.From) && !listed(s.core.Roster(), d.From) {
			s.w.failf("%v reads from %v, who is not a member", s, d.From.Path())
		}
		if d.Missing > 0 {
			s.readGap(d, s.streamOf(d.From, out.Deliver[i+1:]))
			continue
		}
		s.w.result.Delivered++
		n, err := strconv.Atoi(string(d.Msg.Payload))
		if err != nil || n < 0 || n >= len(s.w.messages) {
			s.w.failf("%v reads %q, which no member sent", s, d.Msg.Payload)
			continue
		}
		s.readMessage(s.w.messages[n], d)
	}
}

func listed(roster []control.RosterEntry, n name.Name) bool {
	return slices.ContainsFunc(roster, func(e control.RosterEntry) bool { return e.Name.Key() == n.Key() })
}

func (s *session) reading(of *session) *reading {
	r := s.readers[of]
	if r == nil {
		r = &reading{direct: map[int]bool{}, missed: map[uint32]bool{}}
		s.readers[of] = r
	}
	return r
}

func (s *session) readMessage(m *message, d control.Delivery) {
	w := s.w
	switch {
	case m.by.talk != s.talk || m.by == s:
		w.failf("%v reads message %d, which was not for it", s, m.index)
	case m.by.app.full.Key() != d.From.Key():
		w.failf("%v reads message %d of %v as one of %v", s, m.index, m.by, d.From.Path())
	case d.Direct != m.direct:
		w.failf("%v reads message %d as direct %v", s, m.index, d.Direct)
	case s.mls != nil && d.Subject != m.by.app.subject:
		w.failf("%v reads message %d with the subject %q", s, m.index, d.Subject)
	}
	r := s.reading(m.by)
	switch {
	case s.mls == nil && (!w.reliable || m.by.mistakable()): // nothing is promised
	case m.direct && r.direct[m.index], !m.direct && slices.Contains(m.readBy, s):
		w.failf("%v reads message %d of %v twice", s, m.index, m.by)
	case w.reliable && !m.direct && m.id <= r.last:
		w.failf("%v reads message %d of %v after number %d", s, m.id, m.by, r.last)
	}
	m.readBy = append(m.readBy, s)
	if m.direct {
		r.direct[m.index] = true
	} else {
		r.last = max(r.last, m.id)
		s.latest[d.From.Key()] = m.by
	}
}

// streamOf is the session of n whose stream has a gap: that of the message which
// ends the gap, or of the last one read.
func (s *session) streamOf(n name.Name, next []control.Delivery) *session {
	for _, d := range next {
		if i, err := strconv.Atoi(string(d.Msg.Payload)); err == nil && d.From.Key() == n.Key() && !d.Direct {
			return s.w.messages[i].by
		}
	}
	return s.latest[n.Key()]
}

// keeps reports whether s still has its message id for those who come back, or
// who ask a second time: who asks has acknowledged.
func (s *session) keeps(id uint32) bool {
	bytes := 0
	for _, m := range s.stream[id-1:] {
		bytes += m.size
	}
	return len(s.stream)-int(id) < arq.DefaultRing && bytes < arq.DefaultRingBytes
}

// readGap checks a report of lost messages of a session: nothing is lost
// between two that can reach each other.
func (s *session) readGap(d control.Delivery, from *session) {
	if from == nil {
		return
	}
	r := s.reading(from)
	for id := r.last + 1; id <= r.last+uint32(d.Missing) && int(id) <= len(from.stream); id++ {
		m := from.stream[id-1]
		r.missed[id] = true
		if slices.Contains(m.taken, s) && !from.mistakable() {
			s.w.failf("%v counts message %d of %v as lost, which it acknowledged", s, id, from)
		}
		if from.keeps(id) && slices.Contains(m.audience, s) && s.clean(from, s.talk.slowest.patience()+s.talk.slowest.interval) {
			s.w.failf("%v lost message %d of %v, though both are there", s, id, from)
		}
	}
	r.last += uint32(d.Missing)
}

// clean reports whether s and o could talk to each other for the last d: no
// trouble, no change, both open, in one epoch, and on each other's rosters.
func (s *session) clean(o *session, d time.Duration) bool {
	since := s.w.now.Add(-d)
	for _, x := range []*session{s, o} {
		if !x.live() || !x.opened || x.leaving || x.away || !x.app.wellFor(d) || x.turned.After(since) {
			return false
		}
	}
	for _, x := range []*session{s, o, s.talk.leader} { // who was removed is, before it knows
		if x.live() && !(s.seenBy(x) && o.seenBy(x)) {
			return false
		}
	}
	return s.core.Epoch() == o.core.Epoch()
}

// seenBy reports whether s is on the roster of x.
func (s *session) seenBy(x *session) bool { return listed(x.core.Roster(), s.app.full) }

// check looks at the rest of a step.
func (s *session) check(out control.Output) {
	s.hear(out)
	for _, st := range out.Settled {
		s.checkSettled(st)
	}
	if len(s.outbox) > maxOutbox {
		s.w.failf("%v holds %d messages for its link", s, len(s.outbox))
	}
	if out.Ended != nil {
		s.checkEnded(out)
	}
	if s.mls != nil && s.ended == nil {
		s.mls.check()
	}
}

func (s *session) checkSettled(st control.Settled) {
	m := s.published[uint32(st.ID)]
	switch {
	case m == nil:
		s.w.failf("%v settles message %d, which it never published", s, st.ID)
		return
	case m.settled && !m.again:
		s.w.failf("%v settles message %d twice", s, st.ID)
		return
	}
	m.settled, m.again, m.acked = true, false, m.acked || st.Acknowledged
	switch {
	case st.Acknowledged:
		s.w.result.Acknowledged++
		s.checkAnswered(m)
	case s.w.reliable:
		s.checkGivenUp(m, st)
	}
}

// confirms notes who has acknowledged what.
func (s *session) confirms(o control.Outbound) {
	if o.Type != typeMessageAck && o.Type != typeRTXRequest {
		return
	}
	for _, by := range s.talk.sessions {
		m := by.published[uint32(o.ID)]
		if m == nil || by == s || by.app.full.Key() != o.To.Key() {
			continue
		}
		if !slices.Contains(m.answered, s) {
			m.answered = append(m.answered, s)
		}
		if o.Type == typeMessageAck && !slices.Contains(m.taken, s) {
			m.taken = append(m.taken, s)
		}
	}
}

// checkRefused: what is not taken is not acknowledged.
func (s *session) checkRefused(ev control.Event, out control.Output) {
	r, ok := ev.(control.Received)
	if !ok || out.Dropped == "" || control.IsCommand(r.Msg.Type) {
		return
	}
	for _, o := range out.Send {
		if o.Type == typeMessageAck && o.ID == r.Msg.ID {
			s.w.failf("%v acknowledges message %d, which it drops: %s", s, o.ID, out.Dropped)
		}
	}
}

// checkAnswered: nobody counts for another in an acknowledgement by all.
func (s *session) checkAnswered(m *message) {
	if !s.w.reliable {
		return
	}
	for _, to := range m.awaited {
		if !slices.Contains(m.answered, to) {
			s.w.failf("%v takes message %d for acknowledged by all, but %v said nothing", s, m.id, to)
		}
	}
}

// silence is how long the longest trouble may have effects: three heartbeats
// that were missed, and the one that ends the absence.
const silence = 12 * time.Second

// checkGivenUp: a message is given up only if something was wrong.
func (s *session) checkGivenUp(m *message, st control.Settled) {
	missing := st.Missing
	if !s.talk.group {
		missing = []name.Name{s.core.Roster()[1].Name}
	}
	for _, n := range missing {
		o := s.talk.current(n)
		if o != nil && slices.Contains(m.audience, o) && s.clean(o, s.talk.slowest.patience()+silence) {
			s.w.failf("%v gives up message %d to %v, though both are there", s, m.id, o)
		}
	}
}

// checkEnded: an ended machine has settled everything, is silent and has no
// keys.
func (s *session) checkEnded(out control.Output) {
	for id, m := range s.published {
		if !m.settled {
			s.w.failf("%v ended, and message %d has no outcome", s, id)
			break
		}
	}
	for op := range s.asked {
		if !s.ops[op] {
			s.w.failf("%v ended, and operation %d has no outcome", s, op)
			break
		}
	}
	if out.Ended.Reason == control.CryptoFailed {
		s.w.failf("%v ended for reasons of cryptography: %v", s, out.Ended.Cause)
	}
	if at := s.core.NextTimeout(); !at.IsZero() {
		s.w.failf("%v ended, and has a timer", s)
	}
	for _, ev := range []control.Event{control.Tick{}, control.Publish{}, control.Close{}, control.LinkUp{}} {
		if more := s.core.Step(s.app.clock.at(s.w.now), ev); len(more.Send)+len(more.Deliver)+len(more.Settled)+len(more.Done) > 0 || more.Ended != nil {
			s.w.failf("%v ended, and still acts on %T", s, ev)
		}
	}
	if s.mls != nil {
		if group, _ := s.mls.engine.state(); group != "" {
			s.w.failf("%v ended, and still has keys", s)
		}
	}
}

// checkOutbound: requests have new ids, and who acknowledges a change of the
// group has made it.
func (s *session) checkOutbound(o control.Outbound) {
	if s.repeats(o) {
		s.w.failf("%v repeats a request under its old id %d", s, o.ID)
	}
	key := orderKey{s.talk, o.ID}
	switch {
	case s.mls == nil:
	case o.Type == typeGroupUpdate:
		u := o.Command.GetGroupUpdate()
		who, _ := wire.ToName(u.GetParticipant().GetName())
		info := s.w.commits[commitKey(u.GetMls().GetMlsContent())]
		if u.GetOp() == pb.GroupUpdateOp_REMOVE {
			info.removes = who.Key()
		}
		s.w.orders[key] = info
	case o.Type == typeGroupAck:
		info, ok := s.w.orders[key]
		if ok && s.ended == nil && info.removes != s.app.full.Key() && s.core.Epoch() < info.epoch {
			s.w.failf("%v acknowledges the change to epoch %d, but is in epoch %d", s, info.epoch, s.core.Epoch())
		}
	}
}
