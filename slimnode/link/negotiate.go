package link

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/sha256"
	"errors"
	"fmt"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// ConnType is the kind of a link, fixed by its negotiation.
type ConnType uint8

// The kinds. An Edge link joins an app to its node, a Remote link two
// deployments, a Peer link two replicas of one deployment.
const (
	Edge ConnType = iota
	Remote
	Peer
)

// String returns the configuration word of the type.
func (t ConnType) String() string {
	switch t {
	case Edge:
		return "edge"
	case Remote:
		return "remote"
	case Peer:
		return "peer"
	}
	return fmt.Sprintf("ConnType(%d)", uint8(t))
}

func (t ConnType) proto() pb.LinkConnectionType {
	switch t {
	case Peer:
		return pb.LinkConnectionType_LINK_CONNECTION_TYPE_PEER
	case Remote:
		return pb.LinkConnectionType_LINK_CONNECTION_TYPE_REMOTE
	}
	return pb.LinkConnectionType_LINK_CONNECTION_TYPE_EDGE
}

// connType maps unknown numbers to Remote, as the real node does.
func connType(t pb.LinkConnectionType) ConnType {
	switch t {
	case pb.LinkConnectionType_LINK_CONNECTION_TYPE_PEER:
		return Peer
	case pb.LinkConnectionType_LINK_CONNECTION_TYPE_EDGE:
		return Edge
	}
	return Remote
}

// Labels of the key derivation.
const (
	hkdfClassical = "SLIM-DP-inter-node-hmac-v1"
	hkdfHybrid    = "SLIM-DP-inter-node-hmac-v1-pq"
	keySize       = 32
)

// agreed is the outcome of a negotiation.
type agreed struct {
	linkID          string
	typ             ConnType
	key             []byte // nil: no MAC on this link
	hybrid          bool
	nodeID, version string // the peer's
}

// offer is the dialer's half of the negotiation. It is pure: keys and ids are
// made by the caller.
type offer struct {
	linkID, version, nodeID, deployment string
	typ                                 ConnType
	requireMAC                          bool
	key                                 *ecdh.PrivateKey
	kem                                 *mlkem.DecapsulationKey768 // nil: classical
}

func (o *offer) request() *pb.LinkNegotiationPayload {
	req := &pb.LinkNegotiationPayload{
		LinkId:            o.linkID,
		SlimVersion:       o.version,
		LinkEcdhPublicKey: o.key.PublicKey().Bytes(),
		ConnectionType:    o.typ.proto(),
		NodeId:            o.nodeID,
	}
	if o.typ == Peer {
		req.DeploymentName = o.deployment
	}
	if o.kem != nil {
		req.LinkKemPayload = o.kem.EncapsulationKey().Bytes()
	}
	return req
}

// accept checks the reply. A changed connection type, an empty node id and a
// KEM payload we did not ask for are tolerated, as by the real client.
func (o *offer) accept(reply *pb.LinkNegotiationPayload) (agreed, error) {
	switch {
	case reply == nil:
		return agreed{}, refuse("the first message is no link negotiation")
	case !reply.GetIsReply():
		return agreed{}, refuse("the answer is no reply")
	case reply.GetLinkId() != o.linkID:
		return agreed{}, refuse("the reply is for another link id")
	case !isSemver(reply.GetSlimVersion()):
		return agreed{}, refuse("the peer's version is not X.Y.Z")
	case len(reply.GetNodeId()) > maxLinkID:
		return agreed{}, refuse("the peer's node id is too long")
	}
	a := agreed{linkID: o.linkID, typ: o.typ, nodeID: reply.GetNodeId(), version: reply.GetSlimVersion()}
	shared, err := x25519(o.key, reply.GetLinkEcdhPublicKey())
	switch {
	case err == nil:
	case o.requireMAC || o.kem != nil:
		return agreed{}, fmt.Errorf("%w: %w", ErrNoKey, err)
	default:
		return a, nil
	}
	var kemShared []byte
	if o.kem != nil {
		kemShared, err = o.kem.Decapsulate(reply.GetLinkKemPayload()) // checks the length
		if err != nil {
			return agreed{}, refuse("the peer does not take part in the hybrid key agreement")
		}
		a.hybrid = true
	}
	a.key, err = deriveKey(a.linkID, shared, kemShared)
	return a, err
}

// acceptor is the other half, as pure. It can answer any number of requests.
type acceptor struct {
	version, nodeID, deployment string
	requireMAC, requireKEM      bool
	allowPeer, allowRemote      bool
}

// answer checks a request. An error without a reply ends the link in silence
// or, if it is a refusal of a Peer, with PERMISSION_DENIED; a reply with an
// error is sent first, as the real node does. key is fresh; encapsulate is
// [encapsulate768] or a fixed one.
func (p *acceptor) answer(
	req *pb.LinkNegotiationPayload, key *ecdh.PrivateKey,
	encapsulate func(ek []byte) (shared, ciphertext []byte, err error),
) (*pb.LinkNegotiationPayload, agreed, error) {
	switch {
	case req == nil:
		return nil, agreed{}, refuse("the first message is no link negotiation")
	case req.GetIsReply():
		return nil, agreed{}, refuse("the first message is a reply")
	case req.GetLinkId() == "":
		return nil, agreed{}, refuse("no link id")
	case len(req.GetLinkId()) > maxLinkID:
		return nil, agreed{}, refuse("the link id is too long")
	case len(req.GetNodeId()) > maxLinkID:
		return nil, agreed{}, refuse("the node id is too long")
	case len(req.GetDeploymentName()) > maxLinkID:
		return nil, agreed{}, refuse("the deployment name is too long")
	case !isSemver(req.GetSlimVersion()):
		return nil, agreed{}, refuse("the peer's version is not X.Y.Z")
	}
	claim := connType(req.GetConnectionType())
	if claim == Peer && !p.allowPeer {
		return nil, agreed{}, denied("this listener accepts no peers")
	}
	a := agreed{linkID: req.GetLinkId(), typ: claim, nodeID: req.GetNodeId(), version: req.GetSlimVersion()}
	if claim == Remote && !p.allowRemote {
		a.typ = Edge
	}
	reply := &pb.LinkNegotiationPayload{
		LinkId: a.linkID, SlimVersion: p.version, IsReply: true, ConnectionType: claim.proto(), NodeId: p.nodeID,
	}
	if claim == Peer {
		reply.DeploymentName = p.deployment
	}
	if err := p.agree(&a, req, reply, key, encapsulate); err != nil {
		return nil, agreed{}, err
	}
	if claim == Peer {
		switch {
		case a.nodeID == p.nodeID:
			return reply, agreed{}, denied("self-connection rejected: same node_id")
		case p.deployment != "" && req.GetDeploymentName() != p.deployment:
			return reply, agreed{}, denied("deployment_name mismatch")
		}
	}
	return reply, a, nil
}

// agree fills in the key of a and the key fields of the reply.
func (p *acceptor) agree(
	a *agreed, req, reply *pb.LinkNegotiationPayload, key *ecdh.PrivateKey,
	encapsulate func(ek []byte) (shared, ciphertext []byte, err error),
) error {
	shared, err := x25519(key, req.GetLinkEcdhPublicKey())
	if err != nil {
		if p.requireMAC || p.requireKEM {
			return fmt.Errorf("%w: %w", ErrNoKey, err)
		}
		return nil
	}
	var kemShared, ciphertext []byte
	switch ek := req.GetLinkKemPayload(); {
	case len(ek) == mlkem.EncapsulationKeySize768:
		if kemShared, ciphertext, err = encapsulate(ek); err != nil {
			return refuse("bad ML-KEM key")
		}
		a.hybrid = true
	case p.requireKEM:
		return refuse("the peer does not take part in the hybrid key agreement")
	}
	a.key, err = deriveKey(a.linkID, shared, kemShared)
	if err != nil {
		return err
	}
	reply.LinkEcdhPublicKey = key.PublicKey().Bytes()
	reply.LinkKemPayload = ciphertext
	return nil
}

// x25519 fails for a key of a wrong length and for the low-order points, all
// zeros among them.
func x25519(own *ecdh.PrivateKey, peer []byte) ([]byte, error) {
	pub, err := ecdh.X25519().NewPublicKey(peer)
	if err != nil {
		return nil, errors.New("no X25519 key of 32 bytes")
	}
	shared, err := own.ECDH(pub)
	if err != nil {
		return nil, errors.New("unusable X25519 key")
	}
	return shared, nil
}

// deriveKey makes the MAC key; kem is empty for the classical agreement.
func deriveKey(linkID string, x, kem []byte) ([]byte, error) {
	info := hkdfClassical
	if len(kem) > 0 {
		info = hkdfHybrid
	}
	ikm := make([]byte, 0, len(x)+len(kem))
	ikm = append(append(ikm, x...), kem...)
	return hkdf.Key(sha256.New, ikm, []byte(linkID), info, keySize)
}

func encapsulate768(ek []byte) (shared, ciphertext []byte, err error) {
	k, err := mlkem.NewEncapsulationKey768(ek)
	if err != nil {
		return nil, nil, err
	}
	shared, ciphertext = k.Encapsulate()
	return shared, ciphertext, nil
}
