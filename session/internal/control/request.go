package control

import (
	"slices"
	"time"
)

// maxRequestIDs bounds the ids remembered of one request.
const maxRequestIDs = 64

// requester repeats control messages until they are answered.
type requester struct {
	newID    func() uint32
	interval time.Duration
	retries  int
}

func newRequester(cfg *Config) requester {
	return requester{newID: cfg.NewID, interval: cfg.Interval, retries: cfg.MaxRetries}
}

// patience is how long M retries at interval I take.
func (q *requester) patience() time.Duration {
	return time.Duration(q.retries+1) * q.interval
}

// draw draws a message id.
func (q *requester) draw() MessageID {
	for {
		if id := q.newID(); id != 0 { // upstream refuses 0
			return MessageID(id)
		}
	}
}

// request is a control message that is repeated until it is answered: at 0, I,
// 2I, .., M*I, and failed at (M+1)*I. Every transmission has a new message id,
// because a real peer drops an id it has seen, even if its reply got lost; an
// answer to any of the ids counts.
type request struct {
	msg      Outbound
	ids      []MessageID
	attempts int
	due      time.Time
}

func (r *request) active() bool { return r != nil }

// answered reports whether id is one of the ids used, and whether the newest.
func (r *request) answered(id MessageID) (ok, newest bool) {
	if r == nil {
		return false, false
	}
	i := slices.Index(r.ids, id)
	return i >= 0, i >= 0 && i == len(r.ids)-1
}

// renew gives r the id of its next transmission and the time of the one after.
func (q *requester) renew(now time.Time, r *request) {
	r.msg.ID = q.draw()
	if len(r.ids) == maxRequestIDs {
		r.ids = r.ids[1:]
	}
	r.ids = append(r.ids, r.msg.ID)
	r.attempts++
	r.due = now.Add(q.interval)
}

// resume makes r due at once, since the link is back. What was said into the
// dead link is not held against those who should have answered.
func (r *request) resume(now time.Time) {
	if r != nil {
		r.attempts = max(r.attempts-1, 0)
		r.due = now
	}
}

// exhausted reports whether r is due and was sent for the last time.
func (q *requester) exhausted(now time.Time, r *request) bool {
	return r != nil && !now.Before(r.due) && r.attempts > q.retries
}

// send transmits the request under a new id.
func (q *requester) send(now time.Time, r *request, out *Output) {
	q.renew(now, r)
	out.Send = append(out.Send, r.msg)
}

// ask starts a request.
func (q *requester) ask(now time.Time, msg Outbound, out *Output) *request {
	r := &request{msg: msg}
	q.send(now, r, out)
	return r
}

// repeat sends r again if it is due. It reports failure after the last try.
func (q *requester) repeat(now time.Time, r *request, out *Output) (failed bool) {
	if r == nil || now.Before(r.due) {
		return false
	}
	if q.exhausted(now, r) {
		return true
	}
	q.send(now, r, out)
	return false
}

// replies remembers the answers given to requests of one peer, so that a
// repeated request gets the same answer again and is not carried out twice.
type replies struct {
	// limit bounds the answers kept; requests older than that are long dead.
	limit     int
	byRequest map[requestKey]*Outbound
	order     []requestKey
}

type requestKey struct {
	typ Type
	id  MessageID
}

func (r *replies) seen(t Type, id MessageID) (answer *Outbound, seen bool) {
	answer, seen = r.byRequest[requestKey{t, id}]
	return answer, seen
}

// repeated answers a request that was handled before, if it had an answer.
func (r *replies) repeated(in *Inbound, out *Output) bool {
	answer, seen := r.seen(in.Type, in.ID)
	if answer != nil {
		out.Send = append(out.Send, *answer)
	}
	if seen {
		out.Dropped = "repeated control message"
	}
	return seen
}

// answer sends a reply with the id of the request and remembers it.
func (r *replies) answer(in *Inbound, reply Outbound, out *Output) {
	reply.ID = in.ID
	r.put(in.Type, in.ID, &reply)
	out.Send = append(out.Send, reply)
}

// put remembers that the request was handled; answer may be nil.
func (r *replies) put(t Type, id MessageID, answer *Outbound) {
	k := requestKey{t, id}
	if r.byRequest == nil {
		r.byRequest = make(map[requestKey]*Outbound)
	}
	if _, ok := r.byRequest[k]; !ok {
		if len(r.order) == r.limit {
			delete(r.byRequest, r.order[0])
			r.order = r.order[1:]
		}
		r.order = append(r.order, k)
	}
	r.byRequest[k] = answer
}
