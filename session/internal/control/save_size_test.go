package control

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// What a moderator saves grows with its group, not with the square of it: the
// answer to a rejoin has all leaves in it, and everybody rejoins in time.
func TestFewWelcomesAreSaved(t *testing.T) {
	names := []string{"alice"}
	for i := range 3 * keepWelcomes {
		names = append(names, fmt.Sprint("m", i))
	}
	h := newHall(t, hallOptions{retries: 3, rotateTime: 20 * time.Minute, silent: true}, names...)
	h.gather()
	h.run(25 * time.Minute)
	alice := h.seats[0]
	alice.disk.write(t, alice.m)
	var s saved
	if err := json.Unmarshal(alice.disk.state, &s); err != nil {
		t.Fatal(err)
	}
	live, stored := alice.m.(*Moderator).members, 0
	var lastDropped, firstKept time.Time
	for i, m := range s.Group.Members {
		switch {
		case live[i].admitted == nil:
			t.Errorf("%s did not rejoin", m.Name)
		case m.Welcome == nil && m.Readmitted.After(lastDropped):
			lastDropped = m.Readmitted
		case m.Welcome != nil:
			if stored++; firstKept.IsZero() || m.Readmitted.Before(firstKept) {
				firstKept = m.Readmitted
			}
		}
	}
	if stored != keepWelcomes || !lastDropped.Before(firstKept) {
		t.Errorf("%d welcomes are saved, want the last %d", stored, keepWelcomes)
	}
	h.crash = func(*seat, Output) crashPoint { return lives }
	h.revive(alice)
	h.run(25 * time.Minute)
	h.agree()
}

// Every restart skips keys. When there were so many that the peer cannot take what
// is sent next, whoever restarts sees to a new epoch at once, and does not wait
// until messages were given up.
func TestManyRestartsWithoutALink(t *testing.T) {
	for _, restarts := range []int{8, 20} {
		for _, who := range []string{"alice", "bob"} {
			t.Run(fmt.Sprintf("%s restarts %d times", who, restarts), func(t *testing.T) {
				p := newPair(t, pairOptions{mls: true, retries: 10})
				p.open()
				s := p.a
				if who == "bob" {
					s = p.b
				}
				before := p.a.m.Epoch()
				for range restarts {
					var d disk
					d.write(t, s.m)
					core, _ := d.restore(t, p.now, func(cfg *Config) {
						s.mls = &fakeMLS{subject: s.subject}
						cfg.NewID, cfg.MLS = s.cfg.NewID, s.mls
					})
					s.m = core.(*Machine)
				}
				p.step(s, LinkUp{})
				p.run(time.Second)
				want := before
				if restarts*SkipAhead > maxAhead {
					want++
				}
				if a, b := p.a.m.Epoch(), p.b.m.Epoch(); a != want || b != want {
					t.Errorf("alice is in epoch %d, bob in %d, want %d", a, b, want)
				}
			})
			t.Run(fmt.Sprintf("in a group %s restarts %d times", who, restarts), func(t *testing.T) {
				h := keepingHall(t, "alice", "bob", "carol")
				s := h.seat(who)
				before := s.m.Epoch()
				for range restarts {
					core, _ := s.disk.restore(t, h.now, func(cfg *Config) {
						s.mls = h.newTree(s)
						cfg.NewID, cfg.MLS = h.config(s).NewID, s.mls
					})
					s.m = core
					s.disk.write(t, s.m)
				}
				h.step(s, LinkUp{})
				h.run(time.Second)
				want := before
				if restarts*SkipAhead > maxAhead {
					want++
				}
				for _, o := range h.seats {
					if o.m.Epoch() != want {
						t.Errorf("%s is in epoch %d, want %d", o.name, o.m.Epoch(), want)
					}
				}
				h.agree()
			})
		}
	}
}
