package bridge

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
)

// starter starts processes from one goroutine that is locked to its thread. On
// Linux a child's parent-death signal fires when the thread that started it ends,
// and Go ends idle threads as it likes; this one ends with close.
type starter struct {
	requests chan startRequest
	once     sync.Once
	stop     chan struct{}
	stopped  chan struct{}
}

type startRequest struct {
	cmd  *exec.Cmd
	done chan error
}

func newStarter() *starter {
	s := &starter{requests: make(chan startRequest), stop: make(chan struct{}), stopped: make(chan struct{})}
	go s.run() // close waits
	return s
}

func (s *starter) run() {
	defer close(s.stopped)
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	for {
		select {
		case r := <-s.requests:
			r.done <- r.cmd.Start()
		case <-s.stop:
			return
		}
	}
}

// start runs cmd.Start, or returns os.ErrClosed after close.
func (s *starter) start(cmd *exec.Cmd) error {
	r := startRequest{cmd, make(chan error, 1)}
	select {
	case s.requests <- r:
		return <-r.done
	case <-s.stopped:
		return os.ErrClosed
	}
}

func (s *starter) close() {
	s.once.Do(func() { close(s.stop) })
	<-s.stopped
}
