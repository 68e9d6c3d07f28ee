package control

import (
	"errors"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Inviting: discovery, join, commit, welcome.

func (mo *Moderator) memberOf(p name.Prefix) *member {
	for _, m := range mo.members {
		if m.name.Prefix == p {
			return m
		}
	}
	return nil
}

func discoveryRequest(to name.Name) Outbound {
	return Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REQUEST,
		To:   to,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_DiscoveryRequest{
			DiscoveryRequest: &pb.DiscoveryRequestPayload{}}},
	}
}

// seek looks for an instance of the invited name. A roster has one entry per
// service name, so another instance of a member's service is not invited.
func (mo *Moderator) seek(now time.Time, t *task, out *Output) error {
	switch {
	case t.name.Prefix == mo.cfg.Local.Prefix:
		return ErrSelf
	case mo.memberOf(t.name.Prefix) != nil:
		return ErrAlreadyMember
	case len(mo.members)+2 > MaxMembers:
		return ErrFull
	}
	if t.again && t.op == nil {
		// It was removed a moment ago. A real member then says by itself that it
		// leaves, which must not be taken for its word on the new invitation.
		t.ask = &request{msg: discoveryRequest(t.name), due: now.Add(2 * mo.interval)}
		return nil
	}
	t.ask = mo.ask(now, discoveryRequest(t.name), out)
	return nil
}

// present refuses an id that is in the group, under whatever name: ids derive
// from subjects, and one subject has one leaf.
func (mo *Moderator) present(id name.ID) error {
	if id == mo.cfg.Local.ID {
		return ErrSelf
	}
	for _, m := range mo.members {
		if m.name.ID == id {
			return ErrAlreadyMember
		}
	}
	return nil
}

// onDiscoveryReply: the first instance that answers is invited; later answers
// find the stage changed.
func (mo *Moderator) onDiscoveryReply(now time.Time, in *Inbound, out *Output) {
	t := mo.task
	if t == nil || t.kind != inviting || t.stage != atDiscovery {
		out.Dropped = "discovery is over"
		return
	}
	if ok, _ := t.ask.answered(in.ID); !ok {
		out.Dropped = "discovery reply to nothing asked"
		return
	}
	if in.From.Prefix != t.name.Prefix || in.From.ID == name.Any || t.name.ID != name.Any && in.From.ID != t.name.ID {
		out.Dropped = "discovery reply for another name"
		return
	}
	if t.subject != "" && in.Subject != t.subject {
		out.Dropped = "discovery reply of a subject that was not asked for"
		return
	}
	if err := mo.present(in.From.ID); err != nil {
		t.ask, t.err = nil, err
		return
	}
	if !mo.subscribed || mo.unheard {
		mo.subscribed, mo.unheard, out.Subscribe = true, false, true
	}
	who := in.From
	if !who.HasStrings() {
		who.Components = t.name.Components
	}
	t.who = mo.newMember(who)
	t.who.subject, t.who.key = in.Subject, in.Key
	if old := mo.left(who.Key()); old != nil && old.is(in) {
		t.who.answers = old.answers // what it sent before stays answered
	}
	t.stage = atJoin
	t.ask = mo.ask(now, joinRequest(&mo.cfg, who), out)
}

func (mo *Moderator) onJoinReply(now time.Time, m *member, in *Inbound, out *Output) {
	t := mo.task
	if t == nil || t.stage != atJoin || t.who.name.Key() != m.name.Key() {
		out.Dropped = "join reply to nothing asked"
		return
	}
	ok, newest := t.ask.answered(in.ID)
	if !ok {
		out.Dropped = "join reply to nothing asked"
		return
	}
	if !participantNamed(in, m.name) {
		out.Dropped = "join reply names another participant"
		return
	}
	if reply := t.joins.take(in, newest); reply != nil {
		mo.admit(now, t, reply, out)
	}
}

// admit adds the invited one to the group, tells the others, and welcomes it.
func (mo *Moderator) admit(now time.Time, t *task, in *Inbound, out *Output) {
	reply := in.Command.GetJoinReply()
	var commit, welcome []byte
	var from uint64
	if mo.mls != nil {
		var err error
		from, commit, welcome, err = mo.commitAdd(now, t.who, reply.GetKeyPackage())
		if later := (*NotYetError)(nil); errors.As(err, &later) {
			t.joins.keep(in, t.ask, later.At)
			return
		}
		if err != nil {
			t.ask, t.err = nil, err
			mo.freshen(now, t, out)
			return
		}
	}
	t.who.settings(reply.GetParticipant())
	mo.add(t.who)
	mo.arriving = t.who
	t.stage = atWelcome
	added := t.who.participant()
	added.Status = pb.ParticipantState_ONLINE
	mo.inform(now, pb.GroupUpdateOp_ADD, added, mo.listWith(t.who), from, commit, mo.onlineMembers(nil), out)
	t.who.seen = mo.changes
	t.ask = mo.ask(now, mo.groupWelcome(t.who, welcome), out)
}

// commitAdd makes the commit that adds m, in a new group if there is nobody
// else.
func (mo *Moderator) commitAdd(now time.Time, m *member, keyPackage []byte) (from uint64, commit, welcome []byte, err error) {
	if len(keyPackage) == 0 {
		return 0, nil, nil, errNoKeyPackage
	}
	if len(mo.members) == 0 {
		if err := mo.mls.Create(now); err != nil {
			return 0, nil, nil, err
		}
		mo.history, mo.rotated, mo.forgetAt, mo.tree = nil, now, time.Time{}, nil
	}
	from = mo.mls.Epoch()
	commit, welcome, err = mo.mls.Commit(Change{
		Add: [][]byte{keyPackage}, Subject: m.subject, Key: m.key,
		Check: func(newcomer Member) error { return mo.addable(now, newcomer) },
	}, now)
	mo.tree = nil
	return from, commit, welcome, err
}

// listWith is the roster with the newcomer shown as present.
func (mo *Moderator) listWith(newcomer *member) []*pb.Participant {
	list := mo.participants()
	for i, m := range mo.members {
		if m == newcomer {
			list[i+1].Status = pb.ParticipantState_ONLINE
		}
	}
	return list
}

func (mo *Moderator) groupWelcome(to *member, welcome []byte) Outbound {
	payload := &pb.GroupWelcomePayload{Participants: mo.listWith(to)}
	if mo.mls != nil {
		payload.Mls = &pb.MlsPayload{CommitId: mo.changes, MlsContent: welcome}
	}
	return Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_WELCOME,
		To:   to.name, Urgent: true,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_GroupWelcome{GroupWelcome: payload}},
	}
}

func (mo *Moderator) welcomeAck(now time.Time, m *member, id MessageID, out *Output) bool {
	t := mo.task
	if t == nil || t.stage != atWelcome || t.who != m {
		return false
	}
	if ok, _ := t.ask.answered(id); !ok {
		return false
	}
	mo.welcomed(now, t, out)
	return true
}

// welcomed: the new member is in. It is also known to be when it speaks.
func (mo *Moderator) welcomed(now time.Time, t *task, out *Output) {
	if !t.ask.active() {
		return
	}
	t.ask = nil
	mo.arrived(t.who, out)
	mo.setOnline(now, t.who, out)
}
