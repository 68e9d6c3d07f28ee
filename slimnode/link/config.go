package link

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"
)

// Defaults.
const (
	DefaultNegotiationTimeout = 5 * time.Second  // as upstream (negotiation_timeout_secs)
	DefaultConnectTimeout     = 10 * time.Second // TCP and TLS; upstream has none
	DefaultMaxLinks           = 1024             // as upstream's WebSocket listener
	DefaultMaxNegotiating     = 128
	// OutboxFrames is the bound of a link's outbox, as upstream.
	OutboxFrames = 128
	// OutboxBytes is the second bound: the encoded size of all queued frames. A
	// larger frame still passes when the outbox is empty.
	OutboxBytes = 8 << 20

	fallbackVersion = "0.0.0-dev" // a real peer refuses a text that is no semver
	maxLinkID       = 1024        // bytes; the link id is hashed with every header
	maxNegotiation  = 64 << 10    // bytes of a negotiation message over WebSocket
	upgradeTimeout  = 10 * time.Second
	lingerTimeout   = time.Second // how long Close waits for the peer to end its side
)

// Config is common to both ends of a link. The zero value is strict.
type Config struct {
	// NodeID names this process to its peers. Default: "node-" and a random UUID.
	NodeID string
	// Version is the product version we report, semver, a leading "v" is removed.
	// Anything else is sent as 0.0.0-dev. Nobody reads it, but it must parse.
	Version string
	// Deployment is the name of the peer group, sent on Peer links only.
	Deployment string
	// AllowNoMAC accepts a peer that takes no part in the key agreement, and
	// unsigned Subscribes. The zero value requires a MAC on every header.
	AllowNoMAC bool
	// PQC asks for the hybrid key agreement (ML-KEM-768 beside X25519) when
	// dialling and requires it when accepting. There is no fall-back.
	PQC bool
	// Budget is shared by all links whose outboxes it bounds together. Default: none.
	Budget *Budget
	// NegotiationTimeout bounds the exchange before the first frame. Default 5 s.
	NegotiationTimeout time.Duration
	// Logger gets a line for a refused link, for bytes that are no message and for
	// the first drop of each kind on a link, at most one a second for a server.
	// The zero value is silent.
	Logger zerolog.Logger
}

func (c Config) withDefaults() Config {
	if c.NodeID == "" {
		c.NodeID = "node-" + newUUID()
	}
	if len(c.Version) > 0 && c.Version[0] == 'v' {
		c.Version = c.Version[1:]
	}
	if !isSemver(c.Version) {
		c.Version = fallbackVersion
	}
	if c.NegotiationTimeout <= 0 {
		c.NegotiationTimeout = DefaultNegotiationTimeout
	}
	return c
}

// DialConfig configures [Dial] and [Redial].
type DialConfig struct {
	Config
	// Type is the kind of link to ask for. Default Edge.
	Type ConnType
	// LinkID names the link, at most 1024 bytes. Default: a random UUID.
	LinkID string
	// TLS is used for https:// and wss://; nil means the defaults of crypto/tls.
	// The server name defaults to the host of the endpoint.
	TLS *tls.Config
	// Headers are sent with the request, for example "authorization". It is
	// called once per dial; nil sends none.
	Headers func(ctx context.Context) (map[string]string, error)
	// ConnectTimeout bounds TCP and TLS. Default 10 s.
	ConnectTimeout time.Duration
	// NetDial replaces the TCP (or unix) dialler, for in-memory wires.
	NetDial func(ctx context.Context, addr string) (net.Conn, error)
}

func (c DialConfig) withDefaults() DialConfig {
	c.Config = c.Config.withDefaults()
	if c.LinkID == "" {
		c.LinkID = newUUID()
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = DefaultConnectTimeout
	}
	return c
}

// ServerConfig configures a [Server].
type ServerConfig struct {
	Config
	// Handle runs for the life of one negotiated link; the link is closed when it
	// returns. ctx ends with the link. Required.
	Handle func(ctx context.Context, c *Conn)
	// TLS makes every listener of the server speak TLS. Nil: plain text.
	TLS *tls.Config
	// AllowPeer accepts links that claim the type Peer. They carry no MAC and are
	// trusted entirely, so set it only where the connection is authenticated.
	AllowPeer bool
	// AllowRemote gives links that claim the type Remote that rank. Otherwise they
	// work, but count as Edge: the type order of routing is no client's choice.
	AllowRemote bool
	// Authorize checks the authorization header ("" if there is none) of a request
	// before anything is read from it. Nil accepts all.
	Authorize func(ctx context.Context, authorization string) error
	// MaxLinks bounds TCP connections and, separately, links of the server (a gRPC
	// connection can carry several). Surplus ones are refused. Default 1024.
	MaxLinks int
	// MaxNegotiating bounds the links that negotiate at the same time and, with
	// it, the memory that strangers can take: a first message over gRPC may have
	// 8 MiB. Others wait, within the negotiation timeout. Default 128.
	MaxNegotiating int
}

func (c ServerConfig) withDefaults() ServerConfig {
	c.Config = c.Config.withDefaults()
	if c.MaxLinks <= 0 {
		c.MaxLinks = DefaultMaxLinks
	}
	if c.MaxNegotiating <= 0 {
		c.MaxNegotiating = DefaultMaxNegotiating
	}
	return c
}

// Validate reports what makes the configuration unusable.
func (c ServerConfig) Validate() error {
	if c.Handle == nil {
		return errors.New("link server: Handle is required")
	}
	return nil
}

// newUUID is a random (version 4) UUID.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // crypto/rand never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
