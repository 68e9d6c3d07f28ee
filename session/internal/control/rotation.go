package control

import (
	"bytes"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Key rotation: the initiator commits a fresh path now and then, as a
// GROUP_UPDATE(REJOIN) of itself, which both generations of the real library
// apply. A responder that missed a commit is given the stored ones again, or
// rejoins.

// keepCommits is how many past commits are kept for a peer that missed them.
const keepCommits = 8

type rotation struct {
	commitID uint32 // of the last commit made or applied
	since    time.Time
	update   *request
	epoch    uint64 // the epoch that update leads to
	stored   []storedCommit
	behind   int // heartbeats in a row that were ahead of us
	rejoin   *request
	// caughtUp is a rejoin request that a late commit made needless; its
	// answer may still come, and then counts.
	caughtUp *request
	admitted []byte    // key package of the last rejoin, on the initiator
	issued   time.Time // of the token in the responder's leaf
	own      Member    // our leaf
	asked    time.Time // when it last asked to be let in anew
	welcome  Outbound  // and the answer it got
}

type storedCommit struct {
	from   uint64 // epoch it applies to
	id     uint32
	commit []byte
}

func (m *Machine) startEpoch(now time.Time) {
	m.rot.since, m.peer.received = now, 0
	m.startKeys()
	if m.cfg.MLS != nil {
		m.rot.own = m.ownLeaf()
	}
}

func (m *Machine) ownLeaf() Member {
	for _, leaf := range m.cfg.MLS.Members() {
		if leaf.Own {
			return leaf
		}
	}
	return Member{}
}

func (m *Machine) rotates() bool {
	return m.cfg.Role == Initiator && m.cfg.MLS != nil && m.state == open && m.peer.online &&
		m.linkDown.IsZero() && !m.rot.update.active()
}

func (m *Machine) rotationDue() time.Time {
	var next earliest
	if m.rotates() || m.mayRejoin() {
		next.add(m.mendDue())
	}
	if m.rotates() {
		next.add(m.ageDue())
	}
	next.add(m.renewalDue())
	return next.at
}

// ageDue is when an initiator renews its leaf for its age, zero: never.
func (m *Machine) ageDue() time.Time {
	if m.cfg.RotateAfter <= 0 {
		return time.Time{}
	}
	return m.rot.own.renewalDue(m.rot.since, m.cfg.RotateAfter)
}

// renewSlack is how long after an initiator's rotation a responder renews its
// own leaf, so that the two do not cross.
const renewSlack = 2 * time.Minute

// renewalDue is when a responder must have a new leaf: SLIM 3.4 takes no data
// from a leaf whose token is older than an hour, and only a rejoin renews it.
func (m *Machine) renewalDue() time.Time {
	if !m.mayRejoin() || !m.peer.online || m.cfg.RotateAfter == 0 || m.rot.issued.IsZero() {
		return time.Time{}
	}
	age, pause := m.cfg.RotateAfter+renewSlack, renewPause
	if short, ok := m.rot.own.short(age); ok {
		age, pause = short, pauseBefore(short)
	}
	at := m.rot.issued.Add(age)
	if again := m.rot.asked.Add(pause); at.Before(again) {
		return again
	}
	return at
}

func (m *Machine) maybeRotate(now time.Time, out *Output) {
	if !m.rotates() {
		return
	}
	many := m.cfg.RotateMessages > 0 && max(m.sent, m.peer.received) >= m.cfg.RotateMessages
	if many || due(now, m.ageDue()) || due(now, m.mendDue()) {
		m.rotate(now, out)
	}
}

func (m *Machine) rotate(now time.Time, out *Output) {
	from := m.cfg.MLS.Epoch()
	commit, _, err := m.cfg.MLS.Commit(Change{Refresh: true}, now)
	if m.deaf {
		m.mended = now
	}
	m.startEpoch(now) // also after a failure: do not try at every step
	if err != nil {
		m.drop(out, "key rotation failed: "+err.Error())
		return
	}
	m.rot.stored = append(m.rot.stored, storedCommit{from: from, id: m.rot.commitID + 1, commit: commit})
	if len(m.rot.stored) > keepCommits {
		m.rot.stored = slices.Delete(m.rot.stored, 0, 1)
	}
	m.announce(now, commit, false, out)
	out.Rotated = true
}

// announce sends a commit that we have applied.
func (m *Machine) announce(now time.Time, commit []byte, ofPeer bool, out *Output) {
	m.rot.commitID++
	m.rot.epoch = m.cfg.MLS.Epoch()
	m.rot.update = m.ask(now, m.groupUpdate(m.rot.commitID, commit, ofPeer), out)
	m.forgetAt, m.forgetTo = now.Add(m.patience()), m.rot.epoch
}

func (m *Machine) groupUpdate(id uint32, commit []byte, ofPeer bool) Outbound {
	who := m.cfg.Local
	if ofPeer {
		who = m.peer.name
	}
	return Outbound{
		Type:   pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_UPDATE,
		To:     m.peer.name,
		Urgent: true,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_GroupUpdate{
			GroupUpdate: &pb.GroupUpdatePayload{
				Op:           pb.GroupUpdateOp_REJOIN,
				Participant:  participant(who),
				Participants: []*pb.Participant{participant(m.cfg.Local), participant(m.peer.name)},
				Mls:          &pb.MlsPayload{CommitId: id, MlsContent: commit},
			}}},
	}
}

// onRotationTimer repeats an unacknowledged GROUP_UPDATE and REJOIN_REQUEST.
func (m *Machine) onRotationTimer(now time.Time, out *Output) {
	if m.repeat(now, m.rot.update, out) {
		// The commit stays stored: a heartbeat with the old epoch brings it back.
		m.rot.update = nil
		m.peerOffline(now, out)
	}
	if m.state != ended && m.repeat(now, m.rot.rejoin, out) {
		m.rot.rejoin, m.rot.caughtUp = nil, m.rot.rejoin // its answer may still come
	}
	if m.mayRejoin() && due(now, m.mendDue()) || due(now, m.renewalDue()) {
		m.askRejoin(now, out)
	}
}

func (m *Machine) rotationConfirmed(now time.Time) {
	m.rot.update = nil
	m.forgetAt = now.Add(m.patience())
}

// inEpoch notes that the peer was seen in an epoch: that is as good as the
// acknowledgement of the commit that leads there. (A real peer never
// acknowledges a commit twice.)
func (m *Machine) inEpoch(now time.Time, epoch uint64) {
	if m.rot.update.active() && epoch >= m.rot.epoch {
		m.rotationConfirmed(now)
	}
}

// resendCommits gives a peer that is behind the commits it missed, in order.
func (m *Machine) resendCommits(now time.Time, epoch uint64, out *Output) {
	if m.rot.update.active() {
		return // on its way already
	}
	i := slices.IndexFunc(m.rot.stored, func(c storedCommit) bool { return c.from == epoch })
	if i < 0 {
		m.drop(out, "the peer is in an epoch we cannot lead it out of; it must rejoin")
		return
	}
	for ; i < len(m.rot.stored)-1; i++ {
		msg := m.groupUpdate(m.rot.stored[i].id, m.rot.stored[i].commit, false)
		msg.ID = m.draw()
		out.Send = append(out.Send, msg)
	}
	last := m.rot.stored[i]
	m.rot.epoch = m.cfg.MLS.Epoch()
	m.rot.update = m.ask(now, m.groupUpdate(last.id, last.commit, false), out)
}

// onGroupUpdate applies a commit of the moderator. Commits are applied in the
// order of their ids, and acknowledged once applied.
func (m *Machine) onGroupUpdate(now time.Time, in *Inbound, out *Output) {
	update := in.Command.GetGroupUpdate()
	if m.cfg.Role != Responder || m.state < open || m.state == closing || m.cfg.MLS == nil || update.GetMls() == nil {
		m.drop(out, "group update out of place")
		return
	}
	m.heard()
	id := update.GetMls().GetCommitId()
	switch {
	case id <= m.rot.commitID: // applied before, our acknowledgement was lost
		m.answers.answer(in, groupAck(m.peer.name), out)
		return
	case id > m.rot.commitID+1:
		m.drop(out, "group update ahead of one that is missing")
		return
	}
	if who, ok := wire.ToName(update.GetParticipant().GetName()); ok && who.Key() == m.cfg.Local.Key() {
		// Our own rejoin: the welcome brought us there, or has yet to.
		m.drop(out, "group update of our own rejoin before its welcome")
		return
	}
	if err := m.cfg.MLS.Process(update.GetMls().GetMlsContent(), now); err != nil {
		m.drop(out, "commit refused: "+err.Error())
		m.fellBehind(now, out) // it will not be taken the next time either
		return
	}
	if err := m.checkMembers(); err != nil {
		m.answers.answer(in, groupAck(m.peer.name), out)
		m.end(now, &End{Reason: CryptoFailed, Cause: err}, out)
		return
	}
	m.rot.commitID = id
	m.enteredEpoch(now)
	out.Rotated = true
	m.answers.answer(in, groupAck(m.peer.name), out)
	m.alive(now, out)
}

func (m *Machine) enteredEpoch(now time.Time) {
	m.rot.behind = 0
	m.rot.rejoin, m.rot.caughtUp = nil, m.rot.rejoin
	m.startEpoch(now)
	m.forgetAt, m.forgetTo = now.Add(m.patience()), m.cfg.MLS.Epoch()
}

// fellBehind counts heartbeats of a higher epoch. The first may merely have
// overtaken its commit; at the second we ask to be let in anew.
func (m *Machine) fellBehind(now time.Time, out *Output) {
	m.rot.behind++
	if m.rot.behind >= 2 && m.mayRejoin() {
		m.askRejoin(now, out)
	}
}

// mayRejoin reports whether we can ask to be let in anew.
func (m *Machine) mayRejoin() bool {
	return m.cfg.Role == Responder && m.cfg.MLS != nil && m.state == open && !m.rot.rejoin.active()
}

func (m *Machine) askRejoin(now time.Time, out *Output) {
	m.mended, m.rot.asked = now, now
	kp, err := m.cfg.MLS.KeyPackage(now)
	if err != nil {
		m.drop(out, "rejoin impossible: "+err.Error())
		return
	}
	m.rot.rejoin = m.ask(now, Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST,
		To:   m.peer.name,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_RejoinRequest{
			RejoinRequest: &pb.RejoinRequestPayload{Participant: wire.FromName(m.cfg.Local), KeyPackage: kp}}},
	}, out)
}

// onRejoinRequest lets the peer in anew: its old leaf out and the new one in,
// in one commit, the Welcome first.
func (m *Machine) onRejoinRequest(now time.Time, in *Inbound, out *Output) {
	if m.cfg.Role != Initiator || m.cfg.MLS == nil || m.state != open {
		m.drop(out, "rejoin request out of place")
		return
	}
	m.heard()
	kp := in.Command.GetRejoinRequest().GetKeyPackage()
	if len(kp) > 0 && bytes.Equal(kp, m.rot.admitted) {
		// Asked again: a second commit would lock the peer out of the first.
		m.answers.answer(in, m.rot.welcome, out)
		return
	}
	change := Change{Add: [][]byte{kp}, Subject: m.peer.subject, Key: m.peer.key}
	for _, mem := range m.cfg.MLS.Members() {
		if mem.Own { // no rotation may have renewed it while the peer was not there
			change.Refresh = now.Sub(mem.IssuedAt) > TokenRenewal
			continue
		}
		change.Remove = append(change.Remove, mem.Leaf)
	}
	commit, welcome, err := m.cfg.MLS.Commit(change, now)
	if err != nil {
		m.drop(out, "rejoin refused: "+err.Error())
		return
	}
	m.startEpoch(now)
	m.rot.stored = nil // nobody is left in the old epochs
	m.rot.admitted = bytes.Clone(kp)
	m.rot.welcome = Outbound{
		Type:   pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REPLY,
		To:     m.peer.name,
		Urgent: true,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_RejoinReply{
			RejoinReply: &pb.RejoinReplyPayload{CommitId: m.rot.commitID + 1, MlsContent: welcome}}},
	}
	m.answers.answer(in, m.rot.welcome, out)
	m.announce(now, commit, true, out)
	out.Rotated = true
}

func (m *Machine) onRejoinReply(now time.Time, in *Inbound, out *Output) {
	asked, _ := m.rot.rejoin.answered(in.ID)
	late, _ := m.rot.caughtUp.answered(in.ID)
	if !asked && !late || m.cfg.Role != Responder {
		m.drop(out, "rejoin reply to nothing asked")
		return
	}
	reply := in.Command.GetRejoinReply()
	if reply.GetCommitId() <= m.rot.commitID {
		m.drop(out, "rejoin reply older than where we are")
		return
	}
	if err := m.enter(now, reply.GetMlsContent()); err != nil {
		m.drop(out, "rejoin refused: "+err.Error())
		return
	}
	m.rot.commitID = reply.GetCommitId()
	m.enteredEpoch(now)
	ack := groupAck(m.peer.name)
	ack.BareSource = true
	m.answers.answer(in, ack, out)
	out.Rotated = true
	m.alive(now, out)
}
