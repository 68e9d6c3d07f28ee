package link

import (
	"crypto/ecdh"
	"crypto/rand"
	"strings"
	"testing"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Names of the peer are kept for the life of a link and logged: they are short.
func TestLongNamesAreRefused(t *testing.T) {
	long := strings.Repeat("x", maxLinkID+1)
	for what, change := range map[string]func(*pb.LinkNegotiationPayload){
		"link id":         func(r *pb.LinkNegotiationPayload) { r.LinkId = long },
		"node id":         func(r *pb.LinkNegotiationPayload) { r.NodeId = long },
		"deployment name": func(r *pb.LinkNegotiationPayload) { r.DeploymentName = long },
		"version":         func(r *pb.LinkNegotiationPayload) { r.SlimVersion = "1.0.0-" + long },
	} {
		t.Run(what, func(t *testing.T) {
			key, err := ecdh.X25519().GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			peer, err := ecdh.X25519().GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			req := &pb.LinkNegotiationPayload{
				LinkId: "link", SlimVersion: "1.0.0", NodeId: "peer", LinkEcdhPublicKey: peer.PublicKey().Bytes(),
				ConnectionType: pb.LinkConnectionType_LINK_CONNECTION_TYPE_EDGE,
			}
			acc := acceptor{version: "1.0.0", nodeID: "a", requireMAC: true}
			if _, _, err := acc.answer(req, key, encapsulate768); err != nil {
				t.Fatalf("unchanged: %v", err)
			}
			change(req)
			if reply, _, err := acc.answer(req, key, encapsulate768); err == nil || reply != nil {
				t.Errorf("accepted, reply %v", reply != nil)
			}
		})
	}
}
