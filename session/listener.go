package session

import "context"

// Listener hands out the sessions that others open with us. Safe for
// concurrent use.
type Listener struct {
	app  *App
	opts ListenOptions
	backlog[*Session]
}

// Accept waits for the next session that is open and ready. It returns *Error
// with CodeClosed after Close, or the error of ctx.
func (l *Listener) Accept(ctx context.Context) (*Session, error) { return l.accept(ctx) }

// Close stops listening. Sessions that wait for Accept are closed; accepted
// ones live on.
func (l *Listener) Close() error {
	l.app.mu.Lock()
	if l.app.listener == l {
		l.app.listener = nil
	}
	l.app.mu.Unlock()
	l.close()
	return nil
}

// full reports whether another session may not be opened.
func (l *Listener) full() bool {
	l.app.mu.Lock()
	defer l.app.mu.Unlock()
	return len(l.app.sessions)+int(l.app.unread.sessions.Load()) >= l.opts.MaxSessions || l.app.halfOpen >= maxHalfOpen
}
