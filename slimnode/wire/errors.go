package wire

import (
	"errors"
	"fmt"
)

// ErrMalformed is the cause of every error of [Parse] for bytes that are no
// protobuf Message at all: broken encoding, a known field of another wire type,
// text that is not UTF-8. Real peers end a link over such bytes, so a node must
// not pass them on, however deep they are hidden.
var ErrMalformed = errors.New("malformed message")

// ErrTooLarge is returned by [Encode] for a message above [MaxOriginated].
var ErrTooLarge = errors.New("message too large")

// Reason says which rule a well-formed message breaks.
type Reason uint8

// The reasons of an [InvalidError].
const (
	EmptyMessage         Reason = iota + 1 // no message_type
	DuplicateField                         // a singular field twice, or two of one oneof
	GroupField                             // the deprecated group encoding, which no peer sends
	NoHeader                               // Publish, Subscribe or Unsubscribe without header
	NoSource                               // source or its encoded name is absent
	NoDestination                          // destination or its encoded name is absent
	NoDestinationStrings                   // a Subscribe that would kill the reader of a real node
	NoSession                              // Publish without session header
)

// String describes the reason in a few words.
func (r Reason) String() string {
	switch r {
	case EmptyMessage:
		return "no message type"
	case DuplicateField:
		return "a field occurs twice"
	case GroupField:
		return "group encoding"
	case NoHeader:
		return "no header"
	case NoSource:
		return "no source name"
	case NoDestination:
		return "no destination name"
	case NoDestinationStrings:
		return "destination without str_name"
	case NoSession:
		return "no session header"
	}
	return "unknown reason"
}

// InvalidError is returned for a well-formed message that breaks a rule of the
// data plane: it is to be dropped, the link stays.
type InvalidError struct {
	Reason         Reason
	Kind           Kind   // 0 if there is none
	SubscriptionID uint64 // of a Subscribe or Unsubscribe, else 0
}

// Error implements error.
func (e *InvalidError) Error() string {
	return fmt.Sprintf("invalid %v: %v", e.Kind, e.Reason)
}

func malformed(what string) error {
	return fmt.Errorf("%w: %s", ErrMalformed, what)
}
