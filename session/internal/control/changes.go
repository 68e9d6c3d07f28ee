package control

import (
	"maps"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Telling members of a change of the group, leading those who missed some, key
// rotation, and what old tokens forbid.

// keepChanges is how many past changes are kept for members that missed them.
const keepChanges = 8

// change is one past change of the group.
type change struct {
	id     uint32
	from   uint64 // epoch it applies to
	update Outbound
	ids    []MessageID // under which members got it again
}

// inform tells all members of a change that was made. To must acknowledge.
//
// A member that sees our heartbeat with the new epoch before the commit would
// ask for a rejoin, so for a while we send none; only for a while, since else
// we would be taken for gone.
func (mo *Moderator) inform(now time.Time, op pb.GroupUpdateOp, who *pb.Participant, roster []*pb.Participant, from uint64, commit []byte, to []*member, out *Output) {
	mo.changes++
	payload := &pb.GroupUpdatePayload{Op: op, Participant: who, Participants: roster}
	if mo.mls != nil {
		payload.Mls = &pb.MlsPayload{CommitId: mo.changes, MlsContent: commit}
		mo.startEpoch(now)
		mo.quiet = now.Add(2 * HeartbeatInterval)
		out.Rotated = true
	}
	update := Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_UPDATE, Urgent: true,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_GroupUpdate{GroupUpdate: payload}},
	}
	if len(mo.history) == keepChanges {
		mo.history = slices.Delete(mo.history, 0, 1)
	}
	mo.history = append(mo.history, change{id: mo.changes, from: from, update: update})
	others := len(mo.members)
	if op == pb.GroupUpdateOp_ADD {
		others-- // it gets a welcome
	}
	if others == 0 {
		return
	}
	mo.update = mo.cast(now, update, to, out)
	if mo.mls != nil {
		mo.update.epoch = mo.mls.Epoch()
	}
}

// changeAck: m has carried out a change, the last or an earlier one.
func (mo *Moderator) changeAck(now time.Time, m *member, id MessageID, out *Output) bool {
	if mo.update.answer(m, id) {
		m.relist = 0
		mo.saw(m, mo.changes)
		mo.seen(now, m, mo.Epoch(), true, out)
		mo.relist(now, m, out)
		return true
	}
	for _, c := range mo.history {
		if slices.Contains(c.ids, id) {
			mo.saw(m, c.id)
			if c.id == mo.changes {
				m.relist = 0
				mo.seen(now, m, mo.Epoch(), true, out)
				mo.relist(now, m, out)
			}
			return true
		}
	}
	return false
}

// saw notes that m has carried out a change. Without MLS there is no epoch that
// would tell of earlier ones it missed: only the next in turn counts, or the
// oldest that we still have.
func (mo *Moderator) saw(m *member, id uint32) {
	if mo.mls == nil && id > m.seen+1 && id > mo.history[0].id {
		return
	}
	m.seen = max(m.seen, id)
}

// inEpoch notes that m was seen in an epoch: that is as good as the
// acknowledgement of what leads there. (A real member never acknowledges a
// commit twice.)
func (mo *Moderator) inEpoch(now time.Time, m *member, epoch uint64, out *Output) {
	if t := mo.task; t != nil && t.stage == atWelcome && t.who == m && epoch == mo.mls.Epoch() {
		mo.welcomed(now, t, out)
	}
	if mo.update != nil && mo.update.epoch > 0 && epoch == mo.update.epoch && m.relist == 0 {
		mo.update.forget(m)
		m.seen = mo.changes
	}
}

// catchUp leads a member that is behind through the changes it missed, in
// order, at most once per interval.
func (mo *Moderator) catchUp(now time.Time, m *member, epoch uint64, out *Output) {
	upToDate := mo.mls != nil && epoch == mo.mls.Epoch() || mo.mls == nil && m.seen == mo.changes
	switch {
	case upToDate && m.relist == 0 || len(mo.history) == 0:
		return
	case mo.update.waitsFor(m) || mo.task != nil && mo.task.who == m || now.Before(m.led.Add(mo.interval)):
		return // on its way already
	}
	i := slices.IndexFunc(mo.history, func(c change) bool {
		if upToDate {
			return c.id == mo.changes
		}
		return mo.mls != nil && c.from == epoch || mo.mls == nil && c.id > m.seen
	})
	if i < 0 {
		out.Dropped = "the member is in an epoch we cannot lead it out of; it must rejoin"
		return
	}
	m.led, m.relist = now, max(m.relist-1, 0)
	for ; i < len(mo.history); i++ {
		c := &mo.history[i]
		msg := c.update
		msg.To, msg.ID = m.name, mo.draw()
		if len(c.ids) == maxRequestIDs {
			c.ids = c.ids[1:]
		}
		c.ids = append(c.ids, msg.ID)
		out.Send = append(out.Send, msg)
	}
}

// mendDue is when the deaf get new keys. It takes hundreds of messages to become
// deaf, so that the pause may be short: who waits for its messages gives up soon.
func (mo *Moderator) mendDue() time.Time {
	if !mo.deaf {
		return time.Time{}
	}
	return mo.mended.Add(mo.interval)
}

// rotationDue is when our leaf is to be renewed, by age or for the deaf.
func (mo *Moderator) rotationDue() time.Time {
	if mo.mls == nil || mo.state != open || len(mo.members) == 0 || mo.task != nil {
		return time.Time{}
	}
	var next earliest
	next.add(mo.mendDue())
	next.add(mo.renewalDue())
	return next.at
}

// renewalDue is when our leaf is to be renewed for its age, zero: never.
func (mo *Moderator) renewalDue() time.Time {
	if mo.cfg.RotateAfter <= 0 {
		return time.Time{}
	}
	own := mo.leaves()[mo.cfg.Local.ID]
	if !mo.watched {
		own = Member{}
	}
	return own.renewalDue(mo.rotated, mo.cfg.RotateAfter)
}

func (mo *Moderator) rotates(now time.Time) bool {
	if mo.mls == nil || mo.state != open || len(mo.members) == 0 {
		return false
	}
	many := mo.cfg.RotateMessages > 0 && mo.busiest() >= mo.cfg.RotateMessages
	return many || due(now, mo.renewalDue()) || due(now, mo.mendDue())
}

// rotate renews our leaf and with it the keys of the group, as a
// GROUP_UPDATE(REJOIN) of ourselves, which both generations of the real library
// apply.
func (mo *Moderator) rotate(now time.Time, out *Output) error {
	mo.rotated = now // also after a failure: do not try at every step
	if mo.deaf {
		mo.mended = now
	}
	from := mo.mls.Epoch()
	own := mo.leaves()[mo.cfg.Local.ID]
	err := mo.replaceable(now, own, nil)
	var commit []byte
	if err == nil {
		commit, _, err = mo.mls.Commit(Change{Refresh: true}, now)
		mo.tree = nil
	}
	if err != nil {
		mo.startEpoch(now)
		out.Members = append(out.Members, MemberChange{Name: mo.cfg.Local, What: Blocked, Err: err})
		return err
	}
	mo.inform(now, pb.GroupUpdateOp_REJOIN, participant(mo.cfg.Local), mo.participants(), from, commit, mo.onlineMembers(nil), out)
	return nil
}

// staleness returns the error about the first of these leaves that members that
// check refuse.
func (mo *Moderator) staleness(now time.Time, leaves map[name.ID]Member, ids ...name.ID) error {
	for _, id := range ids {
		leaf, ok := leaves[id]
		if !ok || !leaf.stale(now) {
			continue
		}
		who := mo.cfg.Local
		for _, m := range mo.members {
			if m.name.ID == id {
				who = m.name
			}
		}
		return &StaleError{Member: who, Subject: leaf.Subject, Age: now.Sub(leaf.IssuedAt)}
	}
	return nil
}

// addable reports whether a newcomer can be added. One that checks the age of
// tokens cannot join as long as any leaf is old; one that does not can always,
// unless our own leaf is old: then those who check may refuse our commit.
func (mo *Moderator) addable(now time.Time, newcomer Member) error {
	leaves := mo.leaves()
	ids := []name.ID{mo.cfg.Local.ID}
	if newcomer.ChecksAge {
		for _, m := range mo.members {
			ids = append(ids, m.name.ID)
		}
	} else if !mo.checked(leaves, nil) {
		return nil
	}
	return mo.staleness(now, leaves, ids...)
}

// readmittable reports whether m can be let in anew with a leaf. One that checks
// the age of tokens cannot as long as any is old, its own included: the real
// library puts the token of its first join into the new leaf.
func (mo *Moderator) readmittable(now time.Time, leaf Member, m *member) error {
	if !leaf.ChecksAge {
		return nil
	}
	leaves := maps.Clone(mo.leaves())
	leaves[m.name.ID] = leaf
	ids := []name.ID{mo.cfg.Local.ID}
	for _, o := range mo.members {
		ids = append(ids, o.name.ID)
	}
	return mo.staleness(now, leaves, ids...)
}

// replaceable reports whether a commit that removes leaf, or renews our own,
// can be followed by all members but the one it is about: not by those that
// check the age of the tokens in the leaves it touches.
func (mo *Moderator) replaceable(now time.Time, leaf Member, but *member) error {
	leaves := mo.leaves()
	if !mo.checked(leaves, but) {
		return nil
	}
	return mo.staleness(now, leaves, name.IDOf(leaf.Subject), mo.cfg.Local.ID)
}

// checked reports whether a member other than but checks the age of tokens.
func (mo *Moderator) checked(leaves map[name.ID]Member, but *member) bool {
	for _, m := range mo.members {
		if m != but && leaves[m.name.ID].ChecksAge {
			return true
		}
	}
	return false
}
