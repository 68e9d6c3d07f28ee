package mls

import (
	"errors"
	"time"
)

// Kinds of errors. Every error of this package is an [*Error] that wraps one.
var (
	ErrMalformed     = errors.New("mls: malformed message")
	ErrUnsupported   = errors.New("mls: not supported")
	ErrWrongGroup    = errors.New("mls: message of another group")
	ErrWrongEpoch    = errors.New("mls: message of another epoch")
	ErrSignature     = errors.New("mls: signature or tag is wrong")
	ErrInvalidCommit = errors.New("mls: invalid commit")
	ErrInvalidLeaf   = errors.New("mls: invalid leaf")
	ErrInvalidTree   = errors.New("mls: invalid welcome or tree")
	ErrDecrypt       = errors.New("mls: cannot decrypt")
	ErrReplay        = errors.New("mls: message was already received")
	ErrTooFar        = errors.New("mls: too many messages skipped")
	ErrDuplicate     = errors.New("mls: duplicate in group")
	ErrRemoved       = errors.New("mls: we were removed from the group")
	ErrLifetime      = errors.New("mls: key package outside its lifetime")
)

// Error is a kind and a constant reason. Its text never contains bytes of
// messages, credentials or keys.
type Error struct {
	Kind   error
	Reason string
	// Cause is the error of a callback, nil otherwise.
	Cause error
	// RetryAt is set with ErrLifetime when the same call will succeed from
	// then on: the clock of a key package's maker is ahead of ours.
	RetryAt time.Time
}

func (e *Error) Error() string {
	text := e.Kind.Error()
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns the kind and, if there is one, the callback's error.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

func fail(kind error, reason string) error { return &Error{Kind: kind, Reason: reason} }
