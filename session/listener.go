package session

import (
	"context"
	"sync"
)

// Listener hands out the sessions that others open with us. Safe for
// concurrent use.
type Listener struct {
	app   *App
	opts  ListenOptions
	queue chan *Session
	done  chan struct{}
	mu    sync.Mutex // orders offer and Close
	over  bool
}

// Accept waits for the next session that is open and ready. It returns *Error
// with CodeClosed after Close, or the error of ctx.
func (l *Listener) Accept(ctx context.Context) (*Session, error) {
	select {
	case s := <-l.queue:
		return s, nil
	case <-l.done:
		return nil, &Error{Code: CodeClosed}
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close stops listening. Sessions that wait for Accept are closed; accepted
// ones live on.
func (l *Listener) Close() error {
	l.app.mu.Lock()
	if l.app.listener == l {
		l.app.listener = nil
	}
	l.app.mu.Unlock()
	l.mu.Lock()
	first := !l.over
	l.over = true
	l.mu.Unlock()
	if !first {
		return nil
	}
	close(l.done)
	for {
		select {
		case s := <-l.queue:
			s.leave()
		default:
			return nil
		}
	}
}

// offer queues an opened session; a full backlog turns it away.
func (l *Listener) offer(s *Session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	select {
	case l.queue <- s:
		return true
	default:
		return false
	}
}

// full reports whether another session may not be opened.
func (l *Listener) full() bool {
	l.app.mu.Lock()
	defer l.app.mu.Unlock()
	return len(l.app.sessions) >= l.opts.MaxSessions || l.app.halfOpen >= maxHalfOpen
}
