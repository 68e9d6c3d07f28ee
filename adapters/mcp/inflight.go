package mcp

import (
	"context"
	"fmt"
	"sync"
)

// inflight knows the running requests of a peer, so that a cancellation that
// arrives right behind its request still finds it. The zero value is ready; it is
// safe for concurrent use.
type inflight struct {
	mu      sync.Mutex
	cancels map[string]context.CancelFunc
}

// begin registers a request. ok is false if its id is taken; else done must be
// called at its end.
func (f *inflight) begin(parent context.Context, id []byte) (ctx context.Context, done func(), ok bool) {
	key := IDKey(id)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancels[key] != nil {
		return nil, nil, false
	}
	if f.cancels == nil {
		f.cancels = make(map[string]context.CancelFunc)
	}
	ctx, cancel := context.WithCancel(parent)
	f.cancels[key] = cancel
	return ctx, func() {
		cancel()
		f.mu.Lock()
		delete(f.cancels, key)
		f.mu.Unlock()
	}, true
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
