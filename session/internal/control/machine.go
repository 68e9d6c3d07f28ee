package control

import (
	"bytes"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/arq"
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
	Role      Role
	Local     name.Name
	Peer      name.Name // the invited name, or the moderator
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
	welcoming // initiator: welcome sent
	joined    // responder: half open
	open
	draining
	closing
	ended
)

// Machine is one 1:1 session.
type Machine struct {
	cfg   Config
	state state
	peer  name.Name // full name once known
	subj  string    // verified subject of the peer
	key   []byte    // its public key, the same for the life of the session

	task     *request // the one control request under way
	fallback *Inbound // join reply to an older request id
	waited   bool     // one interval was spent waiting for the newest reply
	answers  replies
	joinMsg  *Outbound // our JOIN_REPLY
	expires  time.Time // half open join
	drained  time.Time // the latest end of a drain

	tx        *arq.Sender[name.Key, AppMessage]
	begun     bool // the peer has acknowledged something
	rx        *arq.Receiver[delivered]
	direct    [64]MessageID // publish_to ids seen lately
	directPos int

	online   bool
	missed   int
	spoke    bool // something was sent to the peer since the last heartbeat
	beat     time.Time
	linkDown time.Time // zero: up

	rot      rotation
	forgetAt time.Time
	forgetTo uint64
}

type delivered struct {
	msg     AppMessage
	subject string
}

// New makes a machine; nothing happens before [Start].
func New(cfg Config) *Machine {
	m := &Machine{cfg: cfg, peer: cfg.Peer}
	m.tx = arq.NewSender[name.Key, AppMessage](arq.SenderConfig{
		Reliable: cfg.Reliable, Interval: cfg.Interval, MaxRetries: cfg.MaxRetries,
	})
	m.rx = arq.NewReceiver[delivered](arq.ReceiverConfig{
		Reliable: cfg.Reliable, StartAtOne: true, Interval: cfg.Interval, MaxRetries: cfg.MaxRetries,
	})
	return m
}

// Peer is the peer's name, complete once discovery is over.
func (m *Machine) Peer() name.Name { return m.peer }

// PeerSubject is the verified subject of the peer, empty until it is known.
func (m *Machine) PeerSubject() string { return m.subj }

// PeerOnline reports whether the peer is there as far as we know.
func (m *Machine) PeerOnline() bool { return m.online }

// Epoch is the MLS epoch; 0 without MLS.
func (m *Machine) Epoch() uint64 {
	if m.cfg.MLS == nil {
		return 0
	}
	return m.cfg.MLS.Epoch()
}

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

// Seal encrypts the payload of an [Outbound] whose Encrypt is set; aad is the
// authenticated data of the header that will be sent.
func (m *Machine) Seal(payload, aad []byte) ([]byte, error) {
	return m.cfg.MLS.Encrypt(payload, aad)
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

// patience is how long M retries at interval I take.
func (m *Machine) patience() time.Duration {
	return time.Duration(m.cfg.MaxRetries+1) * m.cfg.Interval
}

func (m *Machine) newID() MessageID {
	for {
		if id := m.cfg.NewID(); id != 0 { // upstream refuses 0
			return MessageID(id)
		}
	}
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
		add(m.rx.NextTimeout())
		add(m.rotationDue())
	}
	return next
}

func (m *Machine) onTick(now time.Time, out *Output) {
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if due(m.expires) {
		m.end(now, &End{Reason: HalfOpen}, out)
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
	if m.task.active() && m.fallback != nil && !now.Before(m.task.due) {
		// The peer answers, only later than our interval: do not go on
		// making its answers stale.
		if m.waited {
			m.joinReplied(now, m.fallback, out)
			return
		}
		m.waited = true
		m.task.due = now.Add(m.cfg.Interval)
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
		m.rx.Pause(now)
	}
}

func (m *Machine) onLinkUp(now time.Time, out *Output) {
	if m.linkDown.IsZero() {
		return
	}
	down := now.Sub(m.linkDown)
	m.linkDown = time.Time{}
	m.tx.Resume(now)
	m.rx.Resume(now)
	for _, r := range []*request{m.task, m.rot.update, m.rot.rejoin} {
		if r.active() {
			// What was said into the dead link is not held against the peer.
			r.attempts = max(r.attempts-1, 0)
			r.due = now
		}
	}
	m.beat = m.beat.Add(down)
	m.missed = 0
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
		if in.From.Key() != m.peer.Key() {
			m.drop(out, "not from the peer of this session")
			return
		}
		if m.subj != "" && (in.Subject != m.subj || !bytes.Equal(in.Key, m.key)) {
			m.drop(out, "identity of the peer changed")
			return
		}
	}
	if !IsCommand(in.Type) {
		m.onData(now, in, out)
		return
	}
	if answer, seen := m.answers.seen(in.Type, in.ID); seen {
		if answer != nil {
			out.Send = append(out.Send, *answer)
		}
		m.drop(out, "repeated control message")
		return
	}
	m.onCommand(now, in, out)
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
