package control

import (
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Role is our part in the session.
type Role int

const (
	// Initiator opened the session: SLIM's moderator.
	Initiator Role = iota
	// Responder was found by discovery: SLIM's participant.
	Responder
)

// Times of the protocol (source: agntcy/slim crates/session).
const (
	// MaxHalfOpen is how long a join may wait for its welcome at most; less
	// if the peer's own retries run out before. Ours: upstream waits for ever.
	MaxHalfOpen = 30 * time.Second
	// MaxDrain is how long a drain waits for acknowledgements, as upstream.
	MaxDrain          = 60 * time.Second
	HeartbeatInterval = 10 * time.Second
	MaxMissed         = 3
	NoEpoch           = ^uint64(0) // in heartbeats of sessions without MLS
)

// Config sets up a Machine. All fields are fixed for its life.
type Config struct {
	Role  Role
	Local name.Name
	Peer  name.Name // the invited name, or the moderator
	// Channel and Control are the names of a group, for data and for control.
	// Zero in a 1:1 session.
	Channel   name.Name
	Control   name.Name
	SessionID uint32
	// Reliable: acknowledgements, order, exactly once.
	Reliable   bool
	MaxRetries int
	Interval   time.Duration
	Metadata   map[string]string // of the join, sent by the initiator
	// MLS is nil for a session in the clear.
	MLS MLS
	// Subject, if set, is the only verified subject admitted as the peer.
	Subject string
	// NewID draws a random message id.
	NewID func() uint32
	// EndWhenLost ends the session when the peer does not acknowledge, is
	// silent for three heartbeats, or the link is down for LostAfter.
	EndWhenLost bool
	LostAfter   time.Duration
	// Key rotation by the initiator: after this time, or when any one member
	// sent so many messages in the epoch. Zero: never.
	RotateAfter    time.Duration
	RotateMessages int
}

type state int

const (
	idle state = iota
	discovering
	joining
	welcoming   // initiator: welcome sent
	joined      // responder: half open
	subscribing // group participant: let in, not yet on the channel
	open
	away // group: soft-closed
	draining
	closing
	ended
)

// Machine is one 1:1 session.
type Machine struct {
	requester
	stream
	cfg   Config
	state state
	peer  peer // its name is complete once it was found

	task    *request // the one control request under way
	joins   joinReplies
	answers replies
	joinMsg *Outbound // our JOIN_REPLY
	expires time.Time // half open join, or our farewell
	drained time.Time // the latest end of a drain

	begun    bool // the peer has acknowledged something
	beat     time.Time
	linkDown time.Time // zero: up

	rot      rotation
	forgetAt time.Time
	forgetTo uint64
}

// New makes a machine; nothing happens before [Start].
func New(cfg Config) *Machine {
	m := &Machine{cfg: cfg, requester: newRequester(&cfg), stream: newStream(&cfg, true)}
	m.peer = m.newPeer(cfg.Peer)
	m.answers.limit = 256
	return m
}

// Peer is the peer's name, complete once discovery is over.
func (m *Machine) Peer() name.Name { return m.peer.name }

// PeerSubject is the verified subject of the peer, empty until it is known.
func (m *Machine) PeerSubject() string { return m.peer.subject }

// PeerOnline reports whether the peer is there as far as we know.
func (m *Machine) PeerOnline() bool { return m.peer.online }

// Roster lists the two members, ourselves first.
func (m *Machine) Roster() []RosterEntry {
	initiator := m.cfg.Role == Initiator
	return []RosterEntry{
		{Name: m.cfg.Local, Online: true, Self: true, Moderator: initiator},
		{Name: m.peer.name, Subject: m.peer.subject, Online: m.peer.online, Moderator: !initiator},
	}
}

// HeldBytes is the size of what waits for older messages.
func (m *Machine) HeldBytes() int { return m.peer.rx.HeldBytes() }

// CanPublishTo is false: there is only the peer, to be reached with Publish.
func (m *Machine) CanPublishTo() bool { return false }

// CanPublish reports whether a Publish event would be accepted now. The first
// message of a reliable stream must be acknowledged before the second may
// follow: SLIM 2.2 takes whatever arrives first for the start of the stream and
// drops an earlier message as old, so the first one must not be overtaken.
func (m *Machine) CanPublish() bool {
	if m.cfg.Reliable && !m.begun && m.tx.Pending() > 0 {
		return false
	}
	return m.state == open && m.tx.CanPublish(0)
}

// Step handles one event.
func (m *Machine) Step(now time.Time, ev Event) Output {
	var out Output
	if m.state == ended {
		return out
	}
	switch ev := ev.(type) {
	case Start:
		m.onStart(now, &out)
	case Tick:
		m.onTick(now, &out)
	case LinkDown:
		m.onLinkDown(now)
	case LinkUp:
		m.onLinkUp(now, &out)
	case Publish:
		m.onPublish(now, ev.Msg, &out)
	case Drain:
		m.onDrain(now, &out)
	case Close:
		m.farewell(now, &out)
	case Received:
		m.onReceived(now, &ev.Msg, &out)
	}
	m.maybeRotate(now, &out)
	if m.state == draining && m.tx.Pending() == 0 {
		m.farewell(now, &out)
	}
	return out
}

func (m *Machine) onStart(now time.Time, out *Output) {
	if m.state != idle {
		return
	}
	m.beat = now.Add(HeartbeatInterval)
	if m.cfg.Role == Initiator {
		m.discover(now, out)
		return
	}
	m.state = joined
	m.expires = now.Add(min(m.patience(), MaxHalfOpen))
}

// NextTimeout is when to step with [Tick]; zero if there is nothing to wait for.
func (m *Machine) NextTimeout() time.Time {
	var next time.Time
	add := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if m.state == ended || m.state == idle {
		return next
	}
	add(m.expires)
	add(m.forgetAt)
	add(m.drained)
	if !m.linkDown.IsZero() {
		if m.cfg.EndWhenLost {
			add(m.linkDown.Add(m.cfg.LostAfter))
		}
		return next
	}
	for _, r := range []*request{m.task, m.rot.update, m.rot.rejoin} {
		if r.active() {
			add(r.due)
		}
	}
	if m.state >= open {
		add(m.beat)
		add(m.tx.NextTimeout())
		add(m.peer.rx.NextTimeout())
		add(m.rotationDue())
	}
	return next
}

func (m *Machine) onTick(now time.Time, out *Output) {
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if due(m.expires) {
		reason := HalfOpen
		if m.state == closing {
			reason = Closed
		}
		m.end(now, &End{Reason: reason}, out)
		return
	}
	if due(m.drained) {
		m.farewell(now, out)
		return
	}
	if due(m.forgetAt) {
		m.cfg.MLS.ForgetBefore(m.forgetTo)
		m.forgetAt = time.Time{}
	}
	if !m.linkDown.IsZero() {
		if m.cfg.EndWhenLost && due(m.linkDown.Add(m.cfg.LostAfter)) {
			m.end(now, &End{Reason: LinkLost}, out)
		}
		return
	}
	if m.state < open || m.state == closing {
		m.onTaskTimer(now, out)
	}
	if m.state < open || m.state == ended {
		return
	}
	m.onRotationTimer(now, out)
	m.onDataTimers(now, out)
	if m.state != ended && due(m.beat) {
		m.onHeartbeatTimer(now, out)
	}
}

// onTaskTimer repeats the control request under way.
func (m *Machine) onTaskTimer(now time.Time, out *Output) {
	if reply, held := m.joins.due(now, m.task, m.interval); held {
		if reply != nil {
			m.joinReplied(now, reply, out)
		}
		return
	}
	if !m.repeat(now, m.task, out) {
		return
	}
	switch m.state {
	case discovering:
		m.end(now, &End{Reason: NoPeer}, out)
	case closing:
		m.end(now, &End{Reason: Closed}, out)
	default:
		m.end(now, &End{Reason: NoAnswer}, out)
	}
}

func (m *Machine) onLinkDown(now time.Time) {
	if m.linkDown.IsZero() {
		m.linkDown = now
		m.tx.Pause(now)
		m.peer.rx.Pause(now)
	}
}

func (m *Machine) onLinkUp(now time.Time, out *Output) {
	if m.linkDown.IsZero() {
		return
	}
	down := now.Sub(m.linkDown)
	m.linkDown = time.Time{}
	m.tx.Resume(now)
	m.peer.rx.Resume(now)
	for _, r := range []*request{m.task, m.rot.update, m.rot.rejoin} {
		r.resume(now)
	}
	m.beat = m.beat.Add(down)
	m.peer.missed = 0
	m.onTick(now, out)
}

// end finishes the session. What was still pending is settled as unacknowledged.
func (m *Machine) end(_ time.Time, e *End, out *Output) {
	if m.state == ended {
		return
	}
	m.state = ended
	m.settle(m.tx.Fail(), out)
	if m.cfg.MLS != nil {
		m.cfg.MLS.Wipe()
	}
	out.Ended = e
}

func (m *Machine) drop(out *Output, why string) { out.Dropped = why }

// onReceived sorts an incoming message by type. Everything must come from the
// peer; before the peer is known only a discovery reply is of interest.
func (m *Machine) onReceived(now time.Time, in *Inbound, out *Output) {
	if m.state != discovering {
		if in.From.Key() != m.peer.name.Key() {
			m.drop(out, "not from the peer of this session")
			return
		}
		if !m.peer.is(in) {
			m.drop(out, "identity of the peer changed")
			return
		}
	}
	if !IsCommand(in.Type) {
		m.onData(now, in, out)
		return
	}
	if !m.answers.repeated(in, out) {
		m.onCommand(now, in, out)
	}
}

func (m *Machine) onCommand(now time.Time, in *Inbound, out *Output) {
	switch in.Type {
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REPLY:
		m.onDiscoveryReply(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REQUEST:
		m.onJoinRequest(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REPLY:
		m.onJoinReply(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_WELCOME:
		m.onWelcome(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK:
		m.onGroupAck(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_UPDATE:
		m.onGroupUpdate(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_HEARTBEAT:
		m.onHeartbeat(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST:
		m.onRejoinRequest(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REPLY:
		m.onRejoinReply(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST,
		pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_CLOSE:
		m.onFarewell(now, in, out)
	case pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REPLY:
		m.onLeaveReply(now, in, out)
	default:
		m.drop(out, "control message of no use in a 1:1 session")
	}
}
