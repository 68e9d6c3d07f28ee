package control

import (
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Moderator is the machine of the one member that owns a group: it invites,
// removes, and makes every commit.
type Moderator struct {
	group
	task  *task // the one change under way
	queue []*task
	// changes counts the changes of the group: the commit_id of MLS sessions.
	changes    uint32
	history    []change // the last ones, for members that missed them
	subscribed bool
	unheard    bool      // the subscription failed
	rotated    time.Time // when our leaf was renewed
	quiet      time.Time // no heartbeat before, see [Moderator.inform]
}

// moderated is what the moderator keeps of a member.
type moderated struct {
	welcomed bool // it acknowledged its welcome, or was heard
	departed bool // it said that it leaves, its removal is to come
	seen     uint32
	// led is when it was sent missed changes last.
	led time.Time
	// relist: it came back by a Welcome, which brings no roster, and has not
	// acknowledged what does. It is sent that so many times more, since a real
	// member acknowledges nothing twice.
	relist     int
	readmitted time.Time   // when it last rejoined
	admitted   []byte      // key package of that
	welcome    Outbound    // and the answer that got
	rejoins    []MessageID // ids of the requests that got it
}

// NewModerator makes the machine of a new channel, named by cfg.Channel and
// cfg.Control. Nothing happens before [Start]; the channel is open with it.
func NewModerator(cfg Config) *Moderator {
	cfg.Role = Initiator
	return &Moderator{group: newGroup(cfg)}
}

// Step handles one event.
func (mo *Moderator) Step(now time.Time, ev Event) Output {
	var out Output
	if mo.state == ended {
		return out
	}
	switch ev := ev.(type) {
	case Start:
		mo.onStart(now, &out)
	case Tick:
		mo.onTick(now, &out)
	case LinkDown:
		mo.onLinkDown(now)
	case LinkUp:
		mo.linkUp(now, &out)
	case Publish:
		mo.onPublish(now, ev.Msg, &out)
	case PublishTo:
		mo.onPublishTo(now, ev, &out)
	case Invite:
		mo.enqueue(&task{kind: inviting, op: &ev.Op, name: ev.Name, subject: ev.Subject}, &out)
	case Remove:
		mo.enqueue(&task{kind: removing, op: &ev.Op, name: ev.Name, force: ev.Force}, &out)
	case SoftClose:
		mo.onSoftClose(now, ev.Op, &out)
	case Rejoin:
		mo.onComeBack(now, ev.Op, &out)
	case Subscribed:
		mo.unheard = ev.Err != nil // asked again with the next heartbeat
	case Drain:
		mo.onDrain(now, &out)
	case Close:
		mo.farewell(now, &out)
	case Received:
		mo.onReceived(now, &ev.Msg, &out)
	}
	mo.proceed(now, &out)
	if mo.state == draining && !mo.pending() {
		mo.farewell(now, &out)
	}
	return out
}

func (mo *Moderator) onStart(now time.Time, out *Output) {
	if mo.state != idle {
		return
	}
	mo.state = open
	mo.beat, mo.rotated = now.Add(HeartbeatInterval), now
	out.Opened = true
}

// NextTimeout is when to step with [Tick]; zero if there is nothing to wait for.
func (mo *Moderator) NextTimeout() time.Time {
	var next earliest
	if mo.state == ended || mo.state == idle {
		return next.at
	}
	mo.timeouts(next.add)
	if mo.linkDown.IsZero() {
		if mo.task != nil && mo.task.ask.active() {
			next.add(mo.task.ask.due)
		}
		next.add(mo.rotationDue())
	}
	return next.at
}

func (mo *Moderator) onTick(now time.Time, out *Output) {
	if due(now, mo.drained) {
		mo.farewell(now, out)
		return
	}
	if mo.tick(now, out) {
		if mo.state == ended {
			mo.cancelTasks(now, out)
		}
		return
	}
	mo.onUpdateTimer(now, out)
	if mo.state == ended {
		return
	}
	mo.onTaskTimer(now, out)
	if (mo.state == open || mo.state == draining) && due(now, mo.beat) {
		mo.onBeat(now, now.Before(mo.quiet) && !mo.update.over(), out)
		out.Subscribe = out.Subscribe || mo.unheard
		mo.unheard = false
	}
}

// onUpdateTimer repeats the broadcast under way. Those who stay silent are
// taken offline; the changes they missed are kept for their return.
func (mo *Moderator) onUpdateTimer(now time.Time, out *Output) {
	if !mo.recast(now, mo.update, out) {
		return
	}
	for _, m := range slices.Clone(mo.update.waiting) {
		mo.silent(now, m, out)
	}
	mo.update.waiting = nil
	if mo.state == closing {
		mo.end(&End{Reason: Closed}, out)
	}
}

func (mo *Moderator) linkUp(now time.Time, out *Output) {
	var requests []*request
	if mo.task != nil {
		requests = append(requests, mo.task.ask)
	}
	if mo.onLinkUp(now, out, requests...) {
		mo.onTick(now, out)
	}
}

func (mo *Moderator) onSoftClose(now time.Time, op Op, out *Output) {
	if err := mo.mayChange(open); err != nil {
		out.Done = append(out.Done, Done{Op: op, Err: err})
		return
	}
	mo.softClose(now, op, out)
}

func (mo *Moderator) onComeBack(now time.Time, op Op, out *Output) {
	if err := mo.mayChange(away); err != nil {
		out.Done = append(out.Done, Done{Op: op, Err: err})
		return
	}
	mo.comeBack(now, op, out)
}

// mayChange reports whether our own presence may change, from the given state.
func (mo *Moderator) mayChange(from state) error {
	switch {
	case mo.state != from:
		return ErrNotOpen
	case mo.task != nil || mo.op != nil:
		return ErrBusy
	}
	return nil
}

func (mo *Moderator) onDrain(now time.Time, out *Output) {
	if mo.state == open && mo.pending() && len(mo.onlineMembers(nil)) > 0 {
		mo.state, mo.drained = draining, now.Add(MaxDrain)
		return
	}
	mo.farewell(now, out)
}

// farewell closes the channel for all.
func (mo *Moderator) farewell(now time.Time, out *Output) {
	switch mo.state {
	case closing, ended:
		return
	case idle:
		mo.end(&End{Reason: Closed}, out)
		return
	}
	there := mo.onlineMembers(nil)
	if t := mo.task; t != nil && t.who != nil && t.stage == atWelcome && !t.who.online {
		there = append(there, t.who) // it may have taken our welcome
	}
	mo.cancelTasks(now, out)
	mo.finishOp(ErrEnded, out)
	mo.stopData(out)
	mo.state, mo.drained, mo.status = closing, time.Time{}, nil
	if len(mo.members) > 0 && mo.linkDown.IsZero() {
		mo.update = mo.cast(now, mo.groupClose(), there, out)
	}
	if mo.update.over() || !mo.linkDown.IsZero() {
		mo.end(&End{Reason: Closed}, out)
	}
}

func (mo *Moderator) groupClose() Outbound {
	var names []*pb.Name
	for _, p := range mo.participants() {
		names = append(names, p.GetName())
	}
	return Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_CLOSE,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_GroupClose{
			GroupClose: &pb.GroupClosePayload{Participants: names}}},
	}
}

// onReceived sorts an incoming message by type. It must come from a member, or
// from the one that is being invited or removed.
func (mo *Moderator) onReceived(now time.Time, in *Inbound, out *Output) {
	if in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REPLY {
		mo.onDiscoveryReply(now, in, out)
		return
	}
	m := mo.sender(in.From.Key())
	switch {
	case m == nil:
		out.Dropped = "not from a member of this group"
		return
	case !m.is(in):
		out.Dropped = "identity of a member changed"
		return
	}
	if IsCommand(in.Type) {
		if !m.answers.repeated(in, out) {
			mo.onCommand(now, m, in, out)
		}
		return
	}
	if mo.byName[m.name.Key()] != m {
		out.Dropped = "data of one that is not a member"
		return
	}
	if epoch, ok := mo.onData(now, m, in, out); ok {
		mo.inEpoch(now, m, epoch, out)
	}
}

// sender finds the member that a message comes from.
func (mo *Moderator) sender(from name.Key) *member {
	if m := mo.byName[from]; m != nil {
		return m
	}
	if mo.task != nil && mo.task.who != nil && mo.task.who.name.Key() == from {
		return mo.task.who
	}
	return mo.left(from)
}

func (mo *Moderator) onCommand(now time.Time, m *member, in *Inbound, out *Output) {
	current := mo.byName[m.name.Key()] == m
	switch {
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REPLY:
		mo.onJoinReply(now, m, in, out)
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REPLY:
		mo.onLeaveReply(m, in, out)
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST:
		mo.onLeaveRequest(now, m, in, out)
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK && mo.state == closing:
		mo.onCloseAck(m, in, out)
	case !current && in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK && mo.update.answer(m, in.ID):
		// It heard of its own removal.
	case !current:
		out.Dropped = "control message of one that is not a member"
		mo.tellAgain(now, m, out)
	case mo.state == away && mo.statusAck(now, m, in.ID, out):
	case mo.state == away || mo.state == closing:
		out.Dropped = "control message while the session is not open"
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK:
		mo.onGroupAck(now, m, in, out)
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_NACK:
		mo.onGroupNack(m, in, out)
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_HEARTBEAT:
		mo.heartbeat(now, m, in, out)
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_UPDATE_PARTICIPANT_STATE:
		mo.onStateUpdate(now, m, in, out)
		if mo.mls == nil && m.online { // with MLS it was refused, and rejoins
			mo.catchUp(now, m, NoEpoch, out)
		}
	case in.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST:
		mo.onRejoinRequest(now, m, in, out)
	default:
		out.Dropped = "control message that no participant sends to its moderator"
	}
}

func (mo *Moderator) onCloseAck(m *member, in *Inbound, out *Output) {
	if !mo.update.answer(m, in.ID) {
		out.Dropped = "acknowledgement of nothing pending"
		return
	}
	if mo.update.over() {
		mo.end(&End{Reason: Closed}, out)
	}
}

// onGroupNack: a member is in another epoch than we say we are. As moderator
// there is nobody who could let us in anew; it will come to us.
func (mo *Moderator) onGroupNack(m *member, in *Inbound, out *Output) {
	if !mo.status.answer(m, in.ID) {
		out.Dropped = "refusal of nothing pending"
		return
	}
	mo.statusOver(out)
}

// onGroupAck: of a welcome, a change, an announcement or a rejoin.
func (mo *Moderator) onGroupAck(now time.Time, m *member, in *Inbound, out *Output) {
	m.missed = 0
	switch {
	case mo.welcomeAck(now, m, in.ID, out):
	case mo.statusAck(now, m, in.ID, out):
	case mo.changeAck(now, m, in.ID, out):
	case mo.rejoinAck(now, m, in.ID, out):
	case mo.relisted(m, in.ID):
	default:
		out.Dropped = "acknowledgement of nothing pending"
	}
}

func (mo *Moderator) heartbeat(now time.Time, m *member, in *Inbound, out *Output) {
	epoch := mo.onHeartbeat(now, m, in, out)
	if mo.mls != nil {
		mo.inEpoch(now, m, epoch, out)
	}
	mo.catchUp(now, m, epoch, out)
}
