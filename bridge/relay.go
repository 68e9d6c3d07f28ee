package bridge

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge/stdio"
)

// Methods the pump knows.
const (
	methodInitialize = "initialize"
	methodDiscover   = "server/discover"
	methodListen     = "subscriptions/listen"
	methodPing       = "ping"
	methodCancelled  = "notifications/cancelled"
	methodProgress   = "notifications/progress"
)

// opened is a new back, with what was already read from it.
type opened struct {
	pipe   FramePipe
	err    error
	early  [][]byte // frames to handle first
	legacy bool     // a probe found a legacy peer: no pipe, no error
	// refusal is the legacy peer's own "method not found" to the probe, if it sent one.
	refusal []byte
}

// relayConfig is the difference between the two sides of the bridge.
type relayConfig struct {
	front   FramePipe
	open    func(ctx context.Context) opened
	probe   func(ctx context.Context, discover []byte) opened // nil: never
	timeout time.Duration                                     // 0: none
	drain   time.Duration                                     // for requests in flight when the front ends by itself
	era     PeerEra
	lost    func(err error) string // how to say that the back ended

	eager      bool // open the back at once, and again after each failure
	collect    bool // answer an array with an array
	limitFront bool // the front is SLIM: MaxMessage applies
	limitBack  bool // the back is SLIM
	log        zerolog.Logger
}

// phase is the life of a relay; it only moves forward.
type phase uint8

const (
	running  phase = iota
	draining       // the front ended: wait for answers
	flushing       // write what is left to the front
	finished
)

// relay is the pump between a front and a back. All fields belong to the
// goroutine in run.
type relay struct {
	relayConfig
	front, back       *stream // back is nil while there is none
	toFront, toBack   [][]byte
	requests, reverse table // front to back, back to front

	phase   phase
	phaseBy time.Time // when draining or flushing ends
	err     error     // result of run

	opening  bool
	probing  []byte // id of the probe; nothing is read from the front meanwhile
	opens    chan opened
	reopenAt time.Time // zero: not planned
	lostErr  error     // why the back takes nothing any more
	lostBy   time.Time // until when what it has already said is read; zero: it takes messages
	warned   time.Time // last warning about what is no message
	backoff  time.Duration
	met      bool // a back has been open
	legacy   bool // the front has sent initialize

	jobs   sync.WaitGroup // opening and closing backs
	cancel context.CancelFunc
	ctx    context.Context // ends with run: for opening
}

// run pumps until the front ends, ctx is done, or a legacy session is lost.
func (c relayConfig) run(ctx context.Context) error {
	r := &relay{
		relayConfig: c, requests: newTable(), reverse: newTable(),
		opens: make(chan opened, 1), backoff: minBackoff,
	}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.front = openStream(c.front)
	if c.eager {
		r.openBack()
	}
	r.loop(ctx.Done())
	r.shutdown()
	return r.err
}

func (r *relay) loop(stop <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		if r.tick(now); r.phase == finished {
			return
		}
		var due <-chan time.Time
		if at := r.nextTimeout(); !at.IsZero() {
			timer.Reset(at.Sub(now))
			due = timer.C
		}
		select {
		case m := <-r.frontIn():
			r.onFront(m)
		case m := <-r.backIn():
			r.onBack(m)
		case r.frontOut() <- head(r.toFront):
			r.toFront = tail(r.toFront)
		case r.backOut() <- head(r.toBack):
			r.toBack = tail(r.toBack)
		case err := <-r.front.failed:
			r.log.Debug().Err(err).Msg("front does not take messages any more")
			r.phase = finished
		case err := <-r.backFailed():
			// Answers may be on their way still: the reader says when it is over.
			r.lostErr, r.lostBy = err, time.Now().Add(lossGrace)
		case o := <-r.opens:
			r.onOpened(o)
		case <-stop:
			stop = nil
			r.endFront(drainTimeout)
		case <-due:
		}
	}
}

// The channels of the loop are nil, and so never ready, while the pump must not
// use them. A stream is not read while the queue it feeds is full. The queue it
// may be answered through has more room: a server that handles one request at a
// time must be able to write its response before it reads on.

func (r *relay) frontIn() <-chan inbound {
	if r.phase != running || r.probing != nil || len(r.toBack) >= queueSize || len(r.toFront) >= queueSize+maxPending {
		return nil
	}
	return r.front.in
}

func (r *relay) backIn() <-chan inbound {
	if r.back == nil || r.phase >= flushing || len(r.toFront) >= queueSize || len(r.toBack) >= queueSize+maxPending {
		return nil
	}
	return r.back.in
}

func (r *relay) frontOut() chan<- []byte {
	if len(r.toFront) == 0 {
		return nil
	}
	return r.front.out
}

func (r *relay) backOut() chan<- []byte {
	if r.back == nil || len(r.toBack) == 0 || !r.lostBy.IsZero() {
		return nil
	}
	return r.back.out
}

func (r *relay) backFailed() <-chan error {
	if r.back == nil {
		return nil
	}
	return r.back.failed
}

func head(queue [][]byte) []byte {
	if len(queue) == 0 {
		return nil
	}
	return queue[0]
}

func tail(queue [][]byte) [][]byte {
	queue[0] = nil // may be megabytes
	return queue[1:]
}

// tick does what time and the phase ask for.
func (r *relay) tick(now time.Time) {
	r.expire(now)
	if !r.reopenAt.IsZero() && !now.Before(r.reopenAt) {
		r.openBack()
	}
	if !r.lostBy.IsZero() && !now.Before(r.lostBy) {
		r.loseBack(r.lostErr)
	}
	late := !r.phaseBy.IsZero() && !now.Before(r.phaseBy)
	if r.phase == draining && (late || !r.requests.busy() && len(r.toBack) == 0) {
		r.failRequests("the bridge is stopping")
		r.enter(flushing, flushTimeout)
		late = false
	}
	if r.phase == flushing && (late || len(r.toFront) == 0) {
		r.phase = finished
	}
}

func (r *relay) nextTimeout() time.Time {
	return earlier(earlier(earlier(r.requests.next, r.reverse.next), earlier(r.reopenAt, r.phaseBy)), r.lostBy)
}

func (r *relay) enter(p phase, limit time.Duration) {
	if p > r.phase {
		r.phase, r.phaseBy = p, time.Now().Add(limit)
	}
}

// endFront begins the orderly end: nothing more is read from the front, so the
// back's own requests cannot be answered any more.
func (r *relay) endFront(drain time.Duration) {
	for _, p := range r.reverse.takeAll() {
		r.answerBack(mcp.ErrorResponse(p.id, mcp.CodeInternal, "the other side has ended"))
	}
	r.reopenAt = time.Time{}
	r.enter(draining, drain)
}

func (r *relay) onFront(m inbound) {
	var tooLong *stdio.TooLongError
	switch {
	case m.err == nil:
		r.fromFront(m.frame)
	case errors.As(m.err, &tooLong):
		r.frontTooLong(tooLong)
	default:
		if !errors.Is(m.err, io.EOF) {
			r.log.Info().Err(m.err).Msg("front ended")
		}
		r.endFront(r.drain)
	}
}

func (r *relay) onBack(m inbound) {
	var tooLong *stdio.TooLongError
	switch {
	case m.err == nil:
		r.backoff = minBackoff
		r.fromBack(m.frame)
	case errors.As(m.err, &tooLong):
		r.backTooLong(tooLong)
	default:
		r.loseBack(m.err)
	}
}

// shutdown closes both streams and waits for everything that was started. The
// back goes first: it may take its time, while the front may be gone already.
func (r *relay) shutdown() {
	r.cancel()
	r.closeBack()
	r.front.close(flushTimeout)
	r.jobs.Wait()
	select {
	case o := <-r.opens: // opened too late
		if o.pipe != nil {
			_ = o.pipe.Close() // nobody used it
		}
	default:
	}
}
