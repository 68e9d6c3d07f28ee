package control

import (
	"github.com/slimbridge/slimbridge/session/internal/arq"
	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Type is the kind of a session message.
type Type = pb.SessionMessageType

// IsCommand reports whether t is a control message: signed, never encrypted.
func IsCommand(t Type) bool {
	return t >= pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REQUEST &&
		t <= pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REPLY
}

// MessageID is the id in a session header. Control messages draw theirs at
// random, data messages count from 1.
type MessageID uint32

// Event is what happens to a session: a message, a wish of the application, or
// the passing of time.
type Event interface{ event() }

type (
	// Start begins the discovery of an initiator, or the answer to a join.
	Start struct{}
	// Tick says that NextTimeout has been reached.
	Tick struct{}
	// LinkDown and LinkUp stop and resume all retransmission timers, since
	// nothing can be said on a link that is down.
	LinkDown struct{}
	LinkUp   struct{}
	// Publish sends an application message, if CanPublish.
	Publish struct{ Msg AppMessage }
	// Drain refuses new messages, lets pending ones finish, then says
	// farewell.
	Drain struct{}
	// Close says farewell at once.
	Close struct{}
	// Received is a message of the peer whose token, signatures and names
	// were verified as far as its type has them.
	Received struct{ Msg Inbound }
)

func (Start) event()    {}
func (Tick) event()     {}
func (LinkDown) event() {}
func (LinkUp) event()   {}
func (Publish) event()  {}
func (Drain) event()    {}
func (Close) event()    {}
func (Received) event() {}

// AppMessage is an application message in plain form.
type AppMessage struct {
	Type     string
	Payload  []byte
	Metadata map[string]string
}

// size counts all that a peer can make long.
func (a AppMessage) size() int {
	n := len(a.Payload) + len(a.Type) + 64
	for k, v := range a.Metadata {
		n += len(k) + len(v) + 64
	}
	return n
}

// Inbound is one message as it arrived.
type Inbound struct {
	Type     Type
	ID       MessageID
	From     name.Name
	Subject  string // of the verified token
	Key      []byte // public key in the verified token
	Command  *pb.CommandPayload
	App      *pb.ApplicationPayload // still encrypted in MLS sessions
	Metadata map[string]string
	AAD      []byte // of its header, to compare with the authenticated data
	Lost     bool   // header flag error: an RTX_REPLY without the message
}

// Outbound is one message to be sent. Whoever sends it adds source, token and
// signatures; Encrypt says that the payload goes through [Machine.Seal].
type Outbound struct {
	Type     Type
	ID       MessageID
	To       name.Name
	Command  *pb.CommandPayload
	App      AppMessage
	Metadata map[string]string
	Encrypt  bool
	Lost     bool
	// BareSource leaves the strings out of the source name: the answer to a
	// REJOIN_REPLY would else hit upstream's replay cache and wedge it.
	BareSource bool
	// Urgent goes before everything that is not encrypted yet: it brings the
	// keys with which the rest will be.
	Urgent bool
}

// Output is what a step wants done, in this order.
type Output struct {
	Send    []Outbound
	Deliver []Delivery
	Settled []Settled
	// PeerFound is the instance that answered discovery.
	PeerFound *name.Name
	// Opened: both sides may exchange messages from now on.
	Opened bool
	// Dropped names why an incoming message was ignored, for counters and
	// logs; it never contains peer data.
	Dropped string
	// Rotated: the group moved to a new epoch.
	Rotated bool
	// PublishedID is the id given to a Publish event.
	PublishedID arq.MessageID
	// Ended is set once, when the session is over.
	Ended *End
}

// Delivery is an item for the application: a message, or a gap.
type Delivery struct {
	From    name.Name
	Msg     AppMessage
	Subject string
	// Direct: sent to us alone, outside the order of the stream.
	Direct bool
	// Missing counts messages of the sender that were lost for good at this
	// place.
	Missing int
}

// Settled tells the fate of a published message.
type Settled struct {
	ID           arq.MessageID
	Acknowledged bool
}

// Reason is why a session ended.
type Reason int

const (
	_            Reason = iota
	Closed              // by us
	ClosedByPeer        // farewell received
	NoPeer              // nobody answered discovery
	NoAnswer            // the peer stopped answering while joining
	PeerGone            // EndWhenLost: unacknowledged, or silent
	LinkLost            // EndWhenLost: link down for too long
	HalfOpen            // a join was never followed by a welcome
	Rejected            // the peer is not the wanted one
	CryptoFailed        // MLS refused what the peer sent while joining
)

// End says why and how a session ended.
type End struct {
	Reason Reason
	Cause  error
}
