package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// Defaults and limits. Those of the protocol come from agntcy/slim
// crates/session; interoperation depends on them.
const (
	// DefaultNode is where SLIM nodes listen by convention.
	DefaultNode = "http://127.0.0.1:46357"
	// DefaultMaxRetries and DefaultInterval time every message that wants an
	// answer: sent at 0, 1 s, .., 10 s, given up after 11 s.
	DefaultMaxRetries = 10
	DefaultInterval   = time.Second
	// MaxPayload is the largest application message, in bytes. Real nodes end
	// the link of whoever sends more than 4 MiB, padding and headers included.
	MaxPayload = 3_600_000
	// DefaultPayloadType is sent with messages that name none.
	DefaultPayloadType = "msg"
	// RotateAfter and RotateMessages are when the initiator of an MLS session
	// renews its keys, whichever comes first.
	RotateAfter    = 45 * time.Minute
	RotateMessages = 2000
	// LostAfter is how long a session with EndWhenLost survives a dead link.
	LostAfter = 30 * time.Second

	// DefaultBufferBytes is what all sessions of an app together hold of what
	// peers sent, and bufferFree what each may hold in any case.
	DefaultBufferBytes = 256 << 20
	bufferFree         = 256 << 10

	defaultVersion = "0.0.0-dev"

	maxRetriesTaken  = 30                     // of what a peer may ask us to do
	minIntervalTaken = 200 * time.Millisecond // likewise
	maxIntervalTaken = time.Hour              // likewise
	maxMetadata      = 64                     // entries of a message or a join
	maxMetadataBytes = 64 << 10               // of one message or join
)

// Config sets up an App. It is copied by [Dial].
type Config struct {
	// Name of the app. Its id is replaced by the one derived from Identity.
	Name     name.Name
	Identity identity.Provider
	Verifier identity.Verifier
	// Names says which source names a verified subject may use. Default
	// identity.OwnName: a subject that spells a name speaks under that name
	// only. SLIM itself asks for identity.OwnID, which is needed for peers that
	// are found under a second name ([App.Subscribe]) or whose identities spell
	// other names than they use.
	Names identity.NameRule
	// Node is the endpoint of a SLIM node: http, https, ws or wss. Default DefaultNode.
	Node string
	// NetDial replaces the TCP dialer, for tests.
	NetDial func(ctx context.Context, addr string) (net.Conn, error)
	// Version of the program, full semver without "v". Default 0.0.0-dev.
	Version string
	// PQC asks for the hybrid X25519 and ML-KEM-768 key agreement on the link.
	PQC bool
	// RequirePayloadSignature refuses control messages whose payload is not
	// signed. SLIM before 3.4 does not sign it.
	RequirePayloadSignature bool
	// RotateAfter and RotateMessages override the constants of the same name;
	// negative: never.
	RotateAfter    time.Duration
	RotateMessages int
	// BufferBytes bounds what peers can make all sessions together hold: messages
	// that were not read yet, or wait for older ones. Beyond it a session with
	// more than 256 KiB of its own takes no more until there is room; reliable
	// peers send again. Default 256 MiB.
	BufferBytes int
	// State, if set, is where sessions are kept so that they survive a crash or a
	// restart, see [App.Resumed]. The identity must be kept too. Every
	// acknowledgement then waits for a Write, and so does Publish; received
	// messages are to be confirmed, see [Session.Confirm]. Default nil: sessions
	// end with the process, and nothing is stored.
	State State
	// Logger may log names, ids and reasons, never tokens or payloads. The zero value is silent.
	Logger zerolog.Logger
}

func (c Config) withDefaults() Config {
	if c.Node == "" {
		c.Node = DefaultNode
	}
	if c.Version == "" {
		c.Version = defaultVersion
	}
	if c.BufferBytes <= 0 {
		c.BufferBytes = DefaultBufferBytes
	}
	if c.Names == nil {
		c.Names = identity.OwnName
	}
	switch {
	case c.RotateAfter == 0:
		c.RotateAfter = RotateAfter
	case c.RotateAfter < 0:
		c.RotateAfter = 0
	}
	switch {
	case c.RotateMessages == 0:
		c.RotateMessages = RotateMessages
	case c.RotateMessages < 0:
		c.RotateMessages = 0
	}
	return c
}

// Validate reports all faults of c.
func (c Config) Validate() error {
	var errs []error
	if c.Name.IsZero() || !c.Name.HasStrings() {
		errs = append(errs, errors.New("session: Config.Name is missing"))
	}
	if c.Identity == nil {
		errs = append(errs, errors.New("session: Config.Identity is missing"))
	}
	if c.Verifier == nil {
		errs = append(errs, errors.New("session: Config.Verifier is missing"))
	}
	return errors.Join(errs...)
}

// Security says whether a session needs MLS.
type Security int

const (
	// RequireMLS: end-to-end encryption or no session.
	RequireMLS Security = iota
	// AllowPlain opens sessions without MLS, or accepts both kinds. Nodes can
	// then read, change and forge everything, and whoever was sent a message
	// can pose as its sender as long as the token in it is valid.
	AllowPlain
)

// Delivery says what becomes of messages that get lost.
type Delivery int

const (
	// Reliable: acknowledged, retransmitted, in order, exactly once.
	Reliable Delivery = iota
	// Unreliable: sent once, delivered as they come.
	Unreliable
)

// Options of a session that we open.
type Options struct {
	Security Security
	Delivery Delivery
	// MaxRetries and Interval time retransmissions. Defaults 10 and 1 s; a
	// negative MaxRetries means none.
	MaxRetries int
	Interval   time.Duration
	// Metadata travels with the join and is readable for nodes. Keys with
	// the prefix "slim-" are refused.
	Metadata map[string]string
	// EndWhenLost ends the session with CodePeerGone as soon as the peer
	// does not acknowledge within all retries, misses three heartbeats (30
	// to 40 s), or the link is down for LostAfter. Without it the session
	// waits for the peer to come back.
	EndWhenLost bool
	// PeerSubject admits only the peer with this verified subject.
	PeerSubject string

	unkept bool // it is not stored, though others are
}

func (o Options) withDefaults() Options {
	switch {
	case o.MaxRetries == 0:
		o.MaxRetries = DefaultMaxRetries
	case o.MaxRetries < 0:
		o.MaxRetries = 0
	}
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	return o
}

// Validate reports all faults of o.
func (o Options) Validate() error {
	var errs []error
	if o.Interval < 0 || o.Interval != 0 && o.Interval < time.Millisecond || o.Interval > maxIntervalTaken {
		errs = append(errs, fmt.Errorf("session: Options.Interval %v: want 1ms to %v", o.Interval, maxIntervalTaken))
	}
	return errors.Join(append(errs, checkMetadata(o.Metadata))...)
}

// ListenOptions of sessions that others open.
type ListenOptions struct {
	Security Security
	// EndWhenLost as in [Options].
	EndWhenLost bool
	// Backlog is how many opened sessions wait for Accept; further ones are
	// closed. Default 128.
	Backlog int
	// MaxSessions that may be open at once; further joins are not answered.
	// Those that are over, but have messages that are stored and not confirmed,
	// count too. Default 4096.
	MaxSessions int
	// Accept decides about a verified invitation. It must return quickly.
	// Nil accepts all.
	Accept func(Invitation) error
}

func (o ListenOptions) withDefaults() ListenOptions {
	if o.Backlog <= 0 {
		o.Backlog = 128
	}
	if o.MaxSessions <= 0 {
		o.MaxSessions = 4096
	}
	return o
}

// Invitation is a verified request to open a session with us.
type Invitation struct {
	Peer     name.Name
	Subject  string // verified, from the identity token
	To       name.Name
	MLS      bool
	Metadata map[string]string
}
