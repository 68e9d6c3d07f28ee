package control

import (
	"slices"
	"time"
)

// maxRequestIDs bounds the ids remembered of one request.
const maxRequestIDs = 64

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

// send transmits the request under a new id.
func (m *Machine) send(now time.Time, r *request, out *Output) {
	r.msg.ID = m.newID()
	if len(r.ids) == maxRequestIDs {
		r.ids = r.ids[1:]
	}
	r.ids = append(r.ids, r.msg.ID)
	r.attempts++
	r.due = now.Add(m.cfg.Interval)
	out.Send = append(out.Send, r.msg)
}

// ask starts a request.
func (m *Machine) ask(now time.Time, msg Outbound, out *Output) *request {
	r := &request{msg: msg}
	m.send(now, r, out)
	return r
}

// repeat sends r again if it is due. It reports failure after the last try.
func (m *Machine) repeat(now time.Time, r *request, out *Output) (failed bool) {
	if r == nil || now.Before(r.due) {
		return false
	}
	if r.attempts > m.cfg.MaxRetries {
		return true
	}
	m.send(now, r, out)
	return false
}

// replies remembers the answers given to requests, so that a repeated request
// gets the same answer again and is not carried out twice.
type replies struct {
	byRequest map[requestKey]*Outbound
	order     []requestKey
}

type requestKey struct {
	typ Type
	id  MessageID
}

// maxReplies bounds the answers kept; requests older than that are long dead.
const maxReplies = 256

func (r *replies) seen(t Type, id MessageID) (answer *Outbound, seen bool) {
	answer, seen = r.byRequest[requestKey{t, id}]
	return answer, seen
}

// put remembers that the request was handled; answer may be nil.
func (r *replies) put(t Type, id MessageID, answer *Outbound) {
	k := requestKey{t, id}
	if r.byRequest == nil {
		r.byRequest = make(map[requestKey]*Outbound)
	}
	if _, ok := r.byRequest[k]; !ok {
		if len(r.order) == maxReplies {
			delete(r.byRequest, r.order[0])
			r.order = r.order[1:]
		}
		r.order = append(r.order, k)
	}
	r.byRequest[k] = answer
}
