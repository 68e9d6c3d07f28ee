package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

// usageError is a mistake in the command line or the environment.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// conclude prints err, if there is one, and returns the exit code.
func (p *program) conclude(ctx context.Context, cmd *cobra.Command, err error) int {
	var usage *usageError
	var sig *signalError
	isUsage := !p.running || errors.As(err, &usage)
	signalled := errors.As(context.Cause(ctx), &sig)
	switch {
	case err == nil || signalled && (errors.Is(err, context.Canceled) || errors.As(err, new(*signalError))):
	case isUsage:
		fmt.Fprintf(p.stderr, "slimbridge: %s\nsee %s --help\n", oneLine(err), cmd.CommandPath())
	default:
		fmt.Fprintf(p.stderr, "slimbridge: %s\n", oneLine(err))
	}
	switch {
	case signalled:
		return sig.code()
	case err == nil:
		return 0
	case isUsage:
		return exitUsage
	}
	return exitFailure
}

// oneLine is the text of err without line breaks, which joined errors have.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines, "; ")
}

// nodeError says that a node cannot be reached and what to do about it.
type nodeError struct {
	text string
	err  error
}

func (e *nodeError) Error() string { return e.text }
func (e *nodeError) Unwrap() error { return e.err }

// unreachable words the failure of session.Dial.
func unreachable(node string, err error) error {
	var e *session.Error
	text := fmt.Sprintf("cannot reach a SLIM node at %s: ", node)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		text += "connection refused; start one with `slimbridge node`"
	case errors.As(err, &e) && e.Code == session.CodeLinkDown && e.Err != nil:
		text += cause(e.Err.Error(), node) + "; check --node and " + envNode
	default:
		return fmt.Errorf("SLIM node at %s: %w", node, err)
	}
	return &nodeError{text, err}
}

// cause takes what the user knows already off the error of a link.
func cause(text, node string) string {
	for _, known := range []string{"link ", "dial: ", "negotiate: ", node + ": "} {
		text = strings.TrimPrefix(text, known)
	}
	if strings.Contains(text, "server preface") {
		return "what listens there does not speak gRPC, so it is no SLIM node"
	}
	return text
}
