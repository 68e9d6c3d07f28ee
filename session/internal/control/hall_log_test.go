package control

import (
	"fmt"
	"strings"

	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// What a hall writes down.

var newsTexts = map[News]string{Joined: "joined", Left: "left", Expelled: "removed", Offline: "offline", Online: "online", Blocked: "blocked"}

// note records what a step told the application.
func (h *hall) note(s *seat, out Output) {
	for _, d := range out.Deliver {
		text := string(d.Msg.Payload)
		switch {
		case d.Missing > 0:
			text = fmt.Sprintf("missing %d of %s", d.Missing, h.nameOf(d.From))
		case d.Direct:
			text += " (alone)"
		}
		s.got = append(s.got, text)
		h.notef(s, "reads %s", text)
	}
	for _, st := range out.Settled {
		if _, twice := s.settled[uint32(st.ID)]; twice && h.crash == nil { // nobody relies on it, so a crash may undo it
			h.t.Errorf("%s: message %d settled twice", s.name, st.ID)
		}
		s.settled[uint32(st.ID)] = st
		if !st.Acknowledged {
			h.notef(s, "message %d not acknowledged by %s", min(st.ID, 1<<31), h.namesOf(st.Missing))
		}
	}
	for _, c := range out.Members {
		text := h.nameOf(c.Name) + " " + newsTexts[c.What]
		if c.Err != nil {
			text += ": " + strings.SplitAfter(c.Err.Error(), ",")[0]
		}
		s.news = append(s.news, text)
		h.notef(s, "hears: %s", text)
	}
	if out.Opened {
		if s.opened {
			h.t.Errorf("%s opened twice", s.name)
		}
		s.opened = true
		h.notef(s, "open, epoch %d", s.m.Epoch())
	} else if out.Rotated {
		h.notef(s, "epoch %d", s.m.Epoch())
	}
	for _, d := range out.Done {
		if _, twice := s.done[d.Op]; twice {
			h.t.Errorf("%s: operation %d done twice", s.name, d.Op)
		}
		s.done[d.Op] = d.Err
		h.notef(s, "done: %v", d.Err)
	}
	if out.Dropped != "" {
		s.drops[out.Dropped]++
		h.notef(s, "drops: %s", out.Dropped)
	}
}

func (h *hall) nameOf(n name.Name) string {
	for _, s := range h.seats {
		if s.full.Key() == n.Key() {
			return s.name
		}
	}
	return n.String()
}

func (h *hall) namesOf(names []name.Name) string {
	var list []string
	for _, n := range names {
		list = append(list, h.nameOf(n))
	}
	return strings.Join(list, ",")
}

// detail is what matters of a message's content.
func (h *hall) detail(o Outbound) string {
	c := o.Command
	switch {
	case c.GetGroupUpdate() != nil:
		u := c.GetGroupUpdate()
		who, _ := wire.ToName(u.GetParticipant().GetName())
		d := fmt.Sprintf(" %v %s of %d", u.GetOp(), h.nameOf(who), len(u.GetParticipants()))
		if u.GetMls() != nil {
			d += fmt.Sprint(", commit ", u.GetMls().GetCommitId())
		}
		return d
	case c.GetGroupWelcome() != nil:
		w := c.GetGroupWelcome()
		d := fmt.Sprintf(" of %d", len(w.GetParticipants()))
		if w.GetMls() != nil {
			d += fmt.Sprint(", commit ", w.GetMls().GetCommitId())
		}
		return d
	case c.GetRejoinReply() != nil:
		return fmt.Sprint(" commit ", c.GetRejoinReply().GetCommitId())
	case c.GetHeartbeat() != nil:
		return fmt.Sprint(" epoch ", c.GetHeartbeat().GetEpoch())
	case c.GetUpdateParticipantState() != nil:
		return fmt.Sprint(" ", c.GetUpdateParticipantState().GetNewState())
	}
	return ""
}
