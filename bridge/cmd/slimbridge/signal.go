package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal syscall.Signal }

func (e *signalError) Error() string { return e.signal.String() }

// code is the exit code that shells expect.
func (e *signalError) code() int { return 128 + int(e.signal) }

// watchSignals returns a context that the first SIGINT, SIGTERM or SIGHUP
// cancels with a [signalError]. The second one calls exit at once. stop
// restores the default behaviour and waits for the goroutine.
//
// SIGPIPE is caught too and forgotten: a write to a closed standard output or
// error is then an error like any other instead of the end of the program,
// which may have children to stop. It is caught rather than ignored because
// children inherit ignored signals.
func watchSignals(parent context.Context, exit func(code int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for first := true; ; first = false {
			select {
			case <-quit:
				return
			case s := <-signals:
				e := &signalError{s.(syscall.Signal)}
				if !first {
					exit(e.code())
				}
				cancel(e)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(pipes)
		close(quit)
		<-done
		cancel(nil)
	}
}
