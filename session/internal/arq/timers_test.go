package arq

import (
	"slices"
	"testing"
	"time"
)

func TestTimers(t *testing.T) {
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	l := newTimers(5)
	for slot, s := range []int{3, 1, 2, 1, 9} { // a clock may run back
		l.arm(slot, at(s))
	}
	l.arm(0, at(1)) // again, behind its equals
	l.disarm(2)
	l.disarm(2)
	if n := listed(t, &l); n != 4 {
		t.Errorf("%d armed, want 4", n)
	}
	l = l.moved(10, func(slot int) int { return slot + 5 })
	var got []int
	for slot, _, ok := l.popDue(at(8)); ok; slot, _, ok = l.popDue(at(8)) {
		got = append(got, slot)
	}
	if want := []int{6, 8, 5}; !slices.Equal(got, want) {
		t.Errorf("due %v, want %v", got, want)
	}
	if slot, next, ok := l.first(); slot != 9 || !next.Equal(at(9)) || !ok {
		t.Errorf("first %d at %v, %v", slot, next, ok)
	}
}
