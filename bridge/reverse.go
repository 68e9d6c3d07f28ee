package bridge

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge/stdio"
)

// fromBack handles one frame of the back. What is no message is never passed on,
// and never answered with a null id: peers exist whose reader dies of it.
func (r *relay) fromBack(frame []byte) {
	parts := mcp.Split(frame)
	if len(parts) > maxBatch {
		r.log.Warn().Int("messages", len(parts)).Msg("batch too long, dropped")
		return
	}
	for _, part := range parts {
		h, err := mcp.Scan(part)
		if err != nil {
			if now := time.Now(); now.Sub(r.warned) >= warnInterval {
				r.warned = now
				r.log.Warn().Err(err).Msg("skipped what is no JSON-RPC message")
			}
			continue
		}
		r.backMessage(h, part)
	}
}

func (r *relay) backMessage(h mcp.Header, frame []byte) {
	tooLarge := r.limitFront && len(frame) > mcp.MaxMessage
	switch h.Kind {
	case mcp.Response:
		p := r.requests.take(h.ID)
		if p == nil {
			return // late: timed out or cancelled
		}
		if tooLarge {
			frame = mcp.ErrorResponse(p.id, mcp.CodeInternal, (&mcp.SizeError{Size: len(frame)}).Error())
		}
		r.answerFront(p, frame)
	case mcp.Request:
		r.backRequest(h, frame, tooLarge)
	case mcp.Notification:
		if tooLarge {
			r.log.Warn().Str("method", h.Method).Int("size", len(frame)).Msg("notification too large, dropped")
			return
		}
		r.backNotification(h, frame)
	}
}

func (r *relay) backRequest(h mcp.Header, frame []byte, tooLarge bool) {
	p := &pending{id: bytes.Clone(h.ID), method: h.Method, started: time.Now()}
	fail := func(code int, text string) { r.answerBack(mcp.ErrorResponse(h.ID, code, text)) }
	switch {
	case r.phase != running && h.Method == methodPing:
		r.answerBack(mcp.EmptyResult(h.ID))
	case len(h.ID) > maxIDSize:
		r.log.Debug().Int("size", len(h.ID)).Msg("request with too long an id, dropped")
	case r.phase != running:
		fail(mcp.CodeInternal, "the other side has ended")
	case r.reverse.has(h.ID):
		fail(mcp.CodeInvalidRequest, "a request with this id is still running")
	case r.reverse.full():
		fail(mcp.CodeInternal, "too many requests at the same time")
	case tooLarge:
		fail(mcp.CodeInternal, (&mcp.SizeError{Size: len(frame)}).Error())
	default:
		switch {
		case h.Method == methodPing:
			p.deadline = p.started.Add(pingTimeout)
		case r.timeout > 0: // people answer these, so only the hard limit applies
			p.deadline = p.started.Add(hardTimeout)
		}
		r.reverse.add(p)
		if r.peopleAsked() {
			r.requests.hold()
		}
		r.tell(frame)
	}
}

func (r *relay) backNotification(h mcp.Header, frame []byte) {
	switch h.Method {
	case methodProgress:
		if h.ProgressToken != nil {
			r.requests.progress(h.ProgressToken, time.Now(), r.timeout)
		}
	case methodCancelled:
		if !r.backCancels(h) {
			return
		}
	}
	r.tell(frame)
}

// backCancels is frontCancels for the other direction. A server also ends a
// subscription by cancelling the front's own subscriptions/listen.
func (r *relay) backCancels(h mcp.Header) bool {
	if p := r.reverse.take(h.RequestID); p != nil {
		r.reverseDone(p)
		return true
	}
	p := r.requests.get(h.RequestID)
	if p == nil || !p.endless() {
		return false
	}
	r.requests.take(h.RequestID)
	if p.batch != nil {
		r.tell(p.batch.done(nil))
	}
	return true
}

// backTooLong handles a message of the back that its reader threw away.
func (r *relay) backTooLong(e *stdio.TooLongError) {
	r.log.Warn().Int("size", e.Size).Msg("message of the server too large")
	switch {
	case e.ID == nil:
	case e.Method:
		r.answerBack(mcp.ErrorResponse(e.ID, mcp.CodeInternal, e.Error()))
	default:
		if p := r.requests.take(e.ID); p != nil {
			r.answerFront(p, mcp.ErrorResponse(p.id, mcp.CodeInternal, e.Error()))
		}
	}
}

// answerBack queues the answer to a request of the back. The back that asked is
// the one that is open, since the table is emptied with each.
func (r *relay) answerBack(answer []byte) {
	if r.back != nil {
		r.toBack = append(r.toBack, answer)
	}
}

// expire answers what has waited too long, and tells the other side to stop.
func (r *relay) expire(now time.Time) {
	for _, p := range r.requests.expired(now) {
		text := fmt.Sprintf("no answer to %s within %v", p.method, now.Sub(p.started).Round(time.Millisecond))
		r.answerFront(p, mcp.ErrorResponse(p.id, mcp.CodeInternal, text))
		if r.unqueue(p.id) || bytes.Equal(r.probing, p.id) {
			continue // it never got there
		}
		if p.method != methodInitialize && r.reachable() {
			r.toBack = append(r.toBack, mcp.CancelledNotification(p.id, "timeout"))
		}
	}
	for _, p := range r.reverse.expired(now) {
		r.reverseDone(p)
		if p.method == methodPing {
			r.answerBack(mcp.EmptyResult(p.id))
			continue
		}
		r.answerBack(mcp.ErrorResponse(p.id, mcp.CodeInternal, fmt.Sprintf("no answer to %s within %v", p.method, hardTimeout)))
		r.tell(mcp.CancelledNotification(p.id, "timeout"))
	}
}

// unqueue takes a request back that still waits for the back to open.
func (r *relay) unqueue(id []byte) bool {
	if r.back != nil {
		return false
	}
	i := slices.IndexFunc(r.toBack, func(frame []byte) bool {
		h, err := mcp.Scan(frame)
		return err == nil && h.Kind == mcp.Request && mcp.IDKey(h.ID) == mcp.IDKey(id)
	})
	if i < 0 {
		return false
	}
	r.toBack = slices.Delete(r.toBack, i, i+1)
	return true
}

// reverseDone starts the clocks again when the last such answer has come.
func (r *relay) reverseDone(p *pending) {
	if p.method != methodPing && !r.peopleAsked() {
		r.requests.restart(time.Now(), r.timeout)
	}
}

// peopleAsked reports whether the back waits for an answer that a person may
// have to give. Until then its own answers cannot be due.
func (r *relay) peopleAsked() bool {
	for _, p := range r.reverse.byID {
		if p.method != methodPing {
			return true
		}
	}
	return false
}
