package control

import (
	"maps"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// A participant follows the changes that the moderator makes, and asks to be let
// in anew when it missed one or its own token grows old.

// maxHeld bounds the commits held whose turn has not come.
const maxHeld = 16

// renewPause is the least time between two rejoins for the age of our token.
const renewPause = 5 * time.Minute

// onGroupUpdate: the roster changes, and with it the MLS group. Commits are
// applied in the order of their ids; each change is acknowledged when it is
// carried out, and again when it is repeated.
func (p *Participant) onGroupUpdate(now time.Time, in *Inbound, out *Output) {
	u := in.Command.GetGroupUpdate()
	switch {
	case p.state < subscribing:
		out.Dropped = "group update before the welcome"
	case p.state > open && p.state != draining:
		out.Dropped = "group update while the session is not open"
	case u == nil || len(u.GetParticipants()) > MaxMembers:
		out.Dropped = "group update without a usable roster"
	case p.mls == nil:
		p.carryOut(now, in, out)
	default:
		p.moderator.missed = 0
		p.onCommit(now, in, out)
	}
}

func (p *Participant) onCommit(now time.Time, in *Inbound, out *Output) {
	u := in.Command.GetGroupUpdate()
	id := u.GetMls().GetCommitId()
	switch {
	case id == 0:
		out.Dropped = "group update without commit"
	case id <= p.changes:
		if id == p.changes && p.about(u) { // our own rejoin, of which the Welcome came first
			p.reconcile(now, u.GetParticipants(), name.Key{}, out)
			p.listedOnline(now, out)
		}
		p.moderator.answers.answer(in, groupAck(p.moderator.name), out)
	case id > p.changes+1:
		p.hold(now, id, in, out)
	default:
		p.carryOut(now, in, out)
		p.carryOutHeld(now, out)
	}
}

// hold keeps a commit for its turn, unacknowledged.
func (p *Participant) hold(now time.Time, id uint32, in *Inbound, out *Output) {
	out.Dropped = "group update ahead of one that is missing"
	if id-p.changes <= maxHeld {
		p.held[id] = in
	}
	p.missing(now)
}

func (p *Participant) carryOutHeld(now time.Time, out *Output) {
	for {
		in := p.held[p.changes+1]
		if in == nil || p.state == closing || p.state == ended {
			return
		}
		delete(p.held, p.changes+1)
		before := p.changes
		p.carryOut(now, in, out)
		if p.changes == before {
			return
		}
	}
}

// about reports whether u is about us.
func (p *Participant) about(u *pb.GroupUpdatePayload) bool {
	who, ok := named(u.GetParticipant())
	return ok && who.Key() == p.cfg.Local.Key()
}

// carryOut makes one change.
func (p *Participant) carryOut(now time.Time, in *Inbound, out *Output) {
	u := in.Command.GetGroupUpdate()
	if p.about(u) {
		switch u.GetOp() {
		case pb.GroupUpdateOp_REMOVE:
			p.moderator.answers.answer(in, groupAck(p.moderator.name), out)
			p.wasRemoved(now, out)
			return
		case pb.GroupUpdateOp_REJOIN:
			if p.mls != nil {
				out.Dropped = "group update of our own rejoin before its welcome"
				p.askAgain(now)
				return
			}
		}
	}
	if p.mls != nil {
		if err := p.mls.Process(u.GetMls().GetMlsContent(), now); err != nil {
			out.Dropped = "commit refused: " + err.Error()
			p.missing(now)
			return
		}
		p.changes++
		p.tree = nil
		p.enteredEpoch(now)
		p.backIn(out)
		out.Rotated = true
		if err := p.checkGroup(); err != nil {
			p.moderator.answers.answer(in, groupAck(p.moderator.name), out)
			p.quit(&End{Reason: CryptoFailed, Cause: err}, out)
			return
		}
	}
	p.applyRoster(now, u, out)
	p.moderator.answers.answer(in, groupAck(p.moderator.name), out)
	p.seen(now, p.moderator, p.Epoch(), true, out)
}

func (p *Participant) applyRoster(now time.Time, u *pb.GroupUpdatePayload, out *Output) {
	who, _ := named(u.GetParticipant())
	if u.GetOp() == pb.GroupUpdateOp_REMOVE {
		p.reconcile(now, u.GetParticipants(), who.Key(), out)
		return
	}
	p.reconcile(now, u.GetParticipants(), name.Key{}, out)
	if m := p.byName[who.Key()]; m != nil && m != p.moderator {
		m.away = false
		p.setOnline(now, m, out)
	}
}

// listedOnline believes the moderator's list of who is there.
func (p *Participant) listedOnline(now time.Time, out *Output) {
	for _, m := range p.members {
		if m.listed && !m.away {
			p.setOnline(now, m, out)
		}
	}
}

// reconcile makes the roster what the moderator says it is, except for one. In
// an MLS session a name counts only with a leaf of its own, and a member without
// one is gone.
func (p *Participant) reconcile(now time.Time, list []*pb.Participant, except name.Key, out *Output) {
	var leaves map[name.ID]Member
	if p.mls != nil {
		leaves = p.leaves()
	}
	wanted := make(map[name.Key]bool, len(list))
	for _, entry := range list {
		n, ok := named(entry)
		leaf, in := leaves[n.ID]
		if !ok || n.Key() == except || n.Key() == p.cfg.Local.Key() || leaves != nil && (!in || leaf.Own) {
			continue
		}
		wanted[n.Key()] = true
		p.enlist(now, n, entry, leaf, out)
	}
	for _, m := range slices.Clone(p.members) {
		if m != p.moderator && !wanted[m.name.Key()] {
			p.remove(now, m, Left, out)
		}
	}
}

// enlist adds or updates one member.
func (p *Participant) enlist(now time.Time, n name.Name, entry *pb.Participant, leaf Member, out *Output) {
	m := p.byName[n.Key()]
	if m == nil {
		m = p.newMember(n)
		if old := p.left(n.Key()); old != nil {
			m.answers = old.answers // what it sent before stays answered
		}
		m.subject, m.key = leaf.Subject, leaf.Key
		p.add(m)
		out.Members = append(out.Members, MemberChange{Name: n, Subject: m.subject, What: Joined})
	}
	if leaf.Subject != "" {
		m.subject, m.key = leaf.Subject, leaf.Key
	}
	m.token = leaf.Token
	m.settings(entry)
	m.listed = entry.GetStatus() == pb.ParticipantState_ONLINE
}

// wasRemoved stops everything but the wait for the moderator's last word, which
// comes when all others have acknowledged the removal, or failed to.
func (p *Participant) wasRemoved(now time.Time, out *Output) {
	p.removed, p.state, p.drained = true, closing, time.Time{}
	p.rejoin, p.status, p.behind = nil, nil, time.Time{}
	p.expires = now.Add(min(p.patience()+HeartbeatInterval, MaxDrain))
	p.finishOp(ErrEnded, out)
	p.stopData(out)
}

// enteredEpoch follows every change of the group.
func (p *Participant) enteredEpoch(now time.Time) {
	p.behind = time.Time{}
	maps.DeleteFunc(p.held, func(id uint32, _ *Inbound) bool { return id <= p.changes })
	if p.rejoin.active() {
		p.rejoin, p.caughtUp = nil, p.rejoin
	}
	if p.mls == nil {
		return
	}
	p.startEpoch(now)
	p.issued = p.leaves()[p.cfg.Local.ID].IssuedAt
}

// backIn ends a return that needed more than an announcement.
func (p *Participant) backIn(out *Output) {
	if p.status == nil {
		p.finishOp(nil, out)
	}
}

// missing notes that there is a commit we do not have.
func (p *Participant) missing(now time.Time) {
	if p.behind.IsZero() {
		p.behind = now
	}
}

// heartbeat of a member. Only the moderator knows of an epoch before us; what it
// announces may merely have overtaken its commit.
func (p *Participant) heartbeat(now time.Time, m *member, in *Inbound, out *Output) {
	epoch := p.onHeartbeat(now, m, in, out)
	if p.mls != nil && m == p.moderator && epoch != NoEpoch && epoch > p.mls.Epoch() {
		p.missing(now)
	}
}

// rejoinDue is when to ask to be let in anew: a heartbeat after we learned that
// we miss a commit, when the token in our leaf grows old, or when we are deaf to
// a member.
func (p *Participant) rejoinDue() time.Time {
	if p.mls == nil || p.rejoin.active() || p.state != open || p.status != nil {
		return time.Time{}
	}
	var next earliest
	if !p.behind.IsZero() {
		next.add(p.behind.Add(HeartbeatInterval))
	}
	if p.cfg.RotateAfter > 0 && !p.issued.IsZero() && p.moderator.online {
		next.add(p.renewalDue())
	}
	if p.moderator.online {
		next.add(p.mendDue())
	}
	return next.at
}

// renewalDue is when our leaf is to be renewed for its age.
func (p *Participant) renewalDue() time.Time {
	age, pause := p.cfg.RotateAfter, renewPause
	if short, ok := p.leaves()[p.cfg.Local.ID].short(age); ok && p.watched {
		age, pause = short, pauseBefore(short)
	}
	at := p.issued.Add(age)
	if again := p.asked.Add(pause); at.Before(again) {
		return again
	}
	return at
}

func (p *Participant) onRejoinTimer(now time.Time, out *Output) {
	if p.repeat(now, p.rejoin, out) {
		p.rejoin, p.caughtUp = nil, p.rejoin // a busy moderator may still answer
		p.finishOp(ErrRejoin, out)
		p.retryLater(now)
	}
	if due(now, p.rejoinDue()) {
		p.askRejoin(now, out)
	}
}

// retryLater: a commit that we still miss is asked for again in a while.
func (p *Participant) retryLater(now time.Time) {
	if !p.behind.IsZero() {
		p.behind = now
	}
}

func (p *Participant) askRejoin(now time.Time, out *Output) {
	p.asked, p.mended = now, now
	kp, err := p.mls.KeyPackage(now)
	if err != nil {
		out.Dropped = "rejoin impossible: " + err.Error()
		p.finishOp(err, out)
		p.retryLater(now)
		return
	}
	p.rejoin = p.ask(now, Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST,
		To:   p.moderator.name,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_RejoinRequest{
			RejoinRequest: &pb.RejoinRequestPayload{Participant: wire.FromName(p.cfg.Local), KeyPackage: kp}}},
	}, out)
}

// askAgain: the moderator has let us in anew, though a commit that came later
// than expected had made us stop asking; without its Welcome we are out.
func (p *Participant) askAgain(now time.Time) {
	if !p.rejoin.active() && p.caughtUp.active() {
		p.rejoin, p.caughtUp = p.caughtUp, nil
		p.rejoin.attempts, p.rejoin.due = 0, now.Add(p.interval)
	}
	p.missing(now)
}

// onGroupNack: we came back into an epoch that is over.
func (p *Participant) onGroupNack(now time.Time, m *member, in *Inbound, out *Output) {
	if ok, _ := p.statusIDs(in.ID); !ok || p.mls == nil {
		out.Dropped = "refusal of nothing pending"
		return
	}
	m.missed = 0
	p.status = nil
	if !p.rejoin.active() {
		p.askRejoin(now, out)
	}
}

func (p *Participant) statusIDs(id MessageID) (ok, newest bool) {
	if p.status == nil {
		return false, false
	}
	return p.status.answered(id)
}

// onRejoinReply lets us in anew.
func (p *Participant) onRejoinReply(now time.Time, in *Inbound, out *Output) {
	asked, _ := p.rejoin.answered(in.ID)
	late, _ := p.caughtUp.answered(in.ID)
	if !asked && !late || p.state != open && p.state != draining {
		out.Dropped = "rejoin reply to nothing asked"
		return
	}
	reply := in.Command.GetRejoinReply()
	if reply.GetCommitId() <= p.changes {
		out.Dropped = "rejoin reply older than where we are"
		return
	}
	if err := p.joinGroup(now, reply.GetMlsContent()); err != nil {
		out.Dropped = "rejoin refused: " + err.Error()
		return
	}
	if err := p.checkGroup(); err != nil {
		p.quit(&End{Reason: CryptoFailed, Cause: err}, out)
		return
	}
	skipped := reply.GetCommitId() - p.changes - 1
	p.changes = reply.GetCommitId()
	p.enteredEpoch(now)
	p.dropGhosts(now, skipped, out)
	out.Rotated = true
	ack := groupAck(p.moderator.name)
	ack.BareSource = true
	p.moderator.answers.answer(in, ack, out)
	p.backIn(out)
	p.seen(now, p.moderator, p.Epoch(), true, out)
	p.carryOutHeld(now, out)
}

// dropGhosts takes members off the roster that were removed while we missed
// changes; upstream goes on waiting for them. One that was removed and invited
// again meanwhile has a new token in its leaf, and a new stream. (One that
// merely renewed its token meanwhile is taken for new too: what it sends until
// the roster comes may be lost.)
func (p *Participant) dropGhosts(now time.Time, skipped uint32, out *Output) {
	leaves := p.leaves()
	for _, m := range slices.Clone(p.members) {
		leaf, ok := leaves[m.name.ID]
		again := skipped >= 2 && leaf.Token != m.token
		if m != p.moderator && (!ok || again) {
			p.remove(now, m, Left, out)
		}
	}
}
