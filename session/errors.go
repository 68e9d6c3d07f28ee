package session

import (
	"errors"
	"fmt"
	"net"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// Code is the kind of an [Error].
type Code int

const (
	_                  Code = iota
	CodeClosed              // closed by us
	CodeClosedByPeer        // the peer said farewell
	CodeTimeout             // no answer in time
	CodeNoPeer              // nobody answered for the name
	CodePeerGone            // the peer vanished
	CodeRejected            // refused by policy, ours or the peer's
	CodeUnacknowledged      // the peer did not acknowledge a message
	CodeTooLarge            // above MaxPayload
	CodeLinkDown            // no link to the node
	CodeSecurity            // MLS or identity refused
	CodeMessagesLost        // a gap in the stream; the session goes on
	CodeInvalid             // the caller asked for something impossible
	CodeRemoved             // the moderator removed us from the group
	CodeState               // Config.State failed, or does not fit
)

var codeTexts = map[Code]string{
	CodeClosed:         "session closed",
	CodeClosedByPeer:   "session closed by the peer",
	CodeTimeout:        "no answer in time",
	CodeNoPeer:         "nobody answers",
	CodePeerGone:       "the peer is gone",
	CodeRejected:       "rejected",
	CodeUnacknowledged: "not acknowledged",
	CodeTooLarge:       "message too large",
	CodeLinkDown:       "no link to the node",
	CodeSecurity:       "refused for security",
	CodeMessagesLost:   "messages lost",
	CodeInvalid:        "invalid request",
	CodeRemoved:        "removed from the group",
	CodeState:          "the state cannot be kept",
}

// String is the code in a few words.
func (c Code) String() string { return codeTexts[c] }

// ends reports whether the code ends a session.
func (c Code) ends() bool {
	switch c {
	case CodeUnacknowledged, CodeTooLarge, CodeMessagesLost, CodeTimeout, CodeInvalid:
		return false
	}
	return true
}

// Error is the error of all methods of this package, besides those of contexts.
// Errors that end a session are also net.ErrClosed. Compare with
//
//	errors.Is(err, &session.Error{Code: session.CodeNoPeer})
type Error struct {
	Code   Code
	Remote bool      // the peer's doing
	Peer   name.Name // zero if not about one peer
	Err    error     // cause, may be nil
}

// Error is one line: what happened, to whom, why.
func (e *Error) Error() string {
	if e.Code == CodeNoPeer && e.Err != nil {
		return e.Err.Error()
	}
	s := "slim: " + e.Code.String()
	if !e.Peer.IsZero() {
		s += " (" + e.Peer.Path() + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause, and net.ErrClosed for what ends a session.
func (e *Error) Unwrap() []error {
	var errs []error
	if e.Code.ends() {
		errs = append(errs, net.ErrClosed)
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}

// Is compares by code.
func (e *Error) Is(target error) bool {
	o, ok := target.(*Error)
	return ok && o.Code == e.Code
}

func noPeer(peer name.Name, node string) *Error {
	return &Error{Code: CodeNoPeer, Peer: peer, Err: fmt.Errorf(
		"no SLIM app named %s is reachable through %s: is it running there, and does it use the same secret?", peer.Path(), node)}
}

func invalid(format string, args ...any) error {
	return &Error{Code: CodeInvalid, Err: fmt.Errorf(format, args...)}
}

var errReserved = errors.New(`metadata keys with the prefix "slim-" are reserved for the protocol`)
