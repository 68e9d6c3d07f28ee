package session

import (
	"context"
	"sync"
)

// backlog holds the sessions of one kind that wait to be accepted.
type backlog[S interface{ leave() }] struct {
	queue chan S
	done  chan struct{}
	mu    sync.Mutex // orders offer and close
	over  bool
}

func (b *backlog[S]) open(size int) { b.queue, b.done = make(chan S, size), make(chan struct{}) }

func (b *backlog[S]) accept(ctx context.Context) (s S, err error) {
	select {
	case s := <-b.queue:
		return s, nil
	case <-b.done:
		return s, &Error{Code: CodeClosed}
	case <-ctx.Done():
		return s, context.Cause(ctx)
	}
}

// close turns away what waits, and everything later.
func (b *backlog[S]) close() {
	b.mu.Lock()
	first := !b.over
	b.over = true
	b.mu.Unlock()
	if !first {
		return
	}
	close(b.done)
	for {
		select {
		case s := <-b.queue:
			s.leave()
		default:
			return
		}
	}
}

// offer queues an opened session; a full backlog turns it away.
func (b *backlog[S]) offer(s S) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return false
	}
	select {
	case b.queue <- s:
		return true
	default:
		return false
	}
}
