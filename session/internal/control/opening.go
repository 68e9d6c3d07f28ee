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
	m.peer, m.subj, m.key = in.From, in.Subject, in.Key
	if !m.peer.HasStrings() {
		m.peer.Components = m.cfg.Peer.Components
	}
	out.PeerFound = &m.peer
	m.state = joining
	m.task = m.ask(now, m.joinRequest(), out)
}

func (m *Machine) joinRequest() Outbound {
	join := &pb.JoinRequestPayload{}
	if m.cfg.Reliable {
		join.TimerSettings = &pb.TimerSettings{
			Timeout:    uint32(m.cfg.Interval / time.Millisecond),
			MaxRetries: uint32(m.cfg.MaxRetries),
		}
	}
	if m.cfg.MLS != nil {
		join.MlsSettings = &pb.MlsSettings{HeaderIntegrityValidationPercent: 100}
	}
	return Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REQUEST,
		To:   m.peer,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_JoinRequest{
			JoinRequest: join}},
		Metadata: m.cfg.Metadata,
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
	m.subj, m.key = in.Subject, in.Key
	if m.joinMsg == nil {
		reply := &pb.JoinReplyPayload{Participant: participant(m.cfg.Local)}
		if m.cfg.MLS != nil {
			kp, err := m.cfg.MLS.KeyPackage(now)
			if err != nil {
				m.end(now, &End{Reason: CryptoFailed, Cause: err}, out)
				return
			}
			reply.KeyPackage = kp
		}
		m.joinMsg = &Outbound{
			Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REPLY,
			To:   m.peer,
			Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_JoinReply{
				JoinReply: reply}},
		}
	}
	m.answer(in, *m.joinMsg, out)
}

// answer sends a reply with the id of the request and remembers it.
func (m *Machine) answer(in *Inbound, reply Outbound, out *Output) {
	reply.ID = in.ID
	m.answers.put(in.Type, in.ID, &reply)
	out.Send = append(out.Send, reply)
}

func participant(n name.Name) *pb.Participant {
	return &pb.Participant{
		Name:     wire.FromName(n),
		Settings: &pb.ParticipantSettings{SendsData: true, ReceivesData: true},
	}
}

// onJoinReply: a real peer makes a new key package for every join request, so
// the reply to the newest request is wanted; an older one is kept for the case
// that the peer is slower than our interval.
func (m *Machine) onJoinReply(now time.Time, in *Inbound, out *Output) {
	ok, newest := m.task.answered(in.ID)
	if m.state != joining || !ok {
		m.drop(out, "join reply to nothing asked")
		return
	}
	if p := in.Command.GetJoinReply().GetParticipant().GetName(); p != nil {
		if n, ok := wire.ToName(p); !ok || n.Key() != m.peer.Key() {
			m.drop(out, "join reply names another participant")
			return
		}
	}
	if !newest {
		m.fallback = in
		return
	}
	m.joinReplied(now, in, out)
}

func (m *Machine) joinReplied(now time.Time, in *Inbound, out *Output) {
	m.fallback = nil
	welcome := &pb.GroupWelcomePayload{
		Participants: []*pb.Participant{participant(m.cfg.Local), participant(m.peer)},
	}
	if m.cfg.MLS != nil {
		w, err := m.admit(now, in.Command.GetJoinReply().GetKeyPackage())
		if later := (*NotYetError)(nil); errors.As(err, &later) {
			m.fallback, m.waited, m.task.due = in, true, later.At
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
		To:   m.peer,
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
	_, welcome, err := m.cfg.MLS.Commit(Change{Add: [][]byte{keyPackage}, Subject: m.subj, Key: m.key}, now)
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
	m.answer(in, groupAck(m.peer), out)
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
	return m.checkMembers()
}

// checkMembers holds the group of a 1:1 session to its two members.
func (m *Machine) checkMembers() error {
	members := m.cfg.MLS.Members()
	if len(members) != 2 {
		return errors.New("group of a 1:1 session has not two members")
	}
	for _, mem := range members {
		if !mem.Own && (mem.Subject != m.subj || !bytes.Equal(mem.Key, m.key)) {
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
