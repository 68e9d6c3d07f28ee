package control

import (
	"bytes"
	"slices"
	"time"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Members that leave, are removed, or come back with a new leaf.

// dropMember takes a member out of the group and the roster, and tells the
// others, before it is told itself.
func (mo *Moderator) dropMember(now time.Time, t *task, out *Output) error {
	if t.who == nil {
		if t.name.Prefix == mo.cfg.Local.Prefix {
			return ErrSelf
		}
		t.who = mo.memberOf(t.name.Prefix)
	}
	if t.who == nil || mo.byName[t.who.name.Key()] != t.who {
		return ErrNotMember
	}
	var commit []byte
	var from uint64
	if mo.mls != nil {
		var err error
		if from, commit, err = mo.commitRemove(now, t); err != nil {
			mo.blocked(t, err, out)
			return err
		}
	}
	t.stage, t.was = atUpdate, t.who.online
	before, gone := mo.participants(), t.who.participant()
	what := Expelled
	switch {
	case !t.who.welcomed:
		what = 0
	case t.who.departed:
		what = Left
	}
	mo.remove(now, t.who, what, out)
	mo.inform(now, pb.GroupUpdateOp_REMOVE, gone, before, from, commit, mo.onlineMembers(nil), out)
	return nil
}

func (mo *Moderator) commitRemove(now time.Time, t *task) (from uint64, commit []byte, err error) {
	leaf, ok := mo.leaves()[t.who.name.ID]
	if !ok {
		return 0, nil, ErrNotMember
	}
	if !t.force {
		if err := mo.replaceable(now, leaf, t.who); err != nil {
			return 0, nil, err
		}
	}
	from = mo.mls.Epoch()
	commit, _, err = mo.mls.Commit(Change{Remove: []uint32{leaf.Leaf}}, now)
	mo.tree = nil
	return from, commit, err
}

// blocked tells the application of a change that nobody but a member asked for
// and that is not made.
func (mo *Moderator) blocked(t *task, err error, out *Output) {
	if t.op != nil {
		return
	}
	change := MemberChange{Name: mo.cfg.Local, What: Blocked, Err: err}
	if t.who != nil {
		change.Name, change.Subject = t.who.name, t.who.subject
	}
	out.Members = append(out.Members, change)
}

// dismiss tells a removed member that it is out. One that left by itself or
// was not there is not waited for.
func (mo *Moderator) dismiss(now time.Time, t *task, out *Output) {
	t.stage = atLeave
	switch {
	case t.who.departed:
	case !t.was && t.op != nil:
		mo.tellToLeave(t.who, out)
	default:
		t.ask = mo.ask(now, leaveRequest(t.who.name), out)
	}
}

// tellAgain: a removed member did not hear of it, since it was not there.
func (mo *Moderator) tellAgain(now time.Time, m *member, out *Output) {
	if mo.left(m.name.Key()) != m || mo.task != nil && mo.task.who == m || now.Before(m.led.Add(mo.interval)) {
		return
	}
	m.led = now
	mo.tellToLeave(m, out)
}

func (mo *Moderator) onLeaveReply(m *member, in *Inbound, out *Output) {
	t := mo.task
	if t == nil || t.stage != atLeave || t.who != m {
		out.Dropped = "leave reply to nothing asked"
		return
	}
	if ok, _ := t.ask.answered(in.ID); !ok {
		out.Dropped = "leave reply to nothing asked"
		return
	}
	t.ask = nil
}

// onLeaveRequest: a member leaves. It is answered at once; its removal has to
// wait for its turn.
func (mo *Moderator) onLeaveRequest(now time.Time, m *member, in *Inbound, out *Output) {
	reply := FarewellAnswer(in.Type, m.name)
	reply.Urgent = true // before the news of it
	m.answers.answer(in, reply, out)
	again := m.departed
	m.departed = true
	t := mo.task
	about := t != nil && t.who == m
	if about {
		switch t.stage {
		case atJoin, atWelcome:
			t.ask, t.err = nil, ErrLeft
		case atLeave:
			t.ask = nil
		}
	}
	if mo.state == closing {
		mo.update.forget(m)
		if mo.update.over() {
			mo.end(&End{Reason: Closed}, out)
		}
		return
	}
	if mo.byName[m.name.Key()] != m || again {
		return
	}
	mo.setOffline(now, m, out)
	if !about || t.kind != inviting { // else finish takes it out
		mo.queue = append(mo.queue, &task{kind: removing, who: m})
	}
}

// onRejoinRequest: a member that missed too much, or whose token grows old,
// wants to be let in anew. One request per member waits.
func (mo *Moderator) onRejoinRequest(now time.Time, m *member, in *Inbound, out *Output) {
	kp := in.Command.GetRejoinRequest().GetKeyPackage()
	if mo.mls == nil || len(kp) == 0 || m.departed {
		out.Dropped = "rejoin request out of place"
		return
	}
	if who, ok := named(&pb.Participant{Name: in.Command.GetRejoinRequest().GetParticipant()}); ok && who.Key() != m.name.Key() {
		out.Dropped = "rejoin request for somebody else"
		return
	}
	m.missed = 0
	if bytes.Equal(kp, m.admitted) {
		// Asked again: a second commit would lock the member out of the first.
		mo.replyRejoin(m, in, out)
		return
	}
	if t := mo.task; t != nil && t.who == m && t.kind == inviting {
		out.Dropped = "rejoin request of one that was just welcomed"
		return
	}
	if now.Before(m.readmitted.Add(readmitPause)) {
		out.Dropped = "rejoin request too soon after the last; it will be repeated"
		return
	}
	i := slices.IndexFunc(mo.queue, func(t *task) bool { return t.kind == readmitting && t.who == m })
	if i >= 0 {
		mo.queue[i].rejoin = in
		return
	}
	mo.queue = append(mo.queue, &task{kind: readmitting, who: m, rejoin: in, stage: atUpdate})
}

// maxRejoinIDs bounds the request ids of one rejoin that are remembered.
const maxRejoinIDs = 16

const maxRelist = 3

// readmitPause is the least time between two readmissions of a member, each of
// which costs all others a commit.
const readmitPause = HeartbeatInterval / 2

func (mo *Moderator) replyRejoin(m *member, in *Inbound, out *Output) {
	m.answers.answer(in, m.welcome, out)
	if len(m.rejoins) == maxRejoinIDs {
		m.rejoins = m.rejoins[1:]
	}
	m.rejoins = append(m.rejoins, in.ID)
}

// readmit replaces the leaf of a member, in one commit. Its Welcome goes first.
func (mo *Moderator) readmit(now time.Time, t *task, out *Output) error {
	m := t.who
	if mo.byName[m.name.Key()] != m || m.departed {
		return ErrNotMember
	}
	leaf, ok := mo.leaves()[m.name.ID]
	if !ok {
		return ErrNotMember
	}
	if err := mo.replaceable(now, leaf, m); err != nil {
		mo.blocked(t, err, out)
		return err
	}
	kp := t.rejoin.Command.GetRejoinRequest().GetKeyPackage()
	from := mo.mls.Epoch()
	commit, welcome, err := mo.mls.Commit(Change{
		Remove: []uint32{leaf.Leaf}, Add: [][]byte{kp}, Subject: m.subject, Key: m.key,
		Check: func(renewed Member) error { return mo.readmittable(now, renewed, m) },
	}, now)
	mo.tree = nil
	if err != nil {
		mo.blocked(t, err, out)
		return err
	}
	m.admitted, m.rejoins, m.relist, m.readmitted = bytes.Clone(kp), nil, maxRelist, now
	m.welcome = Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REPLY,
		To:   m.name, Urgent: true,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_RejoinReply{
			RejoinReply: &pb.RejoinReplyPayload{CommitId: mo.changes + 1, MlsContent: welcome}}},
	}
	mo.replyRejoin(m, t.rejoin, out)
	who := m.participant()
	roster := mo.listWith(m)
	t.listAgain = mo.forgetful(m, from, &roster)
	tell := mo.onlineMembers(m)
	mo.inform(now, pb.GroupUpdateOp_REJOIN, who, roster, from, commit, append(tell, m), out)
	return nil
}

// forgetful changes the roster that is told to m, which is let in anew, so that m
// forgets what it knew of others; epoch is the present one. It reports whether
// there was something to change: then m is sent the true roster afterwards, see
// [Moderator.relist]. Nothing is to be changed for a member of ours, which
// recognises newcomers by their leaves.
//
// The real library keeps the receive state of a sender until it is told that the
// sender is offline or removed. If it missed that one was removed, it acknowledges
// what that one says when it is invited again, and drops it as old. On its own
// rejoin it clears the state of those who are listed as offline (upstream
// session_participant.rs, on_group_update_message). So those are who joined or
// left after the last change that m is known to have carried out.
func (mo *Moderator) forgetful(m *member, epoch uint64, roster *[]*pb.Participant) bool {
	if !mo.leaves()[m.name.ID].ChecksAge {
		return false
	}
	last := epoch - uint64(mo.changes-m.seen) // every change is a commit, hence an epoch
	changed := false
	for i, o := range mo.members {
		if o != m && o.since > last {
			(*roster)[i+1].Status = pb.ParticipantState_OFFLINE
			changed = true
		}
	}
	for _, o := range mo.gone {
		if o.name.Key() != m.name.Key() && len(*roster) < MaxMembers {
			gone := participant(o.name)
			gone.Status = pb.ParticipantState_OFFLINE
			*roster = append(*roster, gone)
			changed = true
		}
	}
	return changed
}

// relist tells m, if it came back and got a list that made it forget, who is in
// the group: the real library makes its list anew whenever it is told of its own
// rejoin.
func (mo *Moderator) relist(now time.Time, m *member, out *Output) {
	t := mo.task
	if t == nil || t.who != m || !t.listAgain {
		return
	}
	t.listAgain = false
	msg := mo.history[len(mo.history)-1].update
	u := msg.Command.GetGroupUpdate()
	msg.To = m.name
	msg.Command = &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_GroupUpdate{
		GroupUpdate: &pb.GroupUpdatePayload{
			Op: u.GetOp(), Participant: u.GetParticipant(), Participants: mo.listWith(m), Mls: u.GetMls(),
		}}}
	t.ask = mo.ask(now, msg, out)
}

// relisted: the member that came back knows who is in the group.
func (mo *Moderator) relisted(m *member, id MessageID) bool {
	t := mo.task
	if t == nil || t.kind != readmitting || t.who != m {
		return false
	}
	ok, _ := t.ask.answered(id)
	if ok {
		t.ask = nil
	}
	return ok
}

// rejoinAck: the member has taken its new Welcome.
func (mo *Moderator) rejoinAck(now time.Time, m *member, id MessageID, out *Output) bool {
	if !slices.Contains(m.rejoins, id) {
		return false
	}
	m.away = false
	mo.setOnline(now, m, out)
	return true
}
