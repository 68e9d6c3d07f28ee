package control

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/arq"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

var restartSeeds = flag.Uint64("restart-seeds", 150, "seeds of TestRestarts and TestGroupRestarts")

// disk is what an app has stored of its session.
type disk struct {
	state    []byte
	messages map[string]AppMessage
}

// write stores a session as it is; what was stored of a session that is over is
// gone.
func (d *disk) write(t *testing.T, m Core) {
	t.Helper()
	state, err := m.Save()
	if err != nil {
		t.Fatalf("save: %v", err)
	}
	*d = disk{}
	if state != nil {
		d.state, d.messages = state, maps.Collect(m.Kept())
	}
}

// restore brings the session back. complete adds what Config lacks.
func (d *disk) restore(t *testing.T, now time.Time, complete func(*Config)) (Core, *Saved) {
	t.Helper()
	saved, err := ReadSaved(d.state)
	if err != nil {
		t.Fatal(err)
	}
	cfg := saved.Config()
	complete(&cfg)
	core, err := saved.Restore(now, cfg, func(key string) (AppMessage, bool) { m, ok := d.messages[key]; return m, ok })
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	return core, saved
}

// Two apps that crash and come back: everything that was acknowledged was read,
// once, in order, and no key is used twice.
func TestRestarts(t *testing.T) {
	total := 0
	for seed := range *restartSeeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { total += runRestarts(t, seed) })
		if t.Failed() {
			t.Fatalf("replay with: go test ./session/internal/control -run 'TestRestarts/^%d$' -restart-seeds %d", seed, seed+1)
		}
	}
	if uint64(total) < 20**restartSeeds {
		t.Errorf("only %d messages were acknowledged", total)
	}
}

type restartPair struct {
	*pair
	r     *rand.Rand
	disks map[*side]*disk
	count map[*side]int // sealed
	sent  map[*side][]string
}

func runRestarts(t *testing.T, seed uint64) (acknowledged int) {
	r := rand.New(rand.NewPCG(seed, 11))
	plain := seed%6 == 5
	p := &restartPair{
		pair: newPair(t, pairOptions{mls: !plain, retries: 10, rotateMsgs: 20}), r: r,
		disks: map[*side]*disk{}, count: map[*side]int{}, sent: map[*side][]string{},
	}
	if !plain {
		used := map[string]bool{}
		p.a.mls.used, p.b.mls.used = used, used
	}
	p.saves = p.save
	p.seals = p.seal
	p.pair.open()
	p.fate = chaos(r, 0.15)
	for range 60 {
		s := []*side{p.a, p.b}[r.IntN(2)]
		switch {
		case r.IntN(4) == 0:
			p.restart(s)
		case s.m.CanPublish():
			text := fmt.Sprintf("%s%d", s.name, len(p.sent[s]))
			p.step(s, Publish{Msg: AppMessage{Payload: []byte(text), Metadata: map[string]string{"n": text}}})
			p.sent[s] = append(p.sent[s], text)
		}
		p.run(time.Duration(r.IntN(500)) * time.Millisecond)
	}
	p.fate = func(*side, Outbound) []time.Duration { return []time.Duration{time.Millisecond} }
	p.run(60 * time.Second)
	for _, s := range []*side{p.a, p.b} {
		if !slices.Equal(s.peer.got, p.sent[s]) {
			t.Errorf("%s read %v, sent was %v", s.peer.name, s.peer.got, p.sent[s])
		}
		acknowledged += len(s.settled)
		if len(s.settled) != len(p.sent[s]) {
			t.Errorf("%s: %d of %d messages are settled", s.name, len(s.settled), len(p.sent[s]))
		}
	}
	if t.Failed() {
		t.Log(p.log)
	}
	return acknowledged
}

func (p *restartPair) save(s *side, out Output) {
	if out.ReliedOn() {
		p.write(s)
	}
}

func (p *restartPair) write(s *side) {
	if p.disks[s] == nil {
		p.disks[s] = &disk{}
	}
	p.disks[s].write(p.t, s.m)
	p.count[s] = 0
}

func (p *restartPair) seal(s *side) {
	if p.count[s] == SkipAhead {
		p.write(s)
	}
	p.count[s]++
}

// restart kills the app of s and starts it again: it has forgotten what it did
// since it last saved, and what was to leave with the last step is lost half of
// the time.
func (p *restartPair) restart(s *side) {
	p.logf("      %-5s restarts", s.name)
	core, _ := p.disks[s].restore(p.t, p.now, func(cfg *Config) {
		cfg.NewID, cfg.LostAfter, cfg.RotateMessages = s.cfg.NewID, s.cfg.LostAfter, s.cfg.RotateMessages
		if s.mls != nil {
			s.mls = &fakeMLS{subject: s.subject, used: s.mls.used}
			cfg.MLS = s.mls
		}
	})
	s.m = core.(*Machine)
	before := p.disks[s].state
	p.write(s)
	sameAgain(p.t, before, p.disks[s].state)
	if p.r.IntN(2) == 0 {
		p.air = slices.DeleteFunc(p.air, func(f flight) bool { return f.to == s.peer })
	}
	p.run(time.Duration(p.r.IntN(3000)) * time.Millisecond) // the link is down
	p.step(s, LinkUp{})
}

// What is restored is what was saved: saved again it differs in what was
// skipped alone.
func TestSavedAgain(t *testing.T) {
	p := newPair(t, pairOptions{mls: true, retries: 10})
	p.open()
	for i := range 3 {
		p.publish(p.a, fmt.Sprint(i))
		p.run(10 * time.Millisecond)
	}
	p.fate = func(*side, Outbound) []time.Duration { return nil }
	p.publish(p.a, "lost")
	var d, again disk
	d.write(t, p.a.m)
	core, _ := d.restore(t, p.now, func(cfg *Config) {
		cfg.NewID, cfg.MLS = p.a.cfg.NewID, &fakeMLS{subject: p.a.subject}
	})
	again.write(t, core)
	sameAgain(t, d.state, again.state)
	var before, after saved
	if json.Unmarshal(d.state, &before) != nil || json.Unmarshal(again.state, &after) != nil {
		t.Fatal("not a state")
	}
	if skipped := after.Stream.TX.Sent - before.Stream.TX.Sent; skipped != SkipAhead {
		t.Errorf("%d transmissions are taken for sent, want %d", skipped, SkipAhead)
	}
	if len(again.messages) != len(d.messages) || len(d.messages) != 1 {
		t.Errorf("%d messages were kept, %d are now; want 1", len(d.messages), len(again.messages))
	}
}

// sameAgain compares a state with the one that was saved right after it was
// restored: nothing differs but what was skipped, and that a session that was
// closing begins to close anew.
func sameAgain(t *testing.T, a, b []byte) {
	t.Helper()
	var x, y saved
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		t.Fatal("not a state")
	}
	for _, s := range []*saved{&x, &y} {
		s.MLS, s.Closing, s.Stream.TX = nil, false, arq.SenderState[name.Key]{}
	}
	y.Stream.Deaf = y.Stream.Deaf && x.Stream.Deaf // what is skipped may make somebody deaf
	if before, after := marshal(x), marshal(y); !bytes.Equal(before, after) {
		t.Errorf("restored, it is another:\n%s\n%s", before, after)
	}
}

func TestReadSavedRefuses(t *testing.T) {
	p := newPair(t, pairOptions{mls: true, retries: 10})
	p.open()
	state, err := p.a.m.Save()
	if err != nil {
		t.Fatal(err)
	}
	var good map[string]any
	if err := json.Unmarshal(state, &good); err != nil {
		t.Fatal(err)
	}
	for name, bend := range map[string]func(map[string]any){
		"another form":    func(m map[string]any) { m["Version"] = 2 },
		"no interval":     func(m map[string]any) { m["Interval"] = 0 },
		"no machine":      func(m map[string]any) { delete(m, "Machine") },
		"two machines":    func(m map[string]any) { m["Group"] = map[string]any{} },
		"no MLS":          func(m map[string]any) { delete(m, "MLS") },
		"MLS in the open": func(m map[string]any) { m["Encrypted"] = false },
	} {
		t.Run(name, func(t *testing.T) {
			bent := maps.Clone(good)
			bend(bent)
			if _, err := ReadSaved(marshal(bent)); err == nil {
				t.Error("accepted")
			}
		})
	}
	if _, err := ReadSaved([]byte("{")); err == nil {
		t.Error("half a state is accepted")
	}
}

// A session that is not open yet, or over, is not kept.
func TestSaveWhenOpen(t *testing.T) {
	p := newPair(t, pairOptions{mls: true, retries: 10})
	check := func(when string, s *side, want bool) {
		t.Helper()
		if state, err := s.m.Save(); err != nil || (state != nil) != want {
			t.Errorf("%s: saved %v, want %v (%v)", when, state != nil, want, err)
		}
	}
	check("before the start", p.a, false)
	p.step(p.a, Start{})
	check("discovering", p.a, false)
	p.run(200 * time.Millisecond)
	check("open", p.a, true)
	check("open", p.b, true)
	p.step(p.a, Close{})
	p.run(time.Second)
	check("over", p.a, false)
	check("over", p.b, false)
}
