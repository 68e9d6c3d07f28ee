package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// typeSink marks messages that our own echo app counts instead of returning.
const typeSink = "bench-sink"

// quiet is when an unreliable stream is taken for over.
const quiet = time.Second

// echoApp returns what it gets, except sink messages.
type echoApp struct {
	app    *session.App
	cancel context.CancelFunc
	wg     sync.WaitGroup
	sunk   chan arrival // full: the session waits
}

// arrival of a sink message. Late ones of the case before are told by id.
type arrival struct {
	id session.ID
	at time.Time
}

func startEcho(ctx context.Context, p *program, node string, creds credentials) (*echoApp, error) {
	app, err := p.dialApp(ctx, name.MustParse("local/bench/echo"), node, creds)
	if err != nil {
		return nil, err
	}
	listener, err := app.Listen(session.ListenOptions{Security: session.AllowPlain})
	if err != nil {
		return nil, errors.Join(err, app.Close())
	}
	e := &echoApp{app: app, sunk: make(chan arrival, 1024)}
	ctx, e.cancel = context.WithCancel(ctx)
	e.wg.Go(func() {
		for {
			s, err := listener.Accept(ctx)
			if err != nil {
				return
			}
			e.wg.Go(func() { e.serve(ctx, s) })
		}
	})
	return e, nil
}

// serve ends with the session.
func (e *echoApp) serve(ctx context.Context, s *session.Session) {
	for {
		m, err := s.Receive(ctx)
		switch {
		case errors.Is(err, &session.Error{Code: session.CodeMessagesLost}):
			continue
		case err != nil:
			return
		case m.Type == typeSink:
			select {
			case e.sunk <- arrival{s.ID(), time.Now()}:
			case <-ctx.Done():
				return
			}
		default:
			if _, err := s.Reply(ctx, m, session.Message{Payload: m.Payload}); err != nil {
				return
			}
		}
	}
}

func (e *echoApp) close() {
	e.cancel()
	_ = e.app.Close()
	e.wg.Wait()
}

// measure runs one case in a session of its own.
func (b *bench) measure(ctx context.Context, app *session.App, target name.Name, sink *echoApp, c benchCase) (benchResult, error) {
	r := benchResult{Case: c.String(), Size: c.size, MLS: c.mls, Reliable: c.reliable, Node: b.endpoint, To: target.Path(), N: b.n}
	opening, cancel := context.WithTimeoutCause(ctx, b.timeout, fmt.Errorf(
		"no answer from %s within %v: is it running at %s, and do both sides trust each other (same secret, or keys that vouch for both)?", target.Path(), b.timeout, b.endpoint))
	defer cancel()
	s, err := app.Open(opening, target, c.options())
	if err != nil {
		return r, err
	}
	defer func() { _ = s.Close() }()
	if err := b.roundTrips(ctx, s, c.size, &r); err != nil {
		return r, err
	}
	switch {
	case sink != nil:
		err = b.intoSink(ctx, s, sink, c, &r)
	case c.reliable:
		err = b.acknowledged(ctx, s, c, &r)
	}
	return r, err
}

// roundTrips sends one message at a time and waits for its echo.
func (b *bench) roundTrips(ctx context.Context, s *session.Session, size int, r *benchResult) error {
	payload := make([]byte, size)
	rand.Read(payload) // never fails
	warm := min(b.n, 20)
	var took []time.Duration
	var begin time.Time
	for i := range warm + b.n {
		if i == warm {
			begin, r.Lost = time.Now(), 0
		}
		start := time.Now()
		err := b.roundTrip(ctx, s, number(payload, i), r.Reliable)
		switch {
		case err == nil && i >= warm:
			took = append(took, time.Since(start))
		case errors.Is(err, errNoEcho) && !r.Reliable:
			r.Lost++
		case err != nil:
			return fmt.Errorf("message %d: %w", i+1, err)
		}
	}
	if len(took) == 0 {
		return errNoEcho
	}
	r.setRoundTrips(took, time.Since(begin))
	return nil
}

var errNoEcho = errors.New("no echo in time: is it an app that sends back what it gets? (--timeout)")

// roundTrip passes over late echoes of an unreliable session, so it is no
// Request, which takes the next message whatever it is.
func (b *bench) roundTrip(ctx context.Context, s *session.Session, payload []byte, reliable bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, b.timeout, errNoEcho)
	defer cancel()
	if _, err := s.Publish(ctx, session.Message{Payload: payload}); err != nil {
		return err
	}
	for {
		m, err := s.Receive(ctx)
		switch {
		case err != nil:
			return err
		case bytes.Equal(m.Payload, payload):
			return nil
		case reliable:
			return fmt.Errorf("%s sent back %d bytes that are not the %d it got: it is no echo app", s.Peer().Path(), len(m.Payload), len(payload))
		}
	}
}

// number returns payload, which the session keeps, as a copy that differs from
// others as far as its size permits.
func number(payload []byte, i int) []byte {
	out := bytes.Clone(payload)
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(i))
	copy(out, n[:])
	return out
}

// intoSink streams to our own echo app and counts there.
func (b *bench) intoSink(ctx context.Context, s *session.Session, sink *echoApp, c benchCase, r *benchResult) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	start := time.Now()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if _, err := b.stream(ctx, s, c, typeSink); err != nil {
			cancel(err)
		}
	})
	limit := quiet
	if c.reliable {
		limit = b.timeout
	}
	got, last := 0, start
	silence := time.NewTimer(limit)
	defer silence.Stop()
	for got < b.n {
		select {
		case a := <-sink.sunk:
			if a.id == s.ID() {
				got, last = got+1, a.at
				silence.Reset(limit)
			}
			continue
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-silence.C:
		}
		if c.reliable {
			return fmt.Errorf("one-way: %d of %d messages arrived, then none for %v", got, b.n, limit)
		}
		break
	}
	r.setOneWay(got, last.Sub(start))
	return nil
}

// acknowledged streams to a foreign app, reads away the echoes and counts what
// was acknowledged.
func (b *bench) acknowledged(ctx context.Context, s *session.Session, c benchCase, r *benchResult) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for {
			if _, err := s.Receive(ctx); err != nil && !errors.Is(err, &session.Error{Code: session.CodeMessagesLost}) {
				return
			}
		}
	})
	start := time.Now()
	receipts, err := b.stream(ctx, s, c, session.DefaultPayloadType)
	if err != nil {
		return err
	}
	for _, receipt := range receipts {
		if err := receipt.Wait(ctx); err != nil {
			return err
		}
	}
	r.setOneWay(b.n, time.Since(start))
	return nil
}

func (b *bench) stream(ctx context.Context, s *session.Session, c benchCase, kind string) ([]*session.Receipt, error) {
	payload := make([]byte, c.size)
	rand.Read(payload) // never fails
	receipts := make([]*session.Receipt, 0, b.n)
	for range b.n {
		receipt, err := s.Publish(ctx, session.Message{Payload: payload, Type: kind})
		if err != nil {
			return nil, err
		}
		receipts = append(receipts, receipt)
	}
	return receipts, nil
}

// percentile of sorted durations, nearest rank.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

func (r *benchResult) setRoundTrips(took []time.Duration, total time.Duration) {
	slices.Sort(took)
	r.P50, r.P99 = millis(percentile(took, 50)), millis(percentile(took, 99))
	r.Rate = perSecond(len(took), total)
}

func (r *benchResult) setOneWay(got int, took time.Duration) {
	rate := perSecond(got, took)
	r.OneWay = &rate
	r.OneWayN = got
}

func perSecond(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
