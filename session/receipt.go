package session

import (
	"context"
	"slices"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// Receipt tells what became of a published message. Safe for concurrent use.
type Receipt struct {
	done    chan struct{}
	peer    name.Name // zero for a message to a group
	missing []name.Name
	err     error // set, like missing, before done is closed
}

func newReceipt(peer name.Name) *Receipt { return &Receipt{done: make(chan struct{}), peer: peer} }

// Done is closed when the fate of the message is known.
func (r *Receipt) Done() <-chan struct{} { return r.done }

// Wait returns nil once everybody it was sent to has acknowledged (in an
// unreliable session: once the message was sent), *Error with
// CodeUnacknowledged if somebody never did or the session ended first, or the
// error of ctx. Members who left a group meanwhile are not waited for.
//
// Acknowledgements bear a token, but SLIM does not sign them: a node, or another
// member of a group, could make one up. What must be known for certain has to be
// said in a reply.
func (r *Receipt) Wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Missing lists the members of a group that did not acknowledge, once Done is
// closed; nil before.
func (r *Receipt) Missing() []name.Name {
	select {
	case <-r.done:
		return slices.Clone(r.missing)
	default:
		return nil
	}
}

// unacknowledged reports whether the message is known not to have arrived.
func (r *Receipt) unacknowledged() bool {
	select {
	case <-r.done:
		return r.err != nil
	default:
		return false
	}
}

func (r *Receipt) settle(s control.Settled) {
	if !s.Acknowledged {
		peer := r.peer
		if len(s.Missing) == 1 {
			peer = s.Missing[0]
		}
		r.missing, r.err = s.Missing, &Error{Code: CodeUnacknowledged, Peer: peer}
	}
	close(r.done)
}
