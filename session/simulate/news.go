package simulate

import (
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// presence is what the application knows of the other members of a group from
// what it was told.
type presence struct{ in, online map[name.Key]bool }

// hear checks that the news of members follow each other sensibly, and agree
// with the roster.
func (s *session) hear(out control.Output) {
	if !s.talk.group {
		return
	}
	p := &s.known
	if out.Opened {
		p.in, p.online = map[name.Key]bool{}, map[name.Key]bool{}
		for _, e := range s.core.Roster()[1:] { // who was there before is not news
			p.in[e.Name.Key()] = true
		}
	}
	for _, m := range out.Members {
		if !p.take(m.Name.Key(), m.What) {
			s.w.failf("%v hears of %s that it is %s, which it was or could not be", s, m.Name.Path(), newsTexts[m.What])
		}
	}
	if s.opened && out.Ended == nil && s.ended == nil {
		s.compare()
	}
}

// take follows one piece of news; it reports whether it makes sense.
func (p *presence) take(k name.Key, what control.News) bool {
	switch what {
	case control.Joined:
		if p.in[k] {
			return false
		}
		p.in[k] = true
	case control.Left, control.Expelled:
		if !p.in[k] {
			return false
		}
		delete(p.in, k)
		delete(p.online, k)
	case control.Online:
		if p.online[k] || !p.in[k] {
			return false
		}
		p.online[k] = true
	case control.Offline:
		if !p.online[k] {
			return false
		}
		delete(p.online, k)
	}
	return true
}

// compare holds the roster against the news. A moderator has a member on its
// roster before it is in.
func (s *session) compare() {
	roster := s.core.Roster()[1:]
	told := 0
	for _, e := range roster {
		k := e.Name.Key()
		if s.known.in[k] {
			told++
		} else if !s.leads() {
			s.w.failf("%v was not told that %s is a member", s, e.Name.Path())
		}
		if s.known.online[k] != e.Online {
			s.w.failf("%v was not told that %s is present: %v", s, e.Name.Path(), e.Online)
		}
	}
	if told != len(s.known.in) {
		s.w.failf("%v was not told that a member is gone", s)
	}
}

// repeats reports whether o uses the id of an earlier request again: a real
// peer answers none twice. One step may ask several members under one id.
func (s *session) repeats(o control.Outbound) bool {
	if !control.IsCommand(o.Type) || isAnswer(o.Type) {
		return false
	}
	at, said := s.said[o.ID]
	s.said[o.ID] = s.w.now
	return said && at != s.w.now && s.w.now.Sub(at) < chanceRepeats
}

// chanceRepeats is after how long an id may come again: 32 random bits do, in a
// session of hours, and no peer remembers them for so long.
const chanceRepeats = 10 * time.Minute

func isAnswer(t control.Type) bool {
	switch t {
	case typeDiscoveryReply, typeJoinReply, typeGroupAck, typeGroupNack, typeLeaveReply, typeRejoinReply:
		return true
	}
	return false
}

// said is when each request was sent, by its id.
type said map[control.MessageID]time.Time
