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
	once  sync.Once
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
	l.once.Do(func() {
		l.app.mu.Lock()
		l.app.listener = nil
		l.app.mu.Unlock()
		close(l.done)
		for {
			select {
			case s := <-l.queue:
				s.leave()
			default:
				return
			}
		}
	})
	return nil
}

// offer queues an opened session; a full backlog turns it away.
func (l *Listener) offer(s *Session) bool {
	select {
	case <-l.done:
		return false
	default:
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
