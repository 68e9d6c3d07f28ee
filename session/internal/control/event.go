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
	// Publish sends an application message to the peer or the whole group,
	// if CanPublish.
	Publish struct{ Msg AppMessage }
	// PublishTo sends an application message to one member of a group, if
	// CanPublishTo. Members that see it can read it: it is not secret in the
	// group.
	PublishTo struct {
		To  name.Name
		Msg AppMessage
	}
	// Invite looks for an instance of Name and adds it to the group. Subject,
	// if set, is the only verified subject admitted. Moderator only.
	Invite struct {
		Op      Op
		Name    name.Name
		Subject string
	}
	// Remove takes a member out; an id in Name is ignored, since no two
	// members have the same service name. Moderator only. Force commits even
	// if another member is known to be lost by it, see [StaleError].
	Remove struct {
		Op    Op
		Name  name.Name
		Force bool
	}
	// SoftClose leaves the group without leaving its roster. Until [Rejoin]
	// nothing is sent or received.
	SoftClose struct{ Op Op }
	Rejoin    struct{ Op Op }
	// Subscribed answers Output.Subscribe.
	Subscribed struct{ Err error }
	// Drain refuses new messages, lets pending ones finish, then says
	// farewell.
	Drain struct{}
	// Close says farewell at once.
	Close struct{}
	// Received is a message of the peer whose token, signatures and names
	// were verified as far as its type has them.
	Received struct{ Msg Inbound }
)

func (Start) event()      {}
func (Tick) event()       {}
func (LinkDown) event()   {}
func (LinkUp) event()     {}
func (Publish) event()    {}
func (PublishTo) event()  {}
func (Invite) event()     {}
func (Remove) event()     {}
func (SoftClose) event()  {}
func (Rejoin) event()     {}
func (Subscribed) event() {}
func (Drain) event()      {}
func (Close) event()      {}
func (Received) event()   {}

// Op is the driver's number for an operation, given back in [Done].
type Op uint64

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
	Type Type
	ID   MessageID
	To   name.Name
	// Broadcast: To is a channel, all its subscribers are to get it.
	Broadcast bool
	Command   *pb.CommandPayload
	App       AppMessage
	Metadata  map[string]string
	Encrypt   bool
	Lost      bool
	// BareSource leaves the strings out of the source name: the answer to a
	// REJOIN_REPLY would else hit upstream's replay cache and wedge it.
	BareSource bool
	// Urgent goes before everything that is not encrypted yet: it brings the
	// keys with which the rest will be.
	Urgent bool
}

// Output is what a step wants done, in this order.
type Output struct {
	// Subscribe asks for the subscription of channel and control; [Subscribed]
	// tells the outcome. Unsubscribe ends it, without waiting for Send. With
	// Ended it ends too, after Send.
	Subscribe   bool
	Unsubscribe bool
	Send        []Outbound
	Deliver     []Delivery
	Settled     []Settled
	// PeerFound is the instance that answered discovery.
	PeerFound *name.Name
	// Opened: both sides may exchange messages from now on.
	Opened bool
	// Dropped names why an incoming message was ignored, for counters and
	// logs; it never contains peer data.
	Dropped string
	// Rotated: the group moved to a new epoch.
	Rotated bool
	// PublishedID is the id given to a Publish or PublishTo event.
	PublishedID arq.MessageID
	// Members tells what happened to other members of a group.
	Members []MemberChange
	// Done are the operations that are over.
	Done []Done
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
	ID arq.MessageID
	// Acknowledged by everybody who was there and still is a member.
	Acknowledged bool
	// Missing are the members of a group that did not acknowledge.
	Missing []name.Name
}

// Done tells the outcome of an operation.
type Done struct {
	Op  Op
	Err error
}

// MemberChange is news of another member of a group.
type MemberChange struct {
	Name    name.Name
	Subject string // verified, empty if not known yet
	What    News
	Err     error // with Blocked
}

// News is what a [MemberChange] tells.
type News int

const (
	_        News = iota
	Joined        // it is in the group now
	Left          // it left by itself
	Expelled      // the moderator removed it
	Offline       // it is silent, does not acknowledge, or soft-closed
	Online        // it is back
	Blocked       // a change it needs is not made, Err says why; on the moderator
)

// RosterEntry is one member of a session as the application sees it.
type RosterEntry struct {
	Name      name.Name
	Subject   string // verified, empty if not known yet
	Online    bool
	Self      bool
	Moderator bool
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
	Removed             // from the group, by its moderator
)

// End says why and how a session ended.
type End struct {
	Reason Reason
	Cause  error
}
