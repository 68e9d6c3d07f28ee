package control

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/arq"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Bounds on what others can make us hold.
const (
	// MaxMembers of a group, ourselves included.
	MaxMembers = 1024
	// maxGone is how many members are remembered after they left.
	maxGone = 64
	// maxMemberReplies bounds the answers kept of one member.
	maxMemberReplies = 32
)

// member is another member of a group.
type member struct {
	peer
	moderator bool
	receives  bool // it wants data: it is on the acknowledgement list
	away      bool // it soft-closed, at awaySince
	awaySince time.Time
	listed    bool              // the moderator says it is there
	token     [sha256.Size]byte // [Member.Token] of its leaf
	since     uint64            // the epoch in which it joined
	// unproven: it has acknowledged nothing yet; owing: though it was sent
	// something. See [group.CanPublish].
	unproven, owing bool
	vain            int // how often it was given up while owing
	answers         replies
	moderated       // what a moderator keeps
}

// group is what moderator and participant share: the roster, who is there, and
// the data path to many.
type group struct {
	requester
	stream
	cfg     Config
	state   state
	members []*member // the others, in order of joining, so that outputs repeat
	byName  map[name.Key]*member
	gone    []*member // members that left lately, oldest first
	letters []*letter
	owing   int // members that are owing
	// arriving is the newcomer that was welcomed, but of which nothing was told
	// yet, on the moderator.
	arriving *member
	parked   bool // messages wait for somebody, or for the link
	// tree is what leaves returns, nil after the group changed.
	tree map[name.ID]Member
	// watched: somebody whose leaf is in tree checks the age of tokens.
	watched bool

	update *round // GROUP_UPDATE or GROUP_CLOSE under way, on the moderator
	status *round // our own soft close or rejoin
	op     *Op    // that waits for status

	announced bool      // all members heard of us since the last heartbeat
	beat      time.Time // next heartbeat
	drained   time.Time // the latest end of a drain
	linkDown  time.Time // zero: up
	forgetAt  time.Time // keys of epochs before forgetTo
	forgetTo  uint64
	lost      bool // the moderator fell silent
}

func newGroup(cfg Config) group {
	return group{
		cfg: cfg, requester: newRequester(&cfg), stream: newStream(&cfg, false),
		byName: make(map[name.Key]*member),
	}
}

func (g *group) newMember(n name.Name) *member {
	m := &member{peer: g.newPeer(n), receives: true, unproven: true}
	m.answers.limit = maxMemberReplies
	return m
}

// Roster lists the members, ourselves first.
func (g *group) Roster() []RosterEntry {
	list := []RosterEntry{{
		Name: g.cfg.Local, Online: g.state != away && g.state != ended, Self: true, Moderator: g.cfg.Role == Initiator,
	}}
	for _, m := range g.members {
		list = append(list, RosterEntry{Name: m.name, Subject: m.subject, Online: m.online, Moderator: m.moderator})
	}
	return list
}

// add puts m on the roster, offline. The group has it as a member already.
func (g *group) add(m *member) {
	m.since = g.Epoch()
	g.members = append(g.members, m)
	g.byName[m.name.Key()] = m
	g.gone = slices.DeleteFunc(g.gone, func(o *member) bool { return o.name.Key() == m.name.Key() })
}

// remove takes m off the roster, and off everything that waits for it. What it
// did not acknowledge is not held against the message. Zero what: nobody was
// told that it was there.
func (g *group) remove(now time.Time, m *member, what News, out *Output) {
	if g.byName[m.name.Key()] != m {
		return
	}
	delete(g.byName, m.name.Key())
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	g.deliver(&m.peer, m.rx.Flush(), out)
	g.leaveLists(m, out)
	g.settle(g.tx.Remove(m.name.Key()), out)
	if g.arriving == m {
		g.arriving = nil
	}
	if len(g.gone) == maxGone {
		g.gone = slices.Delete(g.gone, 0, 1)
	}
	g.gone = append(g.gone, m)
	if what != 0 {
		out.Members = append(out.Members, MemberChange{Name: m.name, Subject: m.subject, What: what})
	}
}

// leaveLists stops waiting for m. Acknowledgements of messages are up to the
// caller.
func (g *group) leaveLists(m *member, out *Output) {
	m.online = false
	g.proven(m, m.unproven)
	g.update.forget(m)
	if g.status != nil {
		g.status.forget(m)
		g.statusOver(out)
	}
	g.failLetters(m, out)
}

// left returns a member that left lately.
func (g *group) left(n name.Key) *member {
	i := slices.IndexFunc(g.gone, func(m *member) bool { return m.name.Key() == n })
	if i < 0 {
		return nil
	}
	return g.gone[i]
}

// onlineMembers are those that can answer now, except one.
func (g *group) onlineMembers(except *member) []*member {
	var there []*member
	for _, m := range g.members {
		if m.online && m != except {
			there = append(there, m)
		}
	}
	return there
}

// participants is the roster as it is told to others.
func (g *group) participants() []*pb.Participant {
	self := participant(g.cfg.Local)
	if g.state == away {
		self.Status = pb.ParticipantState_OFFLINE
	}
	list := []*pb.Participant{self}
	for _, m := range g.members {
		list = append(list, m.participant())
	}
	return list
}

func (m *member) participant() *pb.Participant {
	p := participant(m.name)
	p.Settings.ReceivesData = m.receives
	if !m.online && !m.departed { // of one that leaves the real library says nothing
		p.Status = pb.ParticipantState_OFFLINE
	}
	return p
}

// leaves are the leaves of the MLS group by the names of their owners.
func (g *group) leaves() map[name.ID]Member {
	if g.tree != nil {
		return g.tree
	}
	members := g.mls.Members()
	byID := make(map[name.ID]Member, len(members))
	g.watched = false
	for _, leaf := range members {
		g.watched = g.watched || leaf.ChecksAge
		if leaf.Subject != "" {
			byID[name.IDOf(leaf.Subject)] = leaf
		}
	}
	g.tree = byID
	return byID
}

// startEpoch begins to count anew.
func (g *group) startEpoch(now time.Time) {
	g.startKeys()
	for _, m := range g.members {
		m.received = 0
	}
	g.forgetAt, g.forgetTo = now.Add(g.patience()), g.mls.Epoch()
}

// busiest is the largest number of messages anybody sent in this epoch.
func (g *group) busiest() int {
	n := g.sent
	for _, m := range g.members {
		n = max(n, m.received)
	}
	return n
}

// timeouts are the deadlines both roles have.
func (g *group) timeouts(add func(time.Time)) {
	add(g.forgetAt)
	add(g.drained)
	if !g.linkDown.IsZero() {
		if g.cfg.EndWhenLost {
			add(g.linkDown.Add(g.cfg.LostAfter))
		}
		return
	}
	for _, r := range []*round{g.update, g.status} {
		if !r.over() {
			add(r.due)
		}
	}
	if g.state != open && g.state != draining {
		return
	}
	add(g.beat)
	add(g.tx.NextTimeout())
	for _, l := range g.letters {
		add(l.due)
	}
	for _, m := range g.members {
		add(m.rx.NextTimeout())
	}
}

// earliest collects deadlines.
type earliest struct{ at time.Time }

func (e *earliest) add(t time.Time) {
	if !t.IsZero() && (e.at.IsZero() || t.Before(e.at)) {
		e.at = t
	}
}

// due reports whether t is set and reached.
func due(now, t time.Time) bool { return !t.IsZero() && !now.Before(t) }

// tick acts on the deadlines of both roles but drained; it reports whether the
// session ended.
func (g *group) tick(now time.Time, out *Output) (ended bool) {
	if due(now, g.forgetAt) {
		g.mls.ForgetBefore(g.forgetTo)
		g.forgetAt = time.Time{}
	}
	if !g.linkDown.IsZero() {
		if g.cfg.EndWhenLost && due(now, g.linkDown.Add(g.cfg.LostAfter)) {
			g.end(&End{Reason: LinkLost}, out)
		}
		return true // nothing else has a deadline now
	}
	g.onStatusTimer(now, out)
	if g.state == open || g.state == draining {
		g.onDataTimers(now, out)
	}
	return false
}

func (g *group) onLinkDown(now time.Time) {
	if !g.linkDown.IsZero() {
		return
	}
	g.linkDown = now
	g.tx.Pause(now)
	for _, m := range g.members {
		m.rx.Pause(now)
	}
}

// onLinkUp shifts all deadlines; requests are the others under way.
func (g *group) onLinkUp(now time.Time, out *Output, requests ...*request) (was bool) {
	if g.linkDown.IsZero() {
		return false
	}
	down := now.Sub(g.linkDown)
	g.linkDown = time.Time{}
	g.tx.Resume(now)
	for _, m := range g.members {
		m.missed = 0
		if m.online {
			m.rx.Resume(now)
		}
	}
	for _, r := range []*round{g.update, g.status} {
		if r != nil {
			requests = append(requests, &r.request)
		}
	}
	for _, r := range requests {
		r.resume(now)
	}
	for _, l := range g.letters {
		l.attempts, l.due = max(l.attempts-1, 0), now
	}
	g.beat = g.beat.Add(down)
	if latest := now.Add(HeartbeatInterval); g.beat.After(latest) { // it was set while the link was down
		g.beat = latest
	}
	return true
}

// end finishes the session. What was still pending is settled as
// unacknowledged, and every operation fails.
func (g *group) end(e *End, out *Output) {
	if g.state == ended {
		return
	}
	g.stopData(out)
	g.finishOp(ErrEnded, out)
	g.state = ended
	g.forgetAt, g.drained = time.Time{}, time.Time{}
	if g.mls != nil {
		g.mls.Wipe()
	}
	out.Ended = e
}

// stopData gives up all messages of ours.
func (g *group) stopData(out *Output) {
	g.settle(g.tx.Fail(), out)
	for _, l := range g.letters {
		out.Settled = append(out.Settled, l.settled(false))
	}
	g.letters = nil
}

// finishOp ends the soft close or rejoin under way.
func (g *group) finishOp(err error, out *Output) {
	if g.op != nil {
		out.Done = append(out.Done, Done{Op: *g.op, Err: err})
		g.op = nil
	}
}

// pending reports whether a drain has something to wait for.
func (g *group) pending() bool { return g.tx.Pending() > 0 || len(g.letters) > 0 }

// settle tells the fate of messages. Those who left are not missed.
func (g *group) settle(settled []arq.Settled[name.Key], out *Output) {
	for _, s := range settled {
		st := Settled{ID: s.ID}
		for _, k := range s.Missing {
			if m := g.byName[k]; m != nil {
				st.Missing = append(st.Missing, m.name)
			}
		}
		st.Acknowledged = len(st.Missing) == 0 && !s.Failed
		out.Settled = append(out.Settled, st)
	}
}

// settings takes over what a participant says of itself.
func (m *member) settings(p *pb.Participant) {
	if s := p.GetSettings(); s != nil {
		m.receives = s.GetReceivesData()
	}
}

// named reads the name of a listed participant.
func named(p *pb.Participant) (name.Name, bool) {
	n, ok := wire.ToName(p.GetName())
	return n, ok && n.ID != name.Any
}
