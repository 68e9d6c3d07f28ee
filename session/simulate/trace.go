package simulate

import (
	"fmt"
	"strings"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// The trace reads like the transcripts of package control: who says what to
// whom, and what the applications learn.

// nameOf is the short name of an app or a channel.
func (w *world) nameOf(n name.Name) string {
	for _, a := range w.apps {
		if a.full.Key() == n.Key() {
			return a.label
		}
	}
	for _, s := range w.sessions {
		switch n.Key() {
		case s.app.full.Key():
			return s.app.label
		case s.talk.channel.Key():
			return "channel"
		case s.talk.control.Key():
			return "control"
		}
	}
	return n.Components[2] + ":*"
}

func (w *world) traceSend(from *app, p *packet, to, lost []*app) {
	note := ""
	if len(to) == 0 {
		note = "  to nobody"
	}
	if len(lost) > 0 {
		note = "  lost for"
		for _, a := range lost {
			note += " " + a.label
		}
	}
	kind := strings.TrimPrefix(p.in.Type.String(), "SESSION_MESSAGE_TYPE_")
	w.logf("%s -> %s %s%s #%d of %x%s", from.label, w.nameOf(p.to), kind, w.detail(p.in), p.in.ID, p.talk.id>>20, note)
}

// detail is what matters of a message's content.
func (w *world) detail(in control.Inbound) string {
	c := in.Command
	switch {
	case c.GetGroupUpdate() != nil:
		u := c.GetGroupUpdate()
		who, _ := wire.ToName(u.GetParticipant().GetName())
		return fmt.Sprintf(" %v %s of %d, commit %d", u.GetOp(), w.nameOf(who), len(u.GetParticipants()), u.GetMls().GetCommitId())
	case c.GetGroupWelcome() != nil:
		return fmt.Sprintf(" of %d, commit %d", len(c.GetGroupWelcome().GetParticipants()), c.GetGroupWelcome().GetMls().GetCommitId())
	case c.GetRejoinReply() != nil:
		return fmt.Sprint(" commit ", c.GetRejoinReply().GetCommitId())
	case c.GetHeartbeat() != nil:
		return fmt.Sprint(" epoch ", c.GetHeartbeat().GetEpoch())
	case c.GetUpdateParticipantState() != nil:
		return fmt.Sprint(" ", c.GetUpdateParticipantState().GetNewState())
	}
	return ""
}

var newsTexts = map[control.News]string{
	control.Joined: "joined", control.Left: "left", control.Expelled: "removed",
	control.Offline: "offline", control.Online: "online", control.Blocked: "blocked",
}

// traceStep writes down what a step told the application.
func (s *session) traceStep(out control.Output) {
	note := func(format string, args ...any) { s.w.logf("        %v "+format, append([]any{s}, args...)...) }
	for _, d := range out.Deliver {
		switch {
		case d.Missing > 0:
			note("misses %d of %s", d.Missing, s.w.nameOf(d.From))
		default:
			note("reads %s of %s", d.Msg.Payload, s.w.nameOf(d.From))
		}
	}
	for _, st := range out.Settled {
		if !st.Acknowledged {
			note("message %d is not acknowledged by %d", st.ID, len(st.Missing))
		}
	}
	for _, m := range out.Members {
		note("hears: %s %s", s.w.nameOf(m.Name), newsTexts[m.What])
	}
	for _, d := range out.Done {
		note("operation %d is done: %v", d.Op, d.Err)
	}
	if out.Dropped != "" {
		note("drops: %s", out.Dropped)
	}
	if out.Opened || out.Rotated {
		note("is in epoch %d", s.core.Epoch())
	}
	if out.Ended != nil {
		note("ended, reason %d", out.Ended.Reason)
	}
}
