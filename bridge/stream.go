package bridge

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/slimbridge/slimbridge/bridge/stdio"
)

// inbound is what a reader hands to the pump.
type inbound struct {
	frame []byte
	err   error
}

// stream is a frame pipe with its reader and its writer. Neither channel is
// buffered: the queue is the outbox, which belongs to the pump.
type stream struct {
	pipe    FramePipe
	in      chan inbound
	out     chan []byte
	failed  chan error // the writer's, at most one
	cancel  context.CancelFunc
	reading sync.WaitGroup
	written chan struct{} // closed when the writer has ended
}

func openStream(pipe FramePipe) *stream {
	ctx, cancel := context.WithCancel(context.Background()) // ends with close
	s := &stream{
		pipe: pipe, cancel: cancel,
		in: make(chan inbound), out: make(chan []byte), failed: make(chan error, 1),
		written: make(chan struct{}),
	}
	s.reading.Go(func() { s.read(ctx) })
	go s.write(ctx) // close waits for written
	return s
}

func (s *stream) read(ctx context.Context) {
	for {
		frame, err := s.pipe.ReadFrame(ctx)
		select {
		case s.in <- inbound{frame, err}:
		case <-ctx.Done():
			return
		}
		if tooLong := (*stdio.TooLongError)(nil); err != nil && !errors.As(err, &tooLong) {
			return
		}
	}
}

func (s *stream) write(ctx context.Context) {
	defer close(s.written)
	broken := false
	for msg := range s.out {
		if broken {
			continue
		}
		if err := s.pipe.WriteFrame(ctx, msg); err != nil {
			s.failed <- err
			broken = true
		}
	}
}

// close gives the writer until grace to finish the message in its hands, then
// closes the pipe and waits for both goroutines. A writer that even Close does
// not free, because nobody reads a terminal's output, is left behind.
func (s *stream) close(grace time.Duration) {
	close(s.out)
	wait(s.written, grace)
	s.cancel()
	_ = s.pipe.Close() // the end is certain either way
	s.reading.Wait()
	wait(s.written, flushTimeout)
}

func wait(done <-chan struct{}, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
