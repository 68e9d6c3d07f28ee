package session

import (
	"errors"
	"fmt"
	"strings"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// Message is one application message.
type Message struct {
	Payload []byte
	// Type of the payload, authenticated but readable for nodes. Default "msg".
	Type string
	// Metadata is neither encrypted nor authenticated, also with MLS.
	Metadata map[string]string
	// Source and Subject are set on reception: who sent it, and the verified
	// subject of the MLS leaf that encrypted it (empty without MLS).
	Source  name.Name
	Subject string
	// Direct is set on reception of what a member of a group sent to us alone.
	Direct bool

	mark mark // of a received message that is stored
}

func (m Message) check() error {
	if len(m.Payload) > MaxPayload {
		return &Error{Code: CodeTooLarge, Err: fmt.Errorf("message of %d bytes exceeds the SLIM limit of %d bytes", len(m.Payload), MaxPayload)}
	}
	if len(m.Type) > name.MaxComponent {
		return invalid("payload type of %d bytes, at most %d are allowed", len(m.Type), name.MaxComponent)
	}
	return checkMetadata(m.Metadata)
}

func checkMetadata(md map[string]string) error {
	if len(md) > maxMetadata {
		return invalid("%d metadata entries, at most %d are allowed", len(md), maxMetadata)
	}
	size := 0
	for k, v := range md {
		if strings.HasPrefix(k, "slim-") {
			return invalid("metadata key %q: %w", k, errReserved)
		}
		size += len(k) + len(v)
	}
	if size > maxMetadataBytes {
		return invalid("%d bytes of metadata, at most %d are allowed", size, maxMetadataBytes)
	}
	return nil
}

var errTooLong = errors.New("message with too long a payload type or too much metadata")

// checkBounds holds a received application message within what we may send
// ourselves. Nothing in it is authenticated yet, and metadata never is.
func (in *incoming) checkBounds() error {
	size := 0
	for k, v := range in.metadata {
		size += len(k) + len(v)
	}
	if len(in.metadata) > maxMetadata || size > maxMetadataBytes ||
		len(in.publish.GetMsg().GetAppPayload().GetPayloadType()) > name.MaxComponent {
		return errTooLong
	}
	return nil
}

// Participant is one member of a session.
type Participant struct {
	Name      name.Name
	Subject   string // verified; empty if not known yet
	Online    bool   // as far as we know
	Self      bool
	Moderator bool // it opened the session
}
