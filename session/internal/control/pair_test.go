package control

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// pair runs two machines against each other in virtual time over a channel
// that a test may make lossy.
type pair struct {
	t     *testing.T
	now   time.Time
	start time.Time
	a, b  *side // a is the initiator
	air   []flight
	seq   int
	// fate decides about a message: how many copies arrive, and when.
	fate func(from *side, o Outbound) []time.Duration
	log  *strings.Builder
	// saves is called after every step and before anything of it leaves, seals
	// before a message is encrypted.
	saves func(*side, Output)
	seals func(*side)
}

type side struct {
	name    string
	full    name.Name
	subject string
	cfg     Config
	mls     *fakeMLS
	m       *Machine
	peer    *side
	got     []string
	settled map[uint32]bool
	opened  bool
	rotated int
	ended   *End
	drops   map[string]int
}

type flight struct {
	at  time.Time
	seq int
	to  *side
	msg Inbound
}

var epochStart = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

type pairOptions struct {
	mls        bool
	unreliable bool
	retries    int
	endLost    bool
	rotateMsgs int
	rotateTime time.Duration
}

func newPair(t *testing.T, o pairOptions) *pair {
	p := &pair{t: t, now: epochStart, start: epochStart, log: &strings.Builder{}}
	p.fate = func(*side, Outbound) []time.Duration { return []time.Duration{time.Millisecond} }
	mk := func(n string, role Role) *side {
		s := &side{name: n, subject: "org/ns/" + n + "_x", settled: map[uint32]bool{}, drops: map[string]int{}}
		s.full = name.New("org", "ns", n).WithID(name.IDOf(s.subject))
		var ids uint32
		if role == Responder {
			ids = 1000
		}
		s.cfg = Config{
			Role: role, Local: s.full, SessionID: 7, Reliable: !o.unreliable, MaxRetries: o.retries, Interval: time.Second,
			NewID: func() uint32 { ids++; return ids }, EndWhenLost: o.endLost, LostAfter: 30 * time.Second,
			RotateMessages: o.rotateMsgs, RotateAfter: o.rotateTime,
		}
		if o.mls {
			s.mls = &fakeMLS{subject: s.subject}
			s.cfg.MLS = s.mls
		}
		return s
	}
	p.a, p.b = mk("alice", Initiator), mk("bob", Responder)
	p.a.peer, p.b.peer = p.b, p.a
	p.a.cfg.Peer, p.b.cfg.Peer = p.b.full.Service(), p.a.full
	p.a.m = New(p.a.cfg)
	return p
}

func short(t Type) string {
	return strings.TrimPrefix(t.String(), "SESSION_MESSAGE_TYPE_")
}

func (p *pair) logf(format string, args ...any) {
	fmt.Fprintf(p.log, "%7.3f ", p.now.Sub(p.start).Seconds())
	fmt.Fprintf(p.log, format+"\n", args...)
}

func (p *pair) step(s *side, ev Event) {
	out := s.m.Step(p.now, ev)
	if p.saves != nil {
		p.saves(s, out)
	}
	for _, urgent := range []bool{true, false} {
		for _, o := range out.Send {
			if o.Urgent == urgent {
				p.send(s, o)
			}
		}
	}
	for _, d := range out.Deliver {
		if d.Missing > 0 {
			s.got = append(s.got, fmt.Sprintf("missing %d", d.Missing))
		} else {
			s.got = append(s.got, string(d.Msg.Payload))
		}
		p.logf("      %-5s reads %s", s.name, s.got[len(s.got)-1])
	}
	for _, st := range out.Settled {
		if _, twice := s.settled[uint32(st.ID)]; twice && p.saves == nil { // nobody relies on it, so a crash may undo it
			p.t.Errorf("%s: message %d settled twice", s.name, st.ID)
		}
		s.settled[uint32(st.ID)] = st.Acknowledged
	}
	if out.Opened {
		if s.opened {
			p.t.Errorf("%s opened twice", s.name)
		}
		s.opened = true
		p.logf("      %-5s open, epoch %d", s.name, s.m.Epoch())
	}
	if out.Rotated {
		s.rotated++
		p.logf("      %-5s epoch %d", s.name, s.m.Epoch())
	}
	if out.Dropped != "" {
		s.drops[out.Dropped]++
		p.logf("      %-5s drops: %s", s.name, out.Dropped)
	}
	if out.Ended != nil {
		s.ended = out.Ended
		p.logf("      %-5s ended, reason %d", s.name, out.Ended.Reason)
	}
}

// send puts a message on the air.
func (p *pair) send(s *side, o Outbound) {
	delays := p.fate(s, o)
	mark := ""
	if len(delays) == 0 {
		mark = "  lost"
	}
	p.logf("%-5s %s #%d%s", s.name, short(o.Type), o.ID, mark)
	in := Inbound{
		Type: o.Type, ID: o.ID, From: s.full, Subject: s.subject, Key: []byte(s.subject),
		Command: o.Command, Metadata: o.Metadata, Lost: o.Lost,
	}
	if !IsCommand(o.Type) {
		blob := o.App.Payload
		if o.Encrypt {
			if p.seals != nil {
				p.seals(s)
			}
			in.AAD = fmt.Appendf(nil, "%d/%d", o.Type, o.ID)
			var err error
			if blob, err = s.m.Seal(blob, in.AAD); err != nil {
				p.t.Fatalf("seal: %v", err)
			}
		}
		in.App = &pb.ApplicationPayload{PayloadType: o.App.Type, Blob: blob}
	}
	for _, d := range delays {
		p.seq++
		p.air = append(p.air, flight{at: p.now.Add(d), seq: p.seq, to: s.peer, msg: in})
	}
}

// arrive hands a message to its side; the app layer answers discovery and
// makes the responder's machine at the join.
func (p *pair) arrive(f flight) {
	s := f.to
	switch {
	case s.m != nil:
		p.step(s, Received{Msg: f.msg})
	case f.msg.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REQUEST:
		p.send(s, Outbound{Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REPLY, ID: f.msg.ID, To: f.msg.From})
	case f.msg.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REQUEST:
		s.m = New(s.cfg)
		p.step(s, Start{})
		p.step(s, Received{Msg: f.msg})
	}
}

// run advances virtual time until nothing happens before the limit.
func (p *pair) run(limit time.Duration) {
	end := p.now.Add(limit)
	for steps := 0; steps < 200000; steps++ {
		next, act := end, func() {}
		consider := func(at time.Time, f func()) {
			if !at.IsZero() && at.Before(next) {
				next, act = at, f
			}
		}
		for _, s := range []*side{p.a, p.b} {
			if s.m != nil {
				consider(s.m.NextTimeout(), func() { p.step(s, Tick{}) })
			}
		}
		sort.SliceStable(p.air, func(i, j int) bool {
			if !p.air[i].at.Equal(p.air[j].at) {
				return p.air[i].at.Before(p.air[j].at)
			}
			return p.air[i].seq < p.air[j].seq
		})
		if len(p.air) > 0 {
			consider(p.air[0].at, func() {
				f := p.air[0]
				p.air = p.air[1:]
				p.arrive(f)
			})
		}
		if !next.Before(end) {
			p.now = end
			return
		}
		if next.After(p.now) {
			p.now = next
		}
		act()
	}
	p.t.Fatal("the machines do not come to rest")
}

func (p *pair) open() {
	p.t.Helper()
	p.step(p.a, Start{})
	p.run(200 * time.Millisecond)
	if !p.a.opened || !p.b.opened {
		p.t.Fatalf("not open:\n%s", p.log)
	}
}

func (p *pair) publish(s *side, text string) {
	p.t.Helper()
	if !s.m.CanPublish() {
		p.t.Fatalf("%s cannot publish %q", s.name, text)
	}
	p.step(s, Publish{Msg: AppMessage{Payload: []byte(text)}})
}

// chaos loses, duplicates and delays a part of everything.
func chaos(r *rand.Rand, share float64) func(*side, Outbound) []time.Duration {
	return func(*side, Outbound) []time.Duration {
		d := func() time.Duration { return time.Millisecond + time.Duration(r.IntN(int(30*time.Millisecond))) }
		if r.Float64() < share {
			switch r.IntN(3) {
			case 0:
				return nil
			case 1:
				return []time.Duration{d(), d()}
			default:
				return []time.Duration{d() + 300*time.Millisecond}
			}
		}
		return []time.Duration{d()}
	}
}
