package control

import (
	"bytes"
	"errors"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Opening a session: discovery, join, welcome, on both sides.

func (m *Machine) discover(now time.Time, out *Output) {
	m.state = discovering
	m.task = m.ask(now, Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REQUEST,
		To:   m.cfg.Peer,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_DiscoveryRequest{
			DiscoveryRequest: &pb.DiscoveryRequestPayload{}}},
	}, out)
}

// onDiscoveryReply: the first instance that answers is the peer from now on;
// later answers to the same request find the state changed and are ignored.
func (m *Machine) onDiscoveryReply(now time.Time, in *Inbound, out *Output) {
	if m.state != discovering {
		m.drop(out, "discovery is over")
		return
	}
	if ok, _ := m.task.answered(in.ID); !ok {
		m.drop(out, "discovery reply to nothing asked")
		return
	}
	if in.From.Prefix != m.cfg.Peer.Prefix || m.cfg.Peer.ID != name.Any && in.From.ID != m.cfg.Peer.ID {
		m.drop(out, "discovery reply for another name")
		return
	}
	if m.cfg.Subject != "" && in.Subject != m.cfg.Subject {
		m.drop(out, "discovery reply of a subject that was not asked for")
		return
	}
	m.peer.name, m.peer.subject, m.peer.key = in.From, in.Subject, in.Key
	if !m.peer.name.HasStrings() {
		m.peer.name.Components = m.cfg.Peer.Components
	}
	out.PeerFound = &m.peer.name
	m.state = joining
	m.task = m.ask(now, joinRequest(&m.cfg, m.peer.name), out)
}

// joinRequest is for a 1:1 session, or for the channel that cfg names.
func joinRequest(cfg *Config, to name.Name) Outbound {
	join := &pb.JoinRequestPayload{}
	if cfg.Reliable {
		join.TimerSettings = &pb.TimerSettings{
			Timeout:    uint32(cfg.Interval / time.Millisecond),
			MaxRetries: uint32(cfg.MaxRetries),
		}
	}
	if !cfg.Channel.IsZero() {
		join.Channel, join.Control = wire.FromName(cfg.Channel), wire.FromName(cfg.Control)
	}
	if cfg.MLS != nil {
		join.MlsSettings = &pb.MlsSettings{HeaderIntegrityValidationPercent: 100}
	}
	return Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REQUEST,
		To:   to,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_JoinRequest{
			JoinRequest: join}},
		Metadata: cfg.Metadata,
	}
}

// onJoinRequest answers a join, and every repetition of it with the same reply
// (upstream makes a new key package each time; its welcome may then be for
// either).
func (m *Machine) onJoinRequest(now time.Time, in *Inbound, out *Output) {
	if m.cfg.Role != Responder || m.state > open {
		m.drop(out, "join request out of place")
		return
	}
	if m.cfg.Subject != "" && in.Subject != m.cfg.Subject {
		m.end(now, &End{Reason: Rejected}, out)
		return
	}
	m.peer.subject, m.peer.key = in.Subject, in.Key
	if m.joinMsg == nil {
		reply, err := joinReply(now, &m.cfg)
		if err != nil {
			m.end(now, &End{Reason: CryptoFailed, Cause: err}, out)
			return
		}
		m.joinMsg = reply
	}
	m.answers.answer(in, *m.joinMsg, out)
}

// joinReply is the answer of cfg.Local to the moderator cfg.Peer.
func joinReply(now time.Time, cfg *Config) (*Outbound, error) {
	reply := &pb.JoinReplyPayload{Participant: participant(cfg.Local)}
	if cfg.MLS != nil {
		kp, err := cfg.MLS.KeyPackage(now)
		if err != nil {
			return nil, err
		}
		reply.KeyPackage = kp
	}
	return &Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REPLY,
		To:   cfg.Peer,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_JoinReply{
			JoinReply: reply}},
	}, nil
}

func participant(n name.Name) *pb.Participant {
	return &pb.Participant{
		Name:     wire.FromName(n),
		Settings: &pb.ParticipantSettings{SendsData: true, ReceivesData: true},
	}
}

// joinReplies picks the reply to a join request. A real peer makes a new key
// package for every join request, so the reply to the newest request is wanted;
// an older one is kept for the case that the peer is slower than our interval.
type joinReplies struct {
	fallback *Inbound // reply to an older request id
	waited   bool     // one interval was spent waiting for the newest reply
}

// take returns the reply to use now, if in is.
func (j *joinReplies) take(in *Inbound, newest bool) *Inbound {
	if !newest {
		j.fallback = in
		return nil
	}
	*j = joinReplies{}
	return in
}

// due is asked when r may be repeated. If r is held back there is an older
// reply: to be used now, or when r is due again.
func (j *joinReplies) due(now time.Time, r *request, interval time.Duration) (use *Inbound, held bool) {
	if !r.active() || j.fallback == nil || now.Before(r.due) {
		return nil, false
	}
	if !j.waited {
		// The peer answers, only later than our interval: do not go on
		// making its answers stale.
		j.waited = true
		r.due = now.Add(interval)
		return nil, true
	}
	use = j.fallback
	*j = joinReplies{}
	return use, true
}

// keep holds in for the time at, when r is due and in can be used.
func (j *joinReplies) keep(in *Inbound, r *request, at time.Time) {
	j.fallback, j.waited, r.due = in, true, at
}

// participantNamed reports whether a join reply is about n, or about nobody.
func participantNamed(in *Inbound, n name.Name) bool {
	p := in.Command.GetJoinReply().GetParticipant().GetName()
	if p == nil {
		return true
	}
	got, ok := wire.ToName(p)
	return ok && got.Key() == n.Key()
}

func (m *Machine) onJoinReply(now time.Time, in *Inbound, out *Output) {
	ok, newest := m.task.answered(in.ID)
	if m.state != joining || !ok {
		m.drop(out, "join reply to nothing asked")
		return
	}
	if !participantNamed(in, m.peer.name) {
		m.drop(out, "join reply names another participant")
		return
	}
	if reply := m.joins.take(in, newest); reply != nil {
		m.joinReplied(now, reply, out)
	}
}

func (m *Machine) joinReplied(now time.Time, in *Inbound, out *Output) {
	welcome := &pb.GroupWelcomePayload{
		Participants: []*pb.Participant{participant(m.cfg.Local), participant(m.peer.name)},
	}
	if m.cfg.MLS != nil {
		w, err := m.admit(now, in.Command.GetJoinReply().GetKeyPackage())
		if later := (*NotYetError)(nil); errors.As(err, &later) {
			m.joins.keep(in, m.task, later.At)
			return
		}
		if err != nil {
			m.end(now, &End{Reason: CryptoFailed, Cause: err}, out)
			return
		}
		m.rot.commitID = 1
		welcome.Mls = &pb.MlsPayload{CommitId: m.rot.commitID, MlsContent: w}
	}
	m.state = welcoming
	m.task = m.ask(now, Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_WELCOME,
		To:   m.peer.name,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_GroupWelcome{
			GroupWelcome: welcome}},
	}, out)
}

// admit makes the group and adds the peer.
func (m *Machine) admit(now time.Time, keyPackage []byte) ([]byte, error) {
	if len(keyPackage) == 0 {
		return nil, errors.New("the peer sent no key package")
	}
	if err := m.cfg.MLS.Create(now); err != nil {
		return nil, err
	}
	_, welcome, err := m.cfg.MLS.Commit(Change{Add: [][]byte{keyPackage}, Subject: m.peer.subject, Key: m.peer.key}, now)
	return welcome, err
}

func (m *Machine) onWelcome(now time.Time, in *Inbound, out *Output) {
	if m.cfg.Role != Responder || m.joinMsg == nil || m.state > draining {
		m.drop(out, "welcome out of place")
		return
	}
	if m.state == joined {
		mls := in.Command.GetGroupWelcome().GetMls()
		if m.cfg.MLS != nil {
			if err := m.enter(now, mls.GetMlsContent()); err != nil {
				m.drop(out, "welcome refused: "+err.Error())
				return
			}
			m.rot.commitID = mls.GetCommitId()
		}
	}
	m.answers.answer(in, groupAck(m.peer.name), out)
	m.opened(now, out)
}

// enter joins the group of a Welcome and checks that only we two are in it.
func (m *Machine) enter(now time.Time, welcome []byte) error {
	if len(welcome) == 0 {
		return errors.New("no MLS content")
	}
	if err := m.cfg.MLS.Join(welcome, now); err != nil {
		return err
	}
	m.rot.own = m.ownLeaf()
	m.rot.issued = m.rot.own.IssuedAt
	return m.checkMembers()
}

// checkMembers holds the group of a 1:1 session to its two members.
func (m *Machine) checkMembers() error {
	members := m.cfg.MLS.Members()
	if len(members) != 2 {
		return errors.New("group of a 1:1 session has not two members")
	}
	for _, mem := range members {
		if !mem.Own && (mem.Subject != m.peer.subject || !bytes.Equal(mem.Key, m.peer.key)) {
			return errors.New("group member is not the peer")
		}
	}
	return nil
}

func groupAck(to name.Name) Outbound {
	return Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK,
		To:   to,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_GroupAck{
			GroupAck: &pb.GroupAckPayload{}}},
	}
}

// onGroupAck ends the welcome, a rotation, or our farewell.
func (m *Machine) onGroupAck(now time.Time, in *Inbound, out *Output) {
	m.heard()
	if ok, _ := m.task.answered(in.ID); ok {
		switch m.state {
		case welcoming:
			m.opened(now, out)
			return
		case closing:
			m.end(now, &End{Reason: Closed}, out)
			return
		}
	}
	if ok, _ := m.rot.update.answered(in.ID); ok {
		m.rotationConfirmed(now)
		return
	}
	m.drop(out, "acknowledgement of nothing pending")
}

// opened lets messages flow. It may be called again.
func (m *Machine) opened(now time.Time, out *Output) {
	if m.state >= open {
		return
	}
	m.state = open
	m.task = nil
	m.expires = time.Time{}
	m.beat = now.Add(HeartbeatInterval)
	m.startEpoch(now)
	out.Opened = true
	m.peerOnline(now, out)
}
