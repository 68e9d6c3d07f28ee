package mcp

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// maxConcurrent bounds the requests of one session that run at the same time, in
// either role, and as many answers again that are being sent. Further requests are
// answered with an error at once.
const maxConcurrent = 64

var (
	errBusy    = errors.New("too many requests at the same time")
	errRunning = errors.New("a request with this id is still running")
)

// inflight knows the running requests of a peer, so that a cancellation that
// arrives right behind its request still finds it. It is safe for concurrent use.
type inflight struct {
	running   chan struct{} // one token per running request
	answering chan struct{} // one token per answer that is being sent

	mu      sync.Mutex
	cancels map[string]context.CancelFunc
}

func newInflight() *inflight {
	return &inflight{
		running:   make(chan struct{}, maxConcurrent),
		answering: make(chan struct{}, maxConcurrent),
		cancels:   make(map[string]context.CancelFunc),
	}
}

// begin registers a request. It fails with errBusy, or with errRunning if the id
// is taken; else end must be called once with what sends the answer, or nil.
//
// end gives the id and the place of the request back before it sends: the peer
// may use both as soon as it has the answer. It waits while too many answers are
// being sent, so that a peer that does not read soon finds all places taken.
func (f *inflight) begin(parent context.Context, id []byte) (ctx context.Context, end func(answer func()), err error) {
	key := IDKey(id)
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case f.running <- struct{}{}:
	default:
		return nil, nil, errBusy
	}
	if f.cancels[key] != nil {
		<-f.running
		return nil, nil, errRunning
	}
	ctx, cancel := context.WithCancel(parent)
	f.cancels[key] = cancel
	return ctx, func(answer func()) {
		if answer != nil {
			f.answering <- struct{}{}
			defer func() { <-f.answering }()
		}
		cancel()
		f.mu.Lock()
		delete(f.cancels, key)
		f.mu.Unlock()
		<-f.running
		if answer != nil {
			answer()
		}
	}, nil
}

// cancel ends the context of a running request.
func (f *inflight) cancel(id []byte) {
	f.mu.Lock()
	cancel := f.cancels[IDKey(id)]
	f.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// lateValue is a value that is set some time after it is needed.
type lateValue[T any] struct {
	ready chan struct{} // closed once set
	state *lateState[T]
}

type lateState[T any] struct {
	mu    sync.Mutex
	set   bool
	value T
}

func newLateValue[T any]() lateValue[T] {
	return lateValue[T]{make(chan struct{}), new(lateState[T])}
}

func (v lateValue[T]) set(value T) {
	v.state.mu.Lock()
	defer v.state.mu.Unlock()
	v.state.value = value
	if !v.state.set {
		v.state.set = true
		close(v.ready)
	}
}

// get waits for the value.
func (v lateValue[T]) get(ctx context.Context) (value T, err error) {
	select {
	case <-v.ready:
	case <-ctx.Done():
		return value, ctx.Err()
	}
	v.state.mu.Lock()
	defer v.state.mu.Unlock()
	return v.state.value, nil
}

// sessionID names a session uniquely in this process.
func sessionID(c Conn) string { return fmt.Sprintf("%s/%d", c.Peer(), c.SessionID()) }
