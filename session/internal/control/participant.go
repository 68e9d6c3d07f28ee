package control

import (
	"bytes"
	"errors"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Participant is the machine of a member that was invited to a group.
type Participant struct {
	group
	moderator *member
	joinMsg   *Outbound // our JOIN_REPLY
	welcome   *Inbound  // the last, to be acknowledged once we are subscribed
	refused   bool      // the subscription failed
	expires   time.Time // half open join, our farewell, or the wait for the last word after our removal
	removed   bool
	leave     *request

	changes  uint32              // commit_id of the last commit applied
	held     map[uint32]*Inbound // later ones, whose turn has not come
	behind   time.Time           // since when we know that we miss one
	rejoin   *request
	caughtUp *request  // a rejoin that a late commit made needless; its answer may still come
	issued   time.Time // of the token in our leaf
	asked    time.Time // when we last asked for a rejoin
}

// NewParticipant makes the machine of a session that cfg.Peer, its moderator,
// invited us to. After [Start] it wants the JOIN_REQUEST as [Received].
func NewParticipant(cfg Config) *Participant {
	cfg.Role = Responder
	p := &Participant{group: newGroup(cfg), held: make(map[uint32]*Inbound)}
	p.moderator = p.newMember(cfg.Peer)
	p.moderator.moderator = true
	p.add(p.moderator)
	return p
}

// Step handles one event.
func (p *Participant) Step(now time.Time, ev Event) Output {
	var out Output
	if p.state == ended {
		return out
	}
	switch ev := ev.(type) {
	case Start:
		if p.state == idle {
			p.state = joined
			p.expires = now.Add(min(p.patience(), MaxHalfOpen))
		}
	case Tick:
		p.onTick(now, &out)
	case LinkDown:
		p.onLinkDown(now)
	case LinkUp:
		if p.onLinkUp(now, &out, p.leave, p.rejoin) {
			p.onTick(now, &out)
		}
	case Publish:
		p.onPublish(now, ev.Msg, &out)
	case PublishTo:
		p.onPublishTo(now, ev, &out)
	case Invite:
		out.Done = append(out.Done, Done{Op: ev.Op, Err: ErrNotModerator})
	case Remove:
		out.Done = append(out.Done, Done{Op: ev.Op, Err: ErrNotModerator})
	case SoftClose:
		p.onSoftClose(now, ev.Op, &out)
	case Rejoin:
		p.onComeBack(now, ev.Op, &out)
	case Subscribed:
		p.onSubscribed(now, ev.Err, &out)
	case Drain:
		p.onDrain(now, &out)
	case Close:
		p.farewell(now, &out)
	case Received:
		p.onReceived(now, &ev.Msg, &out)
	}
	if p.state == draining && !p.pending() {
		p.farewell(now, &out)
	}
	if p.lost && p.cfg.EndWhenLost && p.state != closing {
		p.quit(&End{Reason: PeerGone}, &out)
	}
	p.lost = false
	return out
}

// NextTimeout is when to step with [Tick]; zero if there is nothing to wait for.
func (p *Participant) NextTimeout() time.Time {
	var next earliest
	if p.state == ended || p.state == idle {
		return next.at
	}
	next.add(p.expires)
	p.timeouts(next.add)
	if p.linkDown.IsZero() {
		for _, r := range []*request{p.leave, p.rejoin} {
			if r.active() {
				next.add(r.due)
			}
		}
		next.add(p.rejoinDue())
	}
	return next.at
}

func (p *Participant) onTick(now time.Time, out *Output) {
	switch {
	case due(now, p.expires):
		switch {
		case p.removed:
			p.quit(&End{Reason: Removed}, out)
		case p.state == closing:
			p.end(&End{Reason: Closed}, out)
		default:
			p.end(&End{Reason: HalfOpen}, out)
		}
		return
	case due(now, p.drained):
		p.farewell(now, out)
		return
	}
	if p.tick(now, out) {
		return
	}
	if p.repeat(now, p.leave, out) {
		p.end(&End{Reason: Closed}, out)
		return
	}
	p.onRejoinTimer(now, out)
	if (p.state == open || p.state == draining) && due(now, p.beat) {
		p.onBeat(now, false, out)
	}
}

// onReceived sorts an incoming message by type. Nothing comes from anybody but
// the members, and until we are in from nobody but the moderator.
func (p *Participant) onReceived(now time.Time, in *Inbound, out *Output) {
	m := p.byName[in.From.Key()]
	switch {
	case m == nil:
		out.Dropped = "not from a member of this group"
		return
	case !m.is(in):
		out.Dropped = "identity of a member changed"
		return
	case p.state < open && m != p.moderator:
		out.Dropped = "not from the moderator"
		return
	}
	if m.subject == "" { // without MLS: known from now on
		m.subject, m.key = in.Subject, in.Key
	}
	if !IsCommand(in.Type) {
		p.onData(now, m, in, out)
		return
	}
	if m.answers.repeated(in, out) {
		return
	}
	if m == p.moderator && p.onOrder(now, in, out) {
		return
	}
	p.onCommand(now, m, in, out)
}

// onOrder handles what only the moderator sends.
func (p *Participant) onOrder(now time.Time, in *Inbound, out *Output) bool {
	switch in.Type {
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REQUEST:
		p.onJoinRequest(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_WELCOME:
		p.onWelcome(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_UPDATE:
		p.onGroupUpdate(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REPLY:
		p.onRejoinReply(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST,
		pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_CLOSE:
		p.onFarewell(in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REPLY:
		p.onLeaveReply(in, out)
	default:
		return false
	}
	return true
}

// onCommand handles what members say to each other.
func (p *Participant) onCommand(now time.Time, m *member, in *Inbound, out *Output) {
	switch {
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK && p.state == away:
		p.onGroupAck(now, m, in, out)
	case p.state != open && p.state != draining:
		out.Dropped = "control message while the session is not open"
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK:
		p.onGroupAck(now, m, in, out)
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_NACK:
		p.onGroupNack(now, m, in, out)
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_HEARTBEAT:
		p.heartbeat(now, m, in, out)
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_UPDATE_PARTICIPANT_STATE:
		p.onStateUpdate(now, m, in, out)
	default:
		out.Dropped = "control message that this member may not send"
	}
}

// onGroupAck: of our soft close or rejoin.
func (p *Participant) onGroupAck(now time.Time, m *member, in *Inbound, out *Output) {
	m.missed = 0
	if !p.statusAck(now, m, in.ID, out) {
		out.Dropped = "acknowledgement of nothing pending"
	}
}

// onJoinRequest answers a join, and every repetition of it with the same reply.
func (p *Participant) onJoinRequest(now time.Time, in *Inbound, out *Output) {
	if p.state > open {
		out.Dropped = "join request out of place"
		return
	}
	if p.cfg.Subject != "" && in.Subject != p.cfg.Subject {
		p.end(&End{Reason: Rejected}, out)
		return
	}
	if p.joinMsg == nil {
		reply, err := joinReply(now, &p.cfg)
		if err != nil {
			p.end(&End{Reason: CryptoFailed, Cause: err}, out)
			return
		}
		p.joinMsg = reply
	}
	p.moderator.answers.answer(in, *p.joinMsg, out)
}

// onWelcome lets us into the group. It is acknowledged when we are subscribed
// to the channel, so that the moderator knows that we hear what is said from
// then on.
func (p *Participant) onWelcome(now time.Time, in *Inbound, out *Output) {
	switch {
	case p.joinMsg == nil || p.state > open:
		out.Dropped = "welcome out of place"
	case p.state == open:
		p.moderator.answers.answer(in, groupAck(p.moderator.name), out)
	case p.state == subscribing:
		p.welcome = in
		out.Subscribe, p.refused = p.refused, false
	default:
		welcome := in.Command.GetGroupWelcome()
		if err := p.enter(now, welcome); err != nil {
			out.Dropped = "welcome refused: " + err.Error()
			return
		}
		p.welcome = in
		p.state = subscribing
		out.Subscribe = true
	}
}

var (
	errNoContent   = errors.New("no MLS content")
	errRosterSize  = errors.New("roster too large")
	errNoModerator = errors.New("the moderator is not in the group, or is another")
	errNotIn       = errors.New("we are not in the group")
)

// enter joins the group of a Welcome and takes over the roster.
func (p *Participant) enter(now time.Time, w *pb.GroupWelcomePayload) error {
	if len(w.GetParticipants()) > MaxMembers {
		return errRosterSize
	}
	if p.mls != nil {
		if err := p.joinGroup(now, w.GetMls().GetMlsContent()); err != nil {
			return err
		}
		if err := p.checkGroup(); err != nil {
			return err
		}
		p.changes = w.GetMls().GetCommitId()
	}
	var quiet Output // nobody was known before
	p.reconcile(now, w.GetParticipants(), name.Key{}, &quiet)
	return nil
}

// joinGroup enters the MLS group of a Welcome.
func (p *Participant) joinGroup(now time.Time, welcome []byte) error {
	if len(welcome) == 0 {
		return errNoContent
	}
	p.tree = nil
	return p.mls.Join(welcome, now)
}

// checkGroup holds the group to its moderator and ourselves.
func (p *Participant) checkGroup() error {
	leaves := p.leaves()
	mod, ok := leaves[p.moderator.name.ID]
	if !ok || mod.Own || mod.Subject != p.moderator.subject || !bytes.Equal(mod.Key, p.moderator.key) {
		return errNoModerator
	}
	if own, ok := leaves[p.cfg.Local.ID]; !ok || !own.Own {
		return errNotIn
	}
	return nil
}

func (p *Participant) onSubscribed(now time.Time, err error, out *Output) {
	if p.state != subscribing {
		return
	}
	if err != nil {
		p.refused = true // the repeated welcome asks again
		return
	}
	p.moderator.answers.answer(p.welcome, groupAck(p.moderator.name), out)
	p.welcome = nil
	p.state, p.expires = open, time.Time{}
	p.beat = now.Add(HeartbeatInterval)
	p.enteredEpoch(now)
	out.Opened = true
	p.moderator.listed = true // whatever its own list says
	for _, m := range p.members {
		if m.listed {
			p.setOnline(now, m, out)
		}
	}
}
