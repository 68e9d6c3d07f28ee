package link

import (
	"context"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Dial opens a link and negotiates it. The scheme of the endpoint chooses the
// carrier: http://host:port, https:// and unix:///path are gRPC, ws:// and
// wss:// (with a path) WebSocket. ctx bounds the call only, not the link.
// Errors are *Error; ErrNegotiation, ErrNoKey, ErrTimeout and ErrDenied tell
// causes apart.
func Dial(ctx context.Context, endpoint string, cfg DialConfig) (*Conn, error) {
	cfg = cfg.withDefaults()
	ep, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, &Error{Op: "dial", Endpoint: endpoint, Cause: err}
	}
	if len(cfg.LinkID) > maxLinkID {
		return nil, &Error{Op: "dial", Endpoint: endpoint, Cause: errors.New("the link id is longer than 1024 bytes")}
	}
	var headers map[string]string
	if cfg.Headers != nil {
		if headers, err = cfg.Headers(ctx); err != nil {
			return nil, &Error{Op: "dial", Endpoint: endpoint, Cause: fmt.Errorf("request headers: %w", err)}
		}
	}
	nc, err := ep.connect(ctx, &cfg)
	if err != nil {
		return nil, wrap("dial", endpoint, err)
	}
	nctx, cancel := context.WithTimeoutCause(ctx, cfg.NegotiationTimeout, ErrTimeout)
	defer cancel()
	agent := "slimbridge/" + cfg.Version
	var ca carrier
	if ep.websocket {
		ca, err = dialWS(nctx, nc, ep.url, agent, headers)
	} else {
		ca, err = dialGRPC(nctx, nc, ep.host, agent, headers)
	}
	if err != nil {
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			<-nctx.Done() // the deadline on the connection was that of nctx
		}
		if cause := context.Cause(nctx); cause != nil {
			err = cause
		}
		return nil, wrap("dial", endpoint, err)
	}
	a, err := negotiate(nctx, ca, &cfg)
	if err != nil {
		ca.abort(nil)
		return nil, wrap("negotiate", endpoint, err)
	}
	return newConn(ca, endpoint, a, &cfg.Config, &gate{}), nil
}

// negotiate is the dialer's exchange, until ctx ends.
func negotiate(ctx context.Context, ca carrier, cfg *DialConfig) (agreed, error) {
	stop := context.AfterFunc(ctx, func() { ca.abort(nil) })
	defer stop()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return agreed{}, err
	}
	o := offer{
		linkID: cfg.LinkID, version: cfg.Version, nodeID: cfg.NodeID, deployment: cfg.Deployment,
		typ: cfg.Type, requireMAC: !cfg.AllowNoMAC, key: key,
	}
	if cfg.PQC {
		if o.kem, err = mlkem.GenerateKey768(); err != nil {
			return agreed{}, err
		}
	}
	reply, err := exchange(ca, o.request())
	if cause := context.Cause(ctx); cause != nil {
		return agreed{}, cause
	}
	if err != nil {
		return agreed{}, fmt.Errorf("%w: %w", ErrNegotiation, err)
	}
	return o.accept(reply)
}

func exchange(ca carrier, req *pb.LinkNegotiationPayload) (*pb.LinkNegotiationPayload, error) {
	// A failed send says only that the stream is over; recv has the reason.
	sendErr := sendNegotiation(ca, req)
	b, err := ca.recv()
	if err != nil {
		return nil, err
	}
	if sendErr != nil {
		return nil, sendErr
	}
	return negotiation(b), nil
}

func sendNegotiation(ca carrier, p *pb.LinkNegotiationPayload) error {
	f, err := wire.Encode(&pb.Message{MessageType: &pb.Message_Link{Link: &pb.Link{
		LinkType: &pb.Link_LinkNegotiation{LinkNegotiation: p},
	}}})
	if err != nil {
		return err
	}
	return ca.send(f.Segments())
}

// negotiation decodes a first message; nil if it is anything else.
func negotiation(b []byte) *pb.LinkNegotiationPayload {
	f, err := wire.Parse(b)
	if err != nil {
		return nil
	}
	return f.Link().GetLinkNegotiation()
}

// endpoint is a parsed address to dial.
type endpoint struct {
	url               *url.URL
	network, addr     string
	host              string // authority
	name              string // for TLS
	secure, websocket bool
}

func parseEndpoint(s string) (*endpoint, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || !strings.Contains(s, "://") {
		return nil, errors.New("want http://host:port, https://, ws://, wss:// or unix:///path")
	}
	ep := &endpoint{url: u, network: "tcp", host: u.Host, name: u.Hostname()}
	port := "80"
	switch u.Scheme {
	case "http":
	case "https":
		ep.secure, port = true, "443"
	case "ws":
		ep.websocket = true
	case "wss":
		ep.websocket, ep.secure, port = true, true, "443"
	case "unix":
		if u.Host != "" || u.Path == "" {
			return nil, errors.New("want unix:///absolute/path")
		}
		ep.network, ep.addr, ep.host = "unix", u.Path, "localhost"
		return ep, nil
	default:
		return nil, fmt.Errorf("unknown scheme %q", u.Scheme)
	}
	if u.Hostname() == "" {
		return nil, errors.New("no host")
	}
	if p := u.Port(); p != "" {
		port = p
	}
	ep.addr = net.JoinHostPort(u.Hostname(), port)
	return ep, nil
}

// connect makes the byte stream, with TLS if the scheme says so.
func (e *endpoint) connect(ctx context.Context, cfg *DialConfig) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	var nc net.Conn
	var err error
	if cfg.NetDial != nil {
		nc, err = cfg.NetDial(ctx, e.addr)
	} else {
		nc, err = (&net.Dialer{}).DialContext(ctx, e.network, e.addr)
	}
	if err != nil {
		return nil, err
	}
	nc = quickAck(nc)
	if !e.secure {
		return nc, nil
	}
	tc := tls.Client(nc, e.tlsConfig(cfg.TLS))
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return tc, nil
}

func (e *endpoint) tlsConfig(base *tls.Config) *tls.Config {
	c := &tls.Config{}
	if base != nil {
		c = base.Clone()
	}
	if c.ServerName == "" {
		c.ServerName = e.name
	}
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	c.NextProtos = []string{"h2"}
	if e.websocket {
		c.NextProtos = []string{"http/1.1"}
	}
	return c
}
