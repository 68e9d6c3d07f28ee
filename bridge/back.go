package bridge

import (
	"fmt"
	"time"

	"github.com/slimbridge/slimbridge/adapters/mcp"
)

// openBack starts opening the back, unless it is open or being opened.
func (r *relay) openBack() {
	r.reopenAt = time.Time{}
	if r.back != nil || r.opening {
		return
	}
	r.opening = true
	r.jobs.Go(func() { r.opens <- r.open(r.ctx) })
}

// probeBack does the same for a peer of unknown era, with the host's own
// server/discover as its first message.
func (r *relay) probeBack(id, discover []byte) {
	r.opening, r.probing = true, id
	r.jobs.Go(func() { r.opens <- r.probe(r.ctx, discover) })
}

func (r *relay) onOpened(o opened) {
	probed := r.probing
	r.opening, r.probing = false, nil
	switch {
	case o.legacy:
		r.log.Info().Msg("peer speaks a legacy revision of MCP")
		r.era = EraLegacy
		if p := r.requests.take(probed); p != nil {
			answer := o.refusal
			if answer == nil {
				answer = discoverUnknown(p.id)
			}
			r.answerFront(p, answer)
		}
		if len(r.toBack) > 0 { // the rest of its batch
			r.openBack()
		}
	case o.err != nil:
		r.log.Warn().Err(o.err).Msg("cannot reach the MCP server")
		r.failRequests(o.err.Error())
		r.toBack = nil
		if r.eager || r.backoff > minBackoff { // a loss is being repaired
			r.planReopen()
		}
	case r.phase >= flushing:
		_ = o.pipe.Close() // too late to be of use
	default:
		if probed != nil {
			r.era = EraModern
		}
		r.met = true
		r.back = openStream(o.pipe)
		for _, frame := range o.early {
			r.fromBack(frame)
		}
	}
}

// loseBack is the end of the back, orderly or not: for those who wait it is the
// same.
func (r *relay) loseBack(err error) {
	text := r.lost(err)
	r.log.Warn().Err(err).Msg("MCP server lost")
	r.closeBack()
	r.lostErr, r.lostBy = nil, time.Time{}
	r.reverse.takeAll()
	r.toBack = nil
	r.failRequests(text)
	switch {
	case r.phase != running:
	case r.legacy:
		r.err = fmt.Errorf("%w: %s", ErrSessionLost, text)
		r.enter(flushing, flushTimeout)
	default:
		r.planReopen()
	}
}

func (r *relay) planReopen() {
	if r.phase == running {
		r.reopenAt = time.Now().Add(r.backoff)
		r.backoff = min(2*r.backoff, maxBackoff)
	}
}

// closeBack gives up the back without waiting: a farewell over SLIM or a child
// that does not stop takes seconds. shutdown waits.
func (r *relay) closeBack() {
	if s := r.back; s != nil {
		r.back = nil
		r.jobs.Go(func() { s.close(flushTimeout) })
	}
}

// reachable reports whether a message queued for the back has a chance to get
// there.
func (r *relay) reachable() bool { return r.back != nil || r.opening || !r.reopenAt.IsZero() }

// failRequests answers all requests of the front with an error.
func (r *relay) failRequests(text string) {
	for _, p := range r.requests.takeAll() {
		r.answerFront(p, mcp.ErrorResponse(p.id, mcp.CodeInternal, text))
	}
}

func discoverUnknown(id []byte) []byte {
	return mcp.ErrorResponse(id, mcp.CodeMethodNotFound, "Method not found: "+methodDiscover)
}
