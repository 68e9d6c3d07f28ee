package arq

import "time"

// timers is a list of slot numbers in order of their deadline. Deadlines are
// nearly always armed in rising order, so arming is cheap.
type timers struct {
	nodes []timerNode // nodes[0] is both ends of the ring; slot i is nodes[i+1]
}

type timerNode struct {
	at         time.Time
	prev, next int32
	armed      bool
}

func newTimers(slots int) timers { return timers{nodes: make([]timerNode, slots+1)} }

func (t *timers) arm(slot int, at time.Time) {
	t.disarm(slot)
	n, after := int32(slot+1), t.nodes[0].prev
	for after != 0 && t.nodes[after].at.After(at) {
		after = t.nodes[after].prev
	}
	before := t.nodes[after].next
	t.nodes[n] = timerNode{at: at, prev: after, next: before, armed: true}
	t.nodes[after].next, t.nodes[before].prev = n, n
}

func (t *timers) disarm(slot int) {
	n := &t.nodes[slot+1]
	if !n.armed {
		return
	}
	t.nodes[n.prev].next, t.nodes[n.next].prev = n.next, n.prev
	*n = timerNode{}
}

// first returns the slot due first.
func (t *timers) first() (slot int, at time.Time, ok bool) {
	if len(t.nodes) == 0 || t.nodes[0].next == 0 {
		return 0, time.Time{}, false
	}
	n := t.nodes[0].next
	return int(n) - 1, t.nodes[n].at, true
}

// popDue disarms and returns the first slot due at now.
func (t *timers) popDue(now time.Time) (slot int, at time.Time, ok bool) {
	slot, at, ok = t.first()
	if !ok || at.After(now) {
		return 0, time.Time{}, false
	}
	t.disarm(slot)
	return slot, at, true
}

// moved returns the timers in a larger table, slot numbers mapped by to.
func (t *timers) moved(slots int, to func(slot int) int) timers {
	out := newTimers(slots)
	if len(t.nodes) == 0 {
		return out
	}
	for n := t.nodes[0].next; n != 0; n = t.nodes[n].next {
		out.arm(to(int(n)-1), t.nodes[n].at)
	}
	return out
}

// following returns the deadline one interval after at. A late tick does not
// make the next one due as well.
func following(at, now time.Time, interval time.Duration) time.Time {
	if next := at.Add(interval); next.After(now) {
		return next
	}
	return now.Add(interval)
}
