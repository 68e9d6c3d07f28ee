package wire

// Sizes in bytes of one encoded Message.
const (
	// MaxMessage is the largest message a real peer decodes (the limit of tonic);
	// one byte more ends its link.
	MaxMessage = 4 << 20
	// MaxOriginated is the largest message we originate: every hop may add a MAC
	// and a connection number.
	MaxOriginated = MaxMessage - 4<<10
	// MaxRead is what our node reads, so that an oversized message can be dropped
	// instead of ending the link of its sender.
	MaxRead = 8 << 20
)

// Values of header fields.
const (
	// DefaultTTL is the ttl of an originated header; each receiver takes one off
	// and drops a message at zero.
	DefaultTTL = 8
	// FanoutOne delivers to one match; every other value delivers to all.
	FanoutOne = 1
	// FanoutAll is what the real library sends for "all".
	FanoutAll = 256
	// MACSize is the length of header_mac.
	MACSize = 32
)

// Keys of Message.metadata with a meaning above the data plane.
const (
	MetaPayloadSig  = "slim-payload-sig"  // signature of a control message, standard base64
	MetaPeerSubject = "slim-peer-subject" // set locally by 3.x receivers, never trusted from the wire
	MetaLeaving     = "LEAVING_SESSION"
	MetaPublishTo   = "PUBLISH_TO"
	MetaDeleteGroup = "DELETE_GROUP"
	MetaLeaveReply  = "LEAVE_REPLY_SENT"
	MetaTrue        = "TRUE" // the value of the four flags above
)

// Kind is the type of a message, the number of its field in Message.
type Kind uint8

// The kinds.
const (
	KindSubscribe       Kind = 1
	KindUnsubscribe     Kind = 2
	KindPublish         Kind = 3
	KindLink            Kind = 5
	KindSubscriptionAck Kind = 6
)

// String returns the protocol's word for the kind.
func (k Kind) String() string {
	switch k {
	case KindSubscribe:
		return "Subscribe"
	case KindUnsubscribe:
		return "Unsubscribe"
	case KindPublish:
		return "Publish"
	case KindLink:
		return "Link"
	case KindSubscriptionAck:
		return "SubscriptionAck"
	}
	return "no kind"
}

// hasHeader reports whether messages of the kind carry a SLIMHeader.
func (k Kind) hasHeader() bool {
	return k == KindSubscribe || k == KindUnsubscribe || k == KindPublish
}
