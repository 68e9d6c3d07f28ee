package control

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// hall runs one moderator and its participants against each other in virtual
// time, over a node that a test may make lossy.
type hall struct {
	t          *testing.T
	opts       hallOptions
	now, start time.Time
	seats      []*seat // the moderator first
	air        []envelope
	seq        int
	// fate decides about a message: how many copies reach to, and when.
	fate    func(from, to *seat, o Outbound) []time.Duration
	log     *strings.Builder
	secrets int
	ops     Op
	after   func(*seat, Output) // checks of a test after every step
	tap     func(*seat, Outbound)
	// crash decides whether the app of a seat dies at this step, if it saves.
	crash func(*seat, Output) crashPoint
	used  map[string]bool // keys, where apps save
}

type hallOptions struct {
	plain      bool // no MLS
	unreliable bool
	retries    int
	rotateMsgs int
	rotateTime time.Duration
	tokenLife  time.Duration
	endLost    bool
	silent     bool // no log
	restarts   bool // apps save, crash and come back; for runChaos
}

// seat is one app; its session may end and another begin.
type seat struct {
	name       string
	full       name.Name
	subject    string
	strict     bool // its MLS refuses old tokens
	mls        *fakeTree
	m          Core
	life       int // how many sessions it had
	ids        uint32
	subscribed bool
	down       bool // its link
	opened     bool
	got        []string
	settled    map[uint32]Settled
	done       map[Op]error
	news       []string
	ended      *End
	drops      map[string]int
	keptSeat
	open []Op // operations not done
}

type envelope struct {
	at   time.Time
	seq  int
	to   *seat
	life int // of to, for what only its present session is to see
	msg  *Inbound
	ev   Event
}

const hallDelay = time.Millisecond

func newHall(t *testing.T, o hallOptions, names ...string) *hall {
	h := &hall{t: t, opts: o, now: epochStart, start: epochStart, log: &strings.Builder{}}
	h.fate = func(*seat, *seat, Outbound) []time.Duration { return []time.Duration{hallDelay} }
	for i, n := range names {
		s := &seat{name: n, subject: "org/ns/" + n + "_x", done: map[Op]error{}, drops: map[string]int{}, ids: uint32(1000 * i)}
		s.full = name.New("org", "ns", n).WithID(name.IDOf(s.subject))
		h.seats = append(h.seats, s)
	}
	m := h.seats[0]
	h.begin(m)
	m.m = NewModerator(h.config(m))
	h.step(m, Start{})
	return h
}

var (
	hallChannel = name.New("org", "ns", "channel").WithID(name.ID{Hi: 1, Lo: 1})
	hallControl = name.New("org", "ns", "channel").WithID(name.ID{Hi: 1, Lo: 2})
)

// begin makes room for a new session of s.
func (h *hall) begin(s *seat) {
	s.life++
	s.opened, s.ended, s.subscribed = false, nil, false
	s.settled, s.got = map[uint32]Settled{}, nil
	s.keptSeat = keptSeat{}
	s.mls = h.newTree(s)
}

func (h *hall) newTree(s *seat) *fakeTree {
	return &fakeTree{subject: s.subject, strict: s.strict, count: &h.secrets, used: h.used, life: h.opts.tokenLife}
}

func (h *hall) config(s *seat) Config {
	cfg := Config{
		Local: s.full, Peer: h.seats[0].full, Channel: hallChannel, Control: hallControl, SessionID: 7,
		Reliable: !h.opts.unreliable, MaxRetries: h.opts.retries, Interval: time.Second,
		NewID:       func() uint32 { s.ids++; return s.ids },
		EndWhenLost: h.opts.endLost, LostAfter: 30 * time.Second,
		RotateMessages: h.opts.rotateMsgs, RotateAfter: h.opts.rotateTime,
	}
	if !h.opts.plain {
		cfg.MLS = s.mls
	}
	return cfg
}

func (h *hall) seat(n string) *seat {
	i := slices.IndexFunc(h.seats, func(s *seat) bool { return s.name == n })
	return h.seats[i]
}

func (h *hall) logf(format string, args ...any) {
	if !h.opts.silent {
		fmt.Fprintf(h.log, "%7.3f ", h.now.Sub(h.start).Seconds())
		fmt.Fprintf(h.log, format+"\n", args...)
	}
}

func (h *hall) notef(s *seat, format string, args ...any) {
	h.logf("        "+s.name+" "+format, args...)
}

func (h *hall) step(s *seat, ev Event) {
	if s.m == nil {
		return
	}
	out := s.m.Step(h.now, ev)
	if h.crash != nil && h.dies(s, out) {
		return
	}
	if out.Unsubscribe {
		s.subscribed = false
		h.notef(s, "unsubscribes")
	}
	for _, urgent := range []bool{true, false} {
		for _, o := range out.Send {
			if o.Urgent == urgent && !(o.Encrypt && out.Ended != nil) { // its keys are gone
				h.send(s, o)
			}
		}
	}
	h.note(s, out)
	if out.Subscribe {
		s.subscribed = true
		h.post(s, Subscribed{})
	}
	if out.Ended != nil {
		s.ended, s.subscribed = out.Ended, false
		h.notef(s, "ended, reason %d", out.Ended.Reason)
	}
	if h.after != nil {
		h.after(s, out)
	}
}

// receivers are the seats that the node hands o to.
func (h *hall) receivers(from *seat, o Outbound) (to []*seat) {
	for _, s := range h.seats {
		switch {
		case s == from || s.down:
		case o.Broadcast && s.subscribed && (o.To.Key() == hallChannel.Key() || o.To.Key() == hallControl.Key()),
			!o.Broadcast && o.To.Prefix == s.full.Prefix && (o.To.ID == name.Any || o.To.ID == s.full.ID):
			to = append(to, s)
		}
	}
	return to
}

// send puts a message on the air.
func (h *hall) send(s *seat, o Outbound) {
	if s.down {
		return
	}
	if h.tap != nil {
		h.tap(s, o)
	}
	in := Inbound{
		Type: o.Type, ID: o.ID, From: s.full, Subject: s.subject, Key: []byte(s.subject),
		Command: o.Command, Metadata: o.Metadata, Lost: o.Lost,
	}
	if !IsCommand(o.Type) {
		blob := o.App.Payload
		if o.Encrypt {
			h.seals(s)
			in.AAD = fmt.Appendf(nil, "%d/%d/%v", o.Type, o.ID, o.To)
			var err error
			if blob, err = s.m.Seal(blob, in.AAD); err != nil {
				h.t.Fatalf("seal: %v", err)
			}
		}
		in.App = &pb.ApplicationPayload{PayloadType: o.App.Type, Blob: blob}
	}
	lost := ""
	for _, to := range h.receivers(s, o) {
		delays := h.fate(s, to, o)
		if len(delays) == 0 {
			lost += " " + to.name
		}
		for _, d := range delays {
			h.seq++
			h.air = append(h.air, envelope{at: h.now.Add(d), seq: h.seq, to: to, msg: &in})
		}
	}
	if lost != "" {
		lost = "  lost for" + lost
	}
	h.logf("%s %s%s #%d%s", h.route(s, o), short(o.Type), h.detail(o), min(o.ID, 1<<31), lost)
}

func (h *hall) route(s *seat, o Outbound) string {
	to := h.nameOf(o.To)
	switch {
	case o.To.Key() == hallChannel.Key():
		to = "channel"
	case o.To.Key() == hallControl.Key():
		to = "control"
	case o.To.ID == name.Any:
		to = o.To.Components[2] + ":*"
	}
	return s.name + " -> " + to
}

func (h *hall) post(s *seat, ev Event) {
	h.seq++
	h.air = append(h.air, envelope{at: h.now.Add(hallDelay), seq: h.seq, to: s, life: s.life, ev: ev})
}

// arrive hands a message to its seat; the app layer answers discovery, makes
// the machine of a join and repeats the last words of an ended session.
func (h *hall) arrive(e envelope) {
	s := e.to
	switch {
	case s.dead:
	case e.ev != nil:
		if e.life == s.life {
			h.step(s, e.ev)
		}
	case s.m != nil && s.ended == nil:
		h.step(s, Received{Msg: *e.msg})
	case e.msg.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REQUEST:
		h.send(s, Outbound{Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REPLY, ID: e.msg.ID, To: e.msg.From})
	case e.msg.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REQUEST && s != h.seats[0]:
		h.begin(s)
		s.m = NewParticipant(h.config(s))
		h.step(s, Start{})
		h.step(s, Received{Msg: *e.msg})
	case s.m != nil && (e.msg.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST || e.msg.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_CLOSE):
		last := FarewellAnswer(e.msg.Type, e.msg.From)
		last.ID = e.msg.ID
		h.send(s, last)
	}
}

// run advances virtual time by limit.
func (h *hall) run(limit time.Duration) {
	end := h.now.Add(limit)
	for steps := 0; steps < 500000; steps++ {
		next, act := end, func() {}
		consider := func(at time.Time, f func()) {
			if !at.IsZero() && at.Before(next) {
				next, act = at, f
			}
		}
		for _, s := range h.seats {
			if s.m != nil && s.ended == nil {
				consider(s.m.NextTimeout(), func() { h.step(s, Tick{}) })
			}
		}
		sort.SliceStable(h.air, func(i, j int) bool {
			if !h.air[i].at.Equal(h.air[j].at) {
				return h.air[i].at.Before(h.air[j].at)
			}
			return h.air[i].seq < h.air[j].seq
		})
		if len(h.air) > 0 {
			consider(h.air[0].at, func() {
				e := h.air[0]
				h.air = h.air[1:]
				h.arrive(e)
			})
		}
		if !next.Before(end) {
			h.now = end
			return
		}
		if next.After(h.now) {
			h.now = next
		}
		act()
	}
	h.t.Fatalf("the machines do not come to rest\n%s", h.log.String()[max(0, h.log.Len()-3000):])
}

// do begins an operation and returns its number.
func (h *hall) do(s *seat, ev func(Op) Event) Op {
	h.ops++
	s.open = append(s.open, h.ops)
	if s.dead {
		s.done[h.ops] = errCrashed
	}
	h.notef(s, "operation %d: %T", h.ops, ev(h.ops))
	h.step(s, ev(h.ops))
	return h.ops
}

func (h *hall) invite(n string) Op {
	return h.do(h.seats[0], func(op Op) Event { return Invite{Op: op, Name: h.seat(n).full.Service()} })
}

func (h *hall) expel(n string, force bool) Op {
	return h.do(h.seats[0], func(op Op) Event { return Remove{Op: op, Name: h.seat(n).full.Service(), Force: force} })
}

// gather invites all, one after the other, and begins a new page of the log.
func (h *hall) gather() {
	h.t.Helper()
	defer h.log.Reset()
	for _, s := range h.seats[1:] {
		op := h.invite(s.name)
		h.run(100 * time.Millisecond)
		if err, ok := h.seats[0].done[op]; !ok || err != nil || !s.opened {
			h.t.Fatalf("%s did not join: %v\n%s", s.name, err, h.log)
		}
	}
	h.agree()
	h.start = h.now
}

// agree checks that all who are in have the same roster and epoch, and nobody
// else takes itself for a member.
func (h *hall) agree() {
	h.t.Helper()
	want := h.rosterOf(h.seats[0])
	for _, s := range h.seats[1:] {
		if !slices.Contains(want, s.name) {
			if s.m != nil && s.ended == nil {
				h.t.Errorf("%s is not in the roster %v, but its session goes on\n%s", s.name, want, h.log)
			}
			continue
		}
		if s.m == nil || s.ended != nil {
			h.t.Errorf("%s is in the roster, but its session is over\n%s", s.name, h.log)
			continue
		}
		if got := h.rosterOf(s); !slices.Equal(got, want) {
			h.t.Errorf("%s has the roster %v, the moderator %v\n%s", s.name, got, want, h.log)
		}
		if s.m.Epoch() != h.seats[0].m.Epoch() {
			h.t.Errorf("%s is in epoch %d, the moderator in %d\n%s", s.name, s.m.Epoch(), h.seats[0].m.Epoch(), h.log)
		}
	}
}

func (h *hall) rosterOf(s *seat) []string {
	names := map[string]bool{}
	for _, e := range s.m.Roster() {
		names[h.nameOf(e.Name)] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func (h *hall) publish(s *seat, text string) {
	h.t.Helper()
	if !s.m.CanPublish() {
		h.t.Fatalf("%s cannot publish %q\n%s", s.name, text, h.log)
	}
	h.step(s, Publish{Msg: AppMessage{Payload: []byte(text)}})
}
