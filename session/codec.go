package session

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// codec turns the outputs of machines into frames, with token, signatures and
// encryption, and checks what comes in. It is safe for concurrent use.
type codec struct {
	provider      identity.Provider
	verifier      identity.Verifier
	names         identity.NameRule
	version       string
	requireSigned bool
}

// envelope is what a message needs beside its content.
type envelope struct {
	source    name.Name
	session   uint32
	multicast bool // SLIM's session type for groups
	seal      func(payload, aad []byte) ([]byte, error)
}

// encode builds the frame of one message. The order is fixed: token, then
// signatures or encryption, since both cover the token; nothing in the header
// may change afterwards.
func (c *codec) encode(o control.Outbound, e envelope, now time.Time) (*wire.Frame, error) {
	token, err := c.provider.Token(now)
	if err != nil {
		return nil, fmt.Errorf("identity token: %w", err)
	}
	source := e.source
	if o.BareSource {
		source.Components = [3]string{}
	}
	sessionType, fanout := pb.SessionType_SESSION_TYPE_POINT_TO_POINT, uint32(wire.FanoutOne)
	if e.multicast {
		sessionType = pb.SessionType_SESSION_TYPE_MULTICAST
	}
	if o.Broadcast {
		fanout = wire.FanoutAll
	}
	p := &pb.Publish{
		Header: &pb.SLIMHeader{
			Source: wire.FromName(source), Destination: wire.FromName(o.To),
			Identity: token, Fanout: fanout, Version: c.version, Ttl: wire.DefaultTTL,
		},
		Session: &pb.SessionHeader{
			SessionType:        sessionType,
			SessionMessageType: o.Type, SessionId: e.session, MessageId: uint32(o.ID),
		},
	}
	if o.Lost {
		lost := true
		p.Header.Error = &lost
	}
	metadata := o.Metadata
	if control.IsCommand(o.Type) {
		p.Msg = &pb.Content{ContentType: &pb.Content_CommandPayload{CommandPayload: o.Command}}
		if metadata, err = c.sign(p, metadata); err != nil {
			return nil, err
		}
	} else if err := seal(p, o, e); err != nil {
		return nil, err
	}
	return wire.Encode(&pb.Message{
		MessageType: &pb.Message_Publish{Publish: p}, Metadata: metadata,
	})
}

// sign adds the header signature, and the payload signature that SLIM 3.4 looks
// for and 2.2 ignores.
func (c *codec) sign(p *pb.Publish, metadata map[string]string) (map[string]string, error) {
	aad := wire.HeaderAAD(p)
	sig, err := c.provider.Signer().Sign(aad)
	if err != nil {
		return nil, fmt.Errorf("header signature: %w", err)
	}
	p.Header.E2EHeaderSig = sig
	payloadSig, err := c.provider.Signer().Sign(wire.PayloadSigInput(aad, p, metadata))
	if err != nil {
		return nil, fmt.Errorf("payload signature: %w", err)
	}
	signed := make(map[string]string, len(metadata)+1)
	maps.Copy(signed, metadata)
	signed[wire.MetaPayloadSig] = base64.StdEncoding.EncodeToString(payloadSig)
	return signed, nil
}

// seal sets the application payload, encrypted if the session is.
func seal(p *pb.Publish, o control.Outbound, e envelope) error {
	app := &pb.ApplicationPayload{PayloadType: o.App.Type, Blob: o.App.Payload}
	p.Msg = &pb.Content{ContentType: &pb.Content_AppPayload{AppPayload: app}}
	if !o.Encrypt {
		return nil
	}
	blob, err := e.seal(o.App.Payload, wire.HeaderAAD(p))
	if err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	app.Blob = blob
	return nil
}

// Reasons for refusing a message. None tells anything of its content.
var (
	errSourceName   = errors.New("source is no valid name")
	errUnsigned     = errors.New("control message without header signature")
	errHeaderSig    = errors.New("header signature does not verify: the token belongs to another message, or the header was changed")
	errPayloadSig   = errors.New("payload signature does not verify")
	errNoPayloadSig = errors.New("payload is not signed")
	errSessionType  = errors.New("neither a 1:1 session nor a group")
)

// authenticate checks who sent a message: the token is good, the source name
// is the one derived from it, and a control message is signed with the token's
// key, header and (where the peer does that) payload.
func (c *codec) authenticate(p *pb.Publish, metadata map[string]string, now time.Time) (control.Inbound, error) {
	h := p.GetHeader()
	in := control.Inbound{
		Type: p.GetSession().GetSessionMessageType(), ID: control.MessageID(p.GetSession().GetMessageId()),
		Command: p.GetMsg().GetCommandPayload(), App: p.GetMsg().GetAppPayload(),
		Metadata: metadata, Lost: h.GetError(),
	}
	switch p.GetSession().GetSessionType() {
	case pb.SessionType_SESSION_TYPE_POINT_TO_POINT, pb.SessionType_SESSION_TYPE_MULTICAST:
	default:
		return in, errSessionType
	}
	source, ok := wire.ToName(h.GetSource())
	if !ok {
		return in, errSourceName
	}
	in.From = source
	claims, err := c.verifier.Verify(h.GetIdentity(), now)
	if err != nil {
		return in, err
	}
	if err := c.names(claims.Subject, source); err != nil {
		return in, err
	}
	in.Subject, in.Key = claims.Subject, claims.PublicKey
	in.AAD = wire.HeaderAAD(p)
	if !control.IsCommand(in.Type) {
		return in, nil
	}
	if len(h.GetE2EHeaderSig()) == 0 {
		return in, errUnsigned
	}
	if identity.VerifySignature(claims.PublicKey, in.AAD, h.GetE2EHeaderSig()) != nil {
		return in, errHeaderSig
	}
	return in, c.checkPayload(p, metadata, in)
}

func (c *codec) checkPayload(p *pb.Publish, metadata map[string]string, in control.Inbound) error {
	text, signed := metadata[wire.MetaPayloadSig]
	if !signed {
		if c.requireSigned {
			return errNoPayloadSig
		}
		return nil
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || identity.VerifySignature(in.Key, wire.PayloadSigInput(in.AAD, p, metadata), sig) != nil {
		return errPayloadSig
	}
	return nil
}

// publicMetadata leaves out what belongs to the protocol.
func publicMetadata(md map[string]string) map[string]string {
	clean := maps.Clone(md)
	maps.DeleteFunc(clean, func(k, _ string) bool { return strings.HasPrefix(k, "slim-") })
	return clean
}

// subscription builds a Subscribe or Unsubscribe of one of our names.
func (c *codec) subscription(app, subscribed name.Name, id uint64, add bool, now time.Time) (*wire.Frame, error) {
	token, err := c.provider.Token(now)
	if err != nil {
		return nil, fmt.Errorf("identity token: %w", err)
	}
	h := &pb.SLIMHeader{
		Source: wire.FromName(app), Destination: wire.FromName(subscribed),
		Identity: token, Fanout: wire.FanoutOne, Version: c.version, Ttl: wire.DefaultTTL,
	}
	if add {
		return wire.Encode(&pb.Message{MessageType: &pb.Message_Subscribe{
			Subscribe: &pb.Subscribe{Header: h, SubscriptionId: id}}})
	}
	return wire.Encode(&pb.Message{MessageType: &pb.Message_Unsubscribe{
		Unsubscribe: &pb.Unsubscribe{Header: h, SubscriptionId: id}}})
}
