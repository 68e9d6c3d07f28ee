package control

import (
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// maxTasks bounds the changes that wait for the one under way. Those that
// members cause (leaving, rejoining) come on top, one per member at most.
const maxTasks = 64

type taskKind int

const (
	inviting taskKind = iota
	removing
	readmitting // a member rejoins with a new leaf
	rotating
)

type stage int

const (
	atDiscovery stage = iota // inviting: DISCOVERY_REQUEST sent
	atJoin                   // inviting: JOIN_REQUEST sent
	atWelcome                // inviting: GROUP_WELCOME and GROUP_UPDATE sent
	atUpdate                 // GROUP_UPDATE sent
	atLeave                  // removing: LEAVE_REQUEST sent
)

// task is one change of the group. It is over when nothing is asked any more
// and the broadcast that tells of it was answered by all.
type task struct {
	kind    taskKind
	op      *Op       // nil: not asked for by the application
	name    name.Name // to invite or remove
	subject string
	force   bool
	stage   stage
	who     *member
	was     bool     // who was online when it was removed
	again   bool     // inviting: after an old leaf was renewed, or to renew it
	ask     *request // to who
	joins   joinReplies
	rejoin  *Inbound
	// listAgain: who came back and was sent a list that makes it forget; the true
	// one is to follow, see [Moderator.forgetful].
	listAgain bool
	err       error
}

// enqueue takes an operation of the application.
func (mo *Moderator) enqueue(t *task, out *Output) {
	waiting := 0
	for _, q := range mo.queue {
		if q.op != nil {
			waiting++
		}
	}
	switch {
	case mo.state != open:
		t.err = ErrNotOpen
	case waiting >= maxTasks:
		t.err = ErrBusy
	default:
		mo.queue = append(mo.queue, t)
		return
	}
	out.Done = append(out.Done, Done{Op: *t.op, Err: t.err})
}

// proceed ends the task that is over and begins the next ones.
func (mo *Moderator) proceed(now time.Time, out *Output) {
	for mo.linkDown.IsZero() && (mo.state == open || mo.state == draining) {
		if t := mo.task; t != nil {
			if t.kind == readmitting && !t.who.online {
				t.ask = nil // it does not listen any more
			}
			if t.ask.active() || !mo.update.over() {
				return
			}
			if t.kind == removing && t.stage == atUpdate && t.err == nil {
				mo.dismiss(now, t, out)
				continue
			}
			mo.finish(t, out)
		}
		t := mo.next(now)
		if t == nil {
			return
		}
		mo.task, mo.update = t, nil
		if t.err = mo.begin(now, t, out); t.err != nil {
			t.ask = nil
		}
	}
}

// next takes the task to begin. Rotation is quick and goes first.
func (mo *Moderator) next(now time.Time) *task {
	if mo.rotates(now) {
		return &task{kind: rotating, stage: atUpdate}
	}
	if len(mo.queue) == 0 {
		return nil
	}
	t := mo.queue[0]
	mo.queue[0] = nil
	mo.queue = mo.queue[1:]
	return t
}

func (mo *Moderator) begin(now time.Time, t *task, out *Output) error {
	switch t.kind {
	case inviting:
		return mo.seek(now, t, out)
	case removing:
		return mo.dropMember(now, t, out)
	case readmitting:
		return mo.readmit(now, t, out)
	default:
		return mo.rotate(now, out)
	}
}

// finish ends the task under way. One that was invited in vain is told to drop
// its half-open session; if it is in the group already it is taken out again,
// so that the group is what the application was told.
func (mo *Moderator) finish(t *task, out *Output) {
	mo.task = nil
	switch {
	case t.op != nil:
		out.Done = append(out.Done, Done{Op: *t.op, Err: t.err})
	case t.again && t.err != nil: // nobody waits to hear that it is lost
		out.Members = append(out.Members, MemberChange{Name: t.name, Subject: t.subject, What: Blocked, Err: t.err})
	}
	if t.kind != inviting || t.err == nil || t.who == nil {
		return
	}
	if mo.byName[t.who.name.Key()] == t.who {
		mo.queue = append([]*task{{kind: removing, who: t.who, force: true}}, mo.queue...)
		return
	}
	mo.tellToLeave(t.who, out)
}

// onTaskTimer repeats what is asked of the one that a task is about.
func (mo *Moderator) onTaskTimer(now time.Time, out *Output) {
	t := mo.task
	if t == nil || !t.ask.active() {
		return
	}
	if t.stage == atJoin {
		if reply, held := t.joins.due(now, t.ask, mo.interval); held {
			if reply != nil {
				mo.admit(now, t, reply, out)
			}
			return
		}
	}
	if !mo.repeat(now, t.ask, out) {
		return
	}
	t.ask = nil
	switch t.stage {
	case atDiscovery:
		t.err = ErrNobody
	case atJoin, atWelcome:
		t.err = ErrUnanswered
	case atLeave: // it is out of the group, whether it knows or not
	}
}

// cancelTasks fails all operations, because the session ends.
func (mo *Moderator) cancelTasks(now time.Time, out *Output) {
	all := mo.queue
	if mo.task != nil {
		all = append([]*task{mo.task}, all...)
		if t := mo.task; t.kind == inviting && t.stage == atJoin && mo.linkDown.IsZero() {
			mo.tellToLeave(t.who, out)
		}
	}
	mo.task, mo.queue, mo.update, mo.arriving = nil, nil, nil, nil
	for _, t := range all {
		if t.op != nil {
			out.Done = append(out.Done, Done{Op: *t.op, Err: ErrEnded})
		}
	}
}

func leaveRequest(to name.Name) Outbound {
	return Outbound{
		Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST,
		To:   to,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_LeaveRequest{
			LeaveRequest: &pb.LeaveRequestPayload{}}},
	}
}

// tellToLeave sends a LEAVE_REQUEST whose answer nobody waits for.
func (mo *Moderator) tellToLeave(m *member, out *Output) {
	msg := leaveRequest(m.name)
	msg.ID = mo.draw()
	out.Send = append(out.Send, msg)
}
