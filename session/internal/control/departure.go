package control

import (
	"time"

	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// How a participant goes: for a while, by itself, or because the moderator says
// so.

func (p *Participant) onSoftClose(now time.Time, op Op, out *Output) {
	switch {
	case p.state != open:
		out.Done = append(out.Done, Done{Op: op, Err: ErrNotOpen})
	case p.op != nil || p.rejoin.active():
		out.Done = append(out.Done, Done{Op: op, Err: ErrBusy})
	default:
		p.softClose(now, op, out)
	}
}

func (p *Participant) onComeBack(now time.Time, op Op, out *Output) {
	switch {
	case p.state != away:
		out.Done = append(out.Done, Done{Op: op, Err: ErrNotOpen})
	case p.op != nil:
		out.Done = append(out.Done, Done{Op: op, Err: ErrBusy})
	default:
		p.comeBack(now, op, out)
	}
}

func (p *Participant) onDrain(now time.Time, out *Output) {
	if p.state == open && p.pending() {
		p.state, p.drained = draining, now.Add(MaxDrain)
		return
	}
	p.farewell(now, out)
}

// farewell tells the moderator that we leave. We unsubscribe meanwhile; what we
// still hear, of our own removal too, is nothing to us any more.
func (p *Participant) farewell(now time.Time, out *Output) {
	switch p.state {
	case closing, ended:
		return
	case idle, joined:
		p.end(&End{Reason: Closed}, out)
		return
	}
	p.state, p.drained = closing, time.Time{}
	p.expires = now.Add(MaxDrain) // the retries are the moderator's, and may take days
	p.rejoin, p.status, p.behind = nil, nil, time.Time{}
	p.finishOp(ErrEnded, out)
	p.stopData(out)
	if !p.linkDown.IsZero() {
		p.end(&End{Reason: Closed}, out)
		return
	}
	out.Unsubscribe = true
	p.leave = p.ask(now, p.goodbye(), out)
}

func (p *Participant) goodbye() Outbound {
	msg := leaveRequest(p.moderator.name)
	msg.Metadata = map[string]string{wire.MetaLeaving: wire.MetaTrue}
	return msg
}

// quit ends the session without waiting, and says so once, so that the
// moderator does not keep us on its roster for ever if it hears it.
func (p *Participant) quit(e *End, out *Output) {
	if p.linkDown.IsZero() {
		msg := p.goodbye()
		msg.ID = p.draw()
		out.Send = append(out.Send, msg)
	}
	p.end(e, out)
}

// onFarewell: the moderator removed us (LEAVE_REQUEST) or closes the channel
// (GROUP_CLOSE).
func (p *Participant) onFarewell(in *Inbound, out *Output) {
	p.moderator.answers.answer(in, FarewellAnswer(in.Type, p.moderator.name), out)
	reason := ClosedByPeer
	switch {
	case p.state == closing && !p.removed:
		reason = Closed
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST:
		reason = Removed
	}
	p.end(&End{Reason: reason}, out)
}

func (p *Participant) onLeaveReply(in *Inbound, out *Output) {
	if ok, _ := p.leave.answered(in.ID); !ok {
		out.Dropped = "leave reply to nothing asked"
		return
	}
	p.end(&End{Reason: Closed}, out)
}
