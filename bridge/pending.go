package bridge

import (
	"cmp"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/adapters/mcp"
)

// pending is one request that waits for its answer.
type pending struct {
	id       []byte // raw
	method   string
	token    string    // key of its progress token, "" without
	started  time.Time // when it was forwarded
	deadline time.Time // zero: none
	batch    *batch    // the array it came in, nil without
	seq      uint64    // order of arrival, set by add
}

// endless reports whether the request is meant to stay open.
func (p *pending) endless() bool { return p.method == methodListen }

// table holds the pending requests of one direction. It is not safe for
// concurrent use.
type table struct {
	byID map[string]*pending
	next time.Time // no deadline lies before it; zero: there is none
	seq  uint64    // of the last request
}

func newTable() table { return table{byID: make(map[string]*pending)} }

func (t *table) has(id []byte) bool { return t.byID[mcp.IDKey(id)] != nil }

func (t *table) full() bool { return len(t.byID) >= maxPending }

func (t *table) add(p *pending) {
	t.seq++
	p.seq = t.seq
	t.byID[mcp.IDKey(p.id)] = p
	t.mind(p.deadline)
}

// mind makes sure that next is not later than the deadline.
func (t *table) mind(deadline time.Time) {
	if !deadline.IsZero() && (t.next.IsZero() || deadline.Before(t.next)) {
		t.next = deadline
	}
}

// get returns the request with this raw id, or nil.
func (t *table) get(id []byte) *pending { return t.byID[mcp.IDKey(id)] }

// take removes and returns the request with this raw id, or nil.
func (t *table) take(id []byte) *pending {
	key := mcp.IDKey(id)
	p := t.byID[key]
	delete(t.byID, key)
	return p
}

// hold moves all deadlines to the hard limit.
func (t *table) hold() {
	for _, p := range t.byID {
		if !p.deadline.IsZero() {
			p.deadline = p.started.Add(hardTimeout)
		}
	}
}

// restart gives all requests the timeout anew, within their hard limit.
func (t *table) restart(now time.Time, timeout time.Duration) {
	for _, p := range t.byID {
		if !p.deadline.IsZero() {
			p.deadline = earlier(now.Add(timeout), p.started.Add(hardTimeout))
			t.mind(p.deadline)
		}
	}
}

// progress moves the deadline of the request with this token to now+timeout, but
// not beyond its hard limit.
func (t *table) progress(token []byte, now time.Time, timeout time.Duration) {
	key := mcp.IDKey(token)
	for _, p := range t.byID {
		if p.token == key && !p.deadline.IsZero() {
			p.deadline = earlier(now.Add(timeout), p.started.Add(hardTimeout))
		}
	}
}

// expired removes and returns the requests whose deadline has come.
func (t *table) expired(now time.Time) []*pending {
	if t.next.IsZero() || now.Before(t.next) {
		return nil
	}
	t.next = time.Time{}
	var due []*pending
	for key, p := range t.byID {
		if !p.deadline.IsZero() && !now.Before(p.deadline) {
			due = append(due, p)
			delete(t.byID, key)
			continue
		}
		t.mind(p.deadline)
	}
	return inOrder(due)
}

// inOrder sorts requests by age, so that answers do not come in map order.
func inOrder(all []*pending) []*pending {
	slices.SortFunc(all, func(a, b *pending) int { return cmp.Compare(a.seq, b.seq) })
	return all
}

// takeAll removes and returns every request.
func (t *table) takeAll() []*pending {
	all := make([]*pending, 0, len(t.byID))
	for _, p := range t.byID {
		all = append(all, p)
	}
	*t = newTable()
	return inOrder(all)
}

// busy reports whether a request waits that will be answered by itself.
func (t *table) busy() bool {
	for _, p := range t.byID {
		if !p.endless() {
			return true
		}
	}
	return false
}

// earlier returns the earlier of two times; the zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
