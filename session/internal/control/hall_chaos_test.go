package control

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var groupSeeds = flag.Uint64("group-seeds", 200, "seeds of TestGroupChaos")

// chaosHall plays a group at random and remembers who should have got what.
type chaosHall struct {
	*hall
	r    *rand.Rand
	sent []sentMessage

	published uint32 // the id given last
	cut       *seat  // nothing reaches it, and nothing comes of it
	cutUntil  time.Time
	last      map[string]int // number of the last message read, by reader and stream
	calm      bool           // nobody crashes any more
}

type sentMessage struct {
	text     string
	by       *seat
	life     int                // the session of by
	settled  map[uint32]Settled // in it
	id       uint32
	audience map[*seat]int // who was there, in which session
}

// Under loss, duplication, delay, removals, departures and absences: in the end
// all agree on who is in the group and in which epoch; every message that was
// acknowledged was read, once, and in the order of its sender; and the group
// still works.
func TestGroupChaos(t *testing.T) {
	acknowledged := 0
	for seed := range *groupSeeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			acknowledged += runChaos(t, seed, hallOptions{retries: 12, rotateMsgs: 15, plain: seed%5 == 4})
		})
		if t.Failed() {
			t.Fatalf("replay with: go test ./session/internal/control -run 'TestGroupChaos/^%d$' -group-seeds %d", seed, seed+1)
		}
	}
	if uint64(acknowledged) < 4**groupSeeds {
		t.Errorf("only %d messages were acknowledged by all: the play is too harsh to show anything", acknowledged)
	}
}

func runChaos(t *testing.T, seed uint64, o hallOptions) (acknowledged int) {
	c := &chaosHall{hall: newHall(t, o, "alice", "bob", "carol", "dave", "erin"), r: rand.New(rand.NewPCG(seed, 7)), last: map[string]int{}}
	c.after = c.check
	c.fate = c.chaos
	if o.restarts {
		c.crashes()
	}
	for range 120 {
		c.reviveDue(false)
		c.act()
		c.run(time.Duration(c.r.IntN(600)) * time.Millisecond)
	}
	c.fate, c.cut, c.calm = allWell, nil, true
	c.reviveDue(true)
	c.run(40 * time.Second) // what is under way ends
	for _, s := range c.seats {
		if s.m != nil && s.ended == nil && c.stateOf(s) == away {
			c.do(s, func(op Op) Event { return Rejoin{Op: op} })
		}
		c.run(100 * time.Millisecond)
	}
	c.run(60 * time.Second)
	for _, n := range c.rosterOf(c.seats[0]) {
		if s := c.seat(n); s.ended != nil && !online(c.seats[0], c.hall, n) { // it left while it was cut off
			c.expel(n, false)
			c.run(time.Second)
		}
	}
	c.agree()
	for n := range c.ops {
		if _, ok := c.doneBySomebody(n + 1); !ok {
			t.Errorf("operation %d never ended", n+1)
		}
	}
	acknowledged = c.allRead()
	c.finale()
	if t.Failed() {
		t.Logf("log:\n%s", c.log)
	}
	return acknowledged
}

func (c *chaosHall) doneBySomebody(op Op) (error, bool) {
	for _, s := range c.seats {
		if err, ok := s.done[op]; ok {
			return err, ok
		}
	}
	return nil, false
}

// chaos loses, duplicates and delays a part of everything.
func (c *chaosHall) chaos(from, to *seat, _ Outbound) []time.Duration {
	if c.cut != nil && (from == c.cut || to == c.cut) {
		c.excuse(c.cut)
		return nil
	}
	d := func() time.Duration { return hallDelay + time.Duration(c.r.IntN(int(20*time.Millisecond))) }
	if c.r.Float64() > 0.12 {
		return []time.Duration{d()}
	}
	switch c.r.IntN(3) {
	case 0:
		return nil
	case 1:
		return []time.Duration{d(), d()}
	default:
		return []time.Duration{d() + 250*time.Millisecond}
	}
}

func (c *chaosHall) act() {
	s := c.seats[c.r.IntN(len(c.seats))]
	alive := s.m != nil && s.ended == nil && s.opened
	if c.now.After(c.cutUntil) {
		c.cut = nil
	}
	switch p := c.r.IntN(100); {
	case p < 2 && c.cut == nil && !c.opts.plain:
		c.cut, c.cutUntil = s, c.now.Add(time.Duration(c.r.IntN(45))*time.Second)
		c.notef(s, "is cut off until %v", c.cutUntil.Sub(c.start))
	case p < 15 && s != c.seats[0]:
		c.invite(s.name)
	case p < 20 && s != c.seats[0]:
		c.expel(s.name, false)
	case !alive:
	case p < 24 && s != c.seats[0]:
		c.step(s, []Event{Close{}, Drain{}}[c.r.IntN(2)])
	case p < 30 && !c.opts.plain: // without epochs a member that returns may take a new stream for the old one
		if c.stateOf(s) == away {
			c.do(s, func(op Op) Event { return Rejoin{Op: op} })
		} else {
			c.do(s, func(op Op) Event { return SoftClose{Op: op} })
		}
		c.excuse(s)
	case p < 40 && s.m.CanPublishTo():
		to := c.seats[c.r.IntN(len(c.seats))]
		c.step(s, PublishTo{To: to.full, Msg: AppMessage{Payload: fmt.Appendf(nil, "%s/%d/%d", s.name, s.life, len(c.sent))}})
	case s.m.CanPublish():
		c.talk(s)
	}
}

// excuse: one that is away or cut off fetches nothing that it missed, and gives
// nothing out.
func (c *chaosHall) excuse(s *seat) {
	for _, m := range c.sent {
		delete(m.audience, s)
		if m.by == s {
			clear(m.audience)
		}
	}
}

func (c *chaosHall) stateOf(s *seat) state {
	if m, ok := s.m.(*Moderator); ok {
		return m.state
	}
	return s.m.(*Participant).state
}

// talk publishes to all, and notes who is there to read it.
func (c *chaosHall) talk(s *seat) {
	m := sentMessage{text: fmt.Sprintf("%s/%d/%d", s.name, s.life, len(c.sent)), by: s, life: s.life, settled: s.settled, audience: map[*seat]int{}}
	for _, e := range s.m.Roster() {
		if !e.Self && e.Online {
			to := c.seat(c.nameOf(e.Name))
			m.audience[to] = to.life
		}
	}
	c.published = 0
	c.step(s, Publish{Msg: AppMessage{Payload: []byte(m.text)}})
	if m.id = c.published; m.id != 0 { // else the app crashed before it was stored
		c.sent = append(c.sent, m)
	}
}

// check looks at everything that is read.
func (c *chaosHall) check(s *seat, out Output) {
	c.published = uint32(out.PublishedID)
	for _, n := range out.Members {
		if n.What != Left && n.What != Expelled {
			continue
		}
		for _, m := range c.sent { // who left is not waited for
			if m.by == s {
				delete(m.audience, c.seat(c.nameOf(n.Name)))
			}
		}
	}
	for _, d := range out.Deliver {
		if d.Missing > 0 {
			continue
		}
		part := strings.Split(string(d.Msg.Payload), "/")
		if part[0] != c.nameOf(d.From) {
			c.t.Errorf("%s reads a message of %s as one of %s", s.name, part[0], c.nameOf(d.From))
		}
		if d.Direct {
			continue
		}
		n, _ := strconv.Atoi(part[2])
		stream := fmt.Sprint(s.name, s.life, part[0], part[1])
		if last, ok := c.last[stream]; ok && n <= last {
			c.t.Errorf("%s reads %s after number %d", s.name, d.Msg.Payload, last)
		}
		c.last[stream] = n
	}
	if m, ok := s.m.(*Moderator); ok && len(m.queue) > maxTasks+2*len(c.seats) {
		c.t.Errorf("%d tasks wait", len(m.queue))
	}
}

// allRead checks that what was acknowledged by all was read by all that are
// still in the session they were in, as long as the sender is too.
func (c *chaosHall) allRead() (acknowledged int) {
	for _, m := range c.sent {
		st, settled := m.settled[m.id]
		lives := m.by.life == m.life && m.by.ended == nil
		if !settled && lives && len(m.audience) > 0 {
			c.t.Errorf("%s: nothing was told of message %d", m.by.name, m.id)
		}
		if !st.Acknowledged {
			continue
		}
		for to, life := range m.audience {
			if lives && to.life == life && to.ended == nil && !slices.Contains(to.got, m.text) {
				c.t.Errorf("%s acknowledged %s, but never read it", to.name, m.text)
			}
		}
		acknowledged++
	}
	return acknowledged
}

// finale: everybody speaks, everybody hears it, the moderator closes.
func (c *chaosHall) finale() {
	members := []*seat{}
	for _, n := range c.rosterOf(c.seats[0]) {
		members = append(members, c.seat(n))
	}
	for _, s := range members {
		if len(members) == 1 { // one message may wait for somebody
			break
		}
		if !s.m.CanPublish() {
			c.t.Errorf("%s cannot publish in the end", s.name)
			continue
		}
		c.talk(s)
		c.run(50 * time.Millisecond)
		text := c.sent[len(c.sent)-1].text
		for _, to := range members {
			if to != s && !slices.Contains(to.got, text) {
				c.t.Errorf("%s does not hear %s in the end", to.name, text)
			}
		}
	}
	c.step(c.seats[0], Close{})
	c.run(time.Second)
	for _, s := range members {
		if s.ended == nil {
			c.t.Errorf("%s was not ended by the moderator's close", s.name)
		}
	}
}
