package bridge

import (
	"bytes"
	"fmt"
	"time"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge/stdio"
)

// fromFront handles one frame of the front.
func (r *relay) fromFront(frame []byte) {
	if !mcp.IsArray(frame) {
		r.frontMessage(frame, nil)
		return
	}
	parts := mcp.Split(frame)
	if len(parts) > maxBatch {
		r.toFront = append(r.toFront, mcp.ErrorResponse(nil, mcp.CodeInvalidRequest,
			fmt.Sprintf("a batch may have at most %d messages", maxBatch)))
		return
	}
	b := &batch{open: 1}
	if !r.collect || len(parts) == 1 && mcp.IsArray(parts[0]) { // empty or broken: no array to answer
		b = nil
	}
	for _, part := range parts {
		r.frontMessage(part, b)
	}
	if b != nil {
		r.tell(b.done(nil))
	}
}

func (r *relay) frontMessage(frame []byte, b *batch) {
	h, err := mcp.Scan(frame)
	if err != nil {
		r.refuse(h.ID, b, err)
		return
	}
	switch h.Kind {
	case mcp.Request:
		r.frontRequest(h, frame, b)
	case mcp.Notification:
		r.frontNotification(h, frame)
	case mcp.Response:
		r.frontResponse(h, frame)
	}
}

func (r *relay) frontRequest(h mcp.Header, frame []byte, b *batch) {
	p := r.request(h, b)
	switch {
	case len(h.ID) > maxIDSize:
		r.answerFront(p, mcp.ErrorResponse(nil, mcp.CodeInvalidRequest, fmt.Sprintf("request id of more than %d bytes", maxIDSize)))
	case r.era == EraLegacy && h.Method == methodDiscover:
		r.answerFront(p, discoverUnknown(h.ID))
	case r.requests.has(h.ID):
		r.answerFront(p, mcp.ErrorResponse(h.ID, mcp.CodeInvalidRequest, "a request with this id is still running"))
	case r.requests.full():
		r.answerFront(p, mcp.ErrorResponse(h.ID, mcp.CodeInternal, "too many requests at the same time"))
	case r.limitBack && len(frame) > mcp.MaxMessage:
		r.answerFront(p, mcp.ErrorResponse(h.ID, mcp.CodeInternal, (&mcp.SizeError{Size: len(frame)}).Error()))
	default:
		if h.Method == methodInitialize {
			r.legacy = true
		}
		r.requests.add(p)
		if r.peopleAsked() {
			r.requests.hold()
		}
		if r.probe != nil && r.era == EraAuto && h.Method == methodDiscover && !r.met && !r.opening && !r.legacy {
			r.probeBack(p.id, frame)
			return
		}
		r.toBack = append(r.toBack, frame)
		r.want()
	}
}

// want makes sure that a back is on its way. An eager back in its backoff comes
// by itself.
func (r *relay) want() {
	if !r.eager || r.reopenAt.IsZero() {
		r.openBack()
	}
}

// request makes the table entry of a new request of the front.
func (r *relay) request(h mcp.Header, b *batch) *pending {
	// The id is a view of the frame, which may be megabytes.
	p := &pending{id: bytes.Clone(h.ID), method: h.Method, started: time.Now(), batch: b}
	if h.ProgressToken != nil && len(h.ProgressToken) <= maxIDSize {
		p.token = mcp.IDKey(h.ProgressToken)
	}
	if r.timeout > 0 && !p.endless() {
		p.deadline = p.started.Add(min(r.timeout, hardTimeout))
	}
	if b != nil {
		b.open++
	}
	return p
}

func (r *relay) frontNotification(h mcp.Header, frame []byte) {
	if h.Method == methodCancelled && !r.frontCancels(h) {
		return
	}
	if r.limitBack && len(frame) > mcp.MaxMessage {
		r.log.Warn().Str("method", h.Method).Int("size", len(frame)).Msg("notification too large, dropped")
		return
	}
	if !r.reachable() {
		r.log.Debug().Str("method", h.Method).Msg("notification without a server, dropped")
		return
	}
	r.toBack = append(r.toBack, frame)
}

// frontCancels takes the named request off the table and reports whether the
// cancellation is to be passed on. An answered request has nothing to cancel,
// and initialize must not be cancelled.
func (r *relay) frontCancels(h mcp.Header) bool {
	p := r.requests.get(h.RequestID)
	if p == nil || p.method == methodInitialize {
		return false
	}
	r.requests.take(h.RequestID)
	if p.batch != nil {
		r.tell(p.batch.done(nil))
	}
	return true
}

func (r *relay) frontResponse(h mcp.Header, frame []byte) {
	p := r.reverse.take(h.ID)
	if p == nil {
		return // late: answered by the bridge, cancelled, or of a lost back
	}
	r.reverseDone(p)
	if r.limitBack && len(frame) > mcp.MaxMessage {
		frame = mcp.ErrorResponse(p.id, mcp.CodeInternal, (&mcp.SizeError{Size: len(frame)}).Error())
	}
	r.answerBack(frame)
}

// frontTooLong handles a message of the front that its reader threw away.
func (r *relay) frontTooLong(e *stdio.TooLongError) {
	switch {
	case e.ID == nil && e.Method:
		r.log.Warn().Int("size", e.Size).Msg("notification too large, dropped")
	case e.ID == nil:
		r.tell(mcp.ErrorResponse(nil, mcp.CodeParse, e.Error()))
	case e.Method:
		r.tell(mcp.ErrorResponse(e.ID, mcp.CodeInternal, e.Error()))
	default:
		if p := r.reverse.take(e.ID); p != nil {
			r.answerBack(mcp.ErrorResponse(p.id, mcp.CodeInternal, e.Error()))
		}
	}
}

// refuse answers a frame that is no message.
func (r *relay) refuse(id []byte, b *batch, err error) {
	code := mcp.CodeInvalidRequest
	if e, ok := err.(*mcp.ScanError); ok {
		code = e.Code
	}
	if b != nil {
		b.open++
	}
	r.answerFront(&pending{batch: b}, mcp.ErrorResponse(id, code, err.Error()))
}

// answerFront sends the answer to a request of the front, by itself or as part
// of its array.
func (r *relay) answerFront(p *pending, answer []byte) {
	if p.batch != nil {
		answer = p.batch.done(answer)
	}
	r.tell(answer)
}

// tell queues a message to the front; nil is none.
func (r *relay) tell(msg []byte) {
	if msg != nil {
		r.toFront = append(r.toFront, msg)
	}
}
