package mcp

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// pipeQueue is how many messages wait in each direction of a pipe before a
// writer blocks.
const pipeQueue = 64

// Pipe is one end of an in-memory session, for tests and for a client and a
// server in one process.
type Pipe struct {
	peer    name.Name
	in      <-chan []byte
	out     chan<- []byte
	shared  *pipeState
	backlog [][]byte // rest of an array; the reader's
}

// pipeState is common to both ends.
type pipeState struct {
	done chan struct{}
	once sync.Once
	err  error // why it ended; set before done is closed
}

func (s *pipeState) end(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.done)
	})
}

// NewPipe returns the two ends of an in-memory session between the apps a and b.
// The first belongs to a.
func NewPipe(a, b name.Name) (*Pipe, *Pipe) {
	there, back := make(chan []byte, pipeQueue), make(chan []byte, pipeQueue)
	shared := &pipeState{done: make(chan struct{})}
	return &Pipe{peer: b, in: back, out: there, shared: shared},
		&Pipe{peer: a, in: there, out: back, shared: shared}
}

// ReadFrame implements [Conn]. What was queued before the end is still read.
func (p *Pipe) ReadFrame(ctx context.Context) ([]byte, error) {
	if len(p.backlog) == 0 {
		frame, err := p.receive(ctx)
		if err != nil {
			return nil, err
		}
		p.backlog = Split(frame)
	}
	frame := p.backlog[0]
	p.backlog = p.backlog[1:]
	return frame, nil
}

func (p *Pipe) receive(ctx context.Context) ([]byte, error) {
	select {
	case frame := <-p.in:
		return frame, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.shared.done:
	}
	select {
	case frame := <-p.in:
		return frame, nil
	default:
		return nil, p.shared.err
	}
}

// WriteFrame implements [Conn].
func (p *Pipe) WriteFrame(ctx context.Context, msg []byte) error {
	if err := CheckSize(msg); err != nil {
		return err
	}
	select {
	case <-p.shared.done:
		return net.ErrClosed
	default:
	}
	select {
	case p.out <- msg:
		return nil
	case <-p.shared.done:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close implements [Conn]: both ends are closed.
func (p *Pipe) Close() error {
	p.shared.end(io.EOF)
	return nil
}

// Lose ends the session as a vanished peer would: both ends see a
// [*SessionLostError] with this cause.
func (p *Pipe) Lose(cause error) { p.shared.end(&SessionLostError{Err: cause}) }

// Peer implements [Conn].
func (p *Pipe) Peer() name.Name { return p.peer }

// SessionID implements [Conn]; it is 1 at both ends.
func (p *Pipe) SessionID() session.ID { return 1 }

// Done implements [Conn].
func (p *Pipe) Done() <-chan struct{} { return p.shared.done }

var _ Conn = (*Pipe)(nil)
