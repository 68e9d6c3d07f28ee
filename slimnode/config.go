package slimnode

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"

	"github.com/slimbridge/slimbridge/slimnode/internal/route"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// Defaults of [Config] and of its parts.
const (
	// DefaultPort is the port of every sample configuration upstream.
	DefaultPort = 46357
	// DefaultStuckTimeout is how long a consumer may leave its queue full. SLIM
	// itself waits for ever and holds up every sender to that consumer.
	DefaultStuckTimeout = 30 * time.Second
	// DefaultQueueBytes bounds the queues of all links together.
	DefaultQueueBytes = 512 << 20
	// DefaultMaxConns bounds the accepted links of all listeners together.
	DefaultMaxConns = 4096
	// DefaultVersion is announced if the build has no version: a peer ends a link
	// whose version is not X.Y.Z.
	DefaultVersion = "0.0.0-dev"

	maxLinkID = 1024 // bytes, what package link dials with
)

// Config describes a node. Its zero value is a strict node that neither listens
// nor dials, of use with [Node.Serve] only.
type Config struct {
	// NodeID is sent in link negotiation. Default: "node-" and a random UUID.
	NodeID string
	// Version is sent in link negotiation, a full semantic version without "v".
	// Default: DefaultVersion.
	Version string
	// Listeners are bound by Start.
	Listeners []Listener
	// Clients are dialled from Start on, and again whenever the link is lost.
	Clients []Client
	// RequirePQC demands the hybrid key agreement (X25519 and ML-KEM-768) on every
	// link, dialled and accepted (enforce_pqc of the real node).
	RequirePQC bool
	// MaxConns bounds the links: with so many, dialled ones included, no more are
	// accepted. Surplus ones are refused and counted. Default: DefaultMaxConns.
	MaxConns int
	// MaxSubscriptions bounds the table, MaxSubscriptionsPerConn the share of one
	// connection; a Subscribe above is answered with success=false. Defaults:
	// 262144 and 4096.
	MaxSubscriptions, MaxSubscriptionsPerConn int
	// StuckTimeout is how long a consumer may leave its queue full before its link
	// is ended. Until then its senders wait and nothing is lost. Default:
	// DefaultStuckTimeout.
	StuckTimeout time.Duration
	// QueueBytes bounds what the outboxes of all links hold together; when it is
	// used up each link takes one frame at a time. Default: DefaultQueueBytes.
	QueueBytes int64
	// Logger receives lines about links and rate-limited ones about drops, never
	// tokens or payloads. The zero value is silent.
	Logger zerolog.Logger
	// Tap, if set, sees every Publish that is about to be queued to a target and
	// returns what is queued instead; nil passes it unchanged, an empty slice
	// drops it. It is meant for tests: it runs in the reader of from, possibly in
	// several at once, and must not block.
	Tap func(from, to ConnID, f *wire.Frame) []*wire.Frame
}

// ConnID numbers the connections of one node, from 1, never used twice.
type ConnID = route.ConnID

// Listener is one address that accepts links.
type Listener struct {
	// Endpoint is "host:port" for gRPC, or "ws://host:port/path" for WebSocket.
	// Port 0 picks a free one, see [Node.Endpoints].
	Endpoint string
	// AllowNoMAC accepts peers that offer no key; their messages are then not
	// authenticated on the link (require_header_mac: false of the real node).
	AllowNoMAC bool
	// NegotiationTimeout bounds the link negotiation. Default: 5 s.
	NegotiationTimeout time.Duration
}

// Client is one node that this node dials, as an EDGE link.
type Client struct {
	// Endpoint is "http://host:port" (gRPC) or "ws://host:port/path".
	Endpoint string
	// LinkID names the link, also after a reconnect. Default: a random UUID.
	LinkID string
	// AllowNoMAC accepts an acceptor that offers no key.
	AllowNoMAC bool
	// NetDial replaces the TCP dialler, for in-memory wires.
	NetDial func(ctx context.Context, addr string) (net.Conn, error)
}

// Validate reports every fault of the configuration, joined.
func (c Config) Validate() error {
	var errs []error
	for i, l := range c.Listeners {
		if _, err := parseListener(l.Endpoint); err != nil {
			errs = append(errs, fmt.Errorf("listener %d: %w", i+1, err))
		}
		if l.NegotiationTimeout < 0 {
			errs = append(errs, fmt.Errorf("listener %d: negotiation timeout %v is negative", i+1, l.NegotiationTimeout))
		}
	}
	for i, cl := range c.Clients {
		if err := checkClient(cl.Endpoint); err != nil {
			errs = append(errs, fmt.Errorf("client %d: %w", i+1, err))
		}
		if len(cl.LinkID) > maxLinkID {
			errs = append(errs, fmt.Errorf("client %d: the link id has more than %d bytes", i+1, maxLinkID))
		}
	}
	for _, n := range []struct {
		what  string
		value int64
	}{
		{"StuckTimeout", int64(c.StuckTimeout)},
		{"MaxConns", int64(c.MaxConns)},
		{"QueueBytes", c.QueueBytes},
		{"MaxSubscriptions", int64(c.MaxSubscriptions)},
		{"MaxSubscriptionsPerConn", int64(c.MaxSubscriptionsPerConn)},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", n.what))
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.NodeID == "" {
		c.NodeID = "node-" + newUUID()
	}
	if c.Version == "" {
		c.Version = DefaultVersion
	}
	if c.MaxConns == 0 {
		c.MaxConns = DefaultMaxConns
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = DefaultQueueBytes
	}
	if c.StuckTimeout == 0 {
		c.StuckTimeout = DefaultStuckTimeout
	}
	return c
}

// newUUID returns a random UUID (version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
