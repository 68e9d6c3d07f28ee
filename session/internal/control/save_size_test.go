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
