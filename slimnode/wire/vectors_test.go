package wire_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

func tag(key []byte, linkID string, h *wire.Header) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(wire.MACPreimage(nil, linkID, h))
	return m.Sum(nil)
}

// reencode decodes everything and encodes it again.
func reencode(t testing.TB, f *wire.Frame) []byte {
	t.Helper()
	m, err := f.Message()
	if err != nil {
		t.Fatal(err)
	}
	again, err := wire.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return again.Bytes()
}

func TestFrameVectors(t *testing.T) {
	for _, file := range frameVectors {
		t.Run(file, func(t *testing.T) {
			v := loadVector(t, file)
			f := parse(t, v.data)
			if got := f.Kind().String(); got != v.head["expect"] {
				t.Errorf("Kind = %s, want %s", got, v.head["expect"])
			}
			if got := f.Bytes(); !bytes.Equal(got, v.data) {
				t.Errorf("Bytes differ from the input:\n%x", got)
			}
			// The 3.x vector has its metadata first; all others are as captured.
			if got := reencode(t, f); !bytes.Equal(got, v.data) && file != "join-request-payload-signature.vec" {
				t.Errorf("encoded again: %x", got)
			}
		})
	}
}

func TestTraces(t *testing.T) {
	lines := loadTraces(t)
	if len(lines) < 30 {
		t.Fatalf("only %d lines", len(lines))
	}
	for i, l := range lines {
		f := parse(t, l.data)
		m, err := f.Message()
		if err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
		if got := reencode(t, f); !bytes.Equal(got, l.data) {
			t.Errorf("line %d (%s): encoded again: %x", i, l.Type, got)
		}
		want := l.Type
		if p := m.GetPublish(); p != nil {
			if got := strings.TrimPrefix(p.GetSession().GetSessionMessageType().String(), "SESSION_MESSAGE_TYPE_"); got != want {
				t.Errorf("line %d: type %s, want %s", i, got, want)
			}
		} else if got := strings.ToUpper(f.Kind().String()); got != want {
			t.Errorf("line %d: kind %s, want %s", i, got, want)
		}
		if h := f.Header(); h.TTL != wire.DefaultTTL || h.IncomingConn != wire.Some(uint64(0)) {
			t.Errorf("line %d: ttl %d, incoming_conn %v", i, h.TTL, h.IncomingConn)
		}
		compareHeader(t, f.Header(), m)
	}
}

// compareHeader checks the parsed header against the generated decoder.
func compareHeader(t *testing.T, h *wire.Header, m *pb.Message) {
	t.Helper()
	want := headerOf(m)
	got := &pb.SLIMHeader{
		Source: viewToPB(&h.Source), Destination: viewToPB(&h.Destination),
		Identity: string(h.Identity), Fanout: h.Fanout, Version: string(h.Version), Ttl: h.TTL,
		HeaderMac: h.MAC.Value, E2EHeaderSig: h.Signature.Value,
	}
	for _, o := range []struct {
		from wire.Opt[uint64]
		to   **uint64
	}{{h.RecvFrom, &got.RecvFrom}, {h.ForwardTo, &got.ForwardTo}, {h.IncomingConn, &got.IncomingConn}} {
		if o.from.Present {
			*o.to = &o.from.Value
		}
	}
	if h.Error.Present {
		got.Error = &h.Error.Value
	}
	want = proto.CloneOf(want)
	discardUnknown(want.ProtoReflect())
	if !proto.Equal(got, want) {
		t.Errorf("header\n got %v\nwant %v", got, want)
	}
}

func viewToPB(v *wire.NameView) *pb.Name {
	n := &pb.Name{}
	if v.HasName {
		n.Name = &pb.EncodedName{Component_0: v.Prefix[0], Component_1: v.Prefix[1], Component_2: v.Prefix[2]}
		if v.HasID {
			n.Name.NameId = &pb.NameId{Id_0: v.ID.Hi, Id_1: v.ID.Lo}
		}
	}
	if v.HasStrings {
		n.StrName = &pb.StringName{StrComponent_0: string(v.Strings[0]), StrComponent_1: string(v.Strings[1]), StrComponent_2: string(v.Strings[2])}
	}
	return n
}

func TestMACVectors(t *testing.T) {
	for _, file := range []string{"subscribe-signed.vec", "publish-signed.vec", "publish-forwarded.vec"} {
		v := loadVector(t, file)
		h := parse(t, v.data).Header()
		if got := tag(unhex(t, v.head["key"]), v.head["link-id"], h); !bytes.Equal(got, h.MAC.Value) {
			t.Errorf("%s: tag %x, want %x", file, got, h.MAC.Value)
		}
		if want := v.head["preimage"]; want != "" {
			if got := hex.EncodeToString(wire.MACPreimage(nil, v.head["link-id"], h)); got != want {
				t.Errorf("%s: preimage\n got %s\nwant %s", file, got, want)
			}
		}
	}
}

// What the real node made of publish-signed.vec, byte for byte.
func TestForwardVector(t *testing.T) {
	in, out := loadVector(t, "publish-signed.vec"), loadVector(t, "publish-forwarded.vec")
	f := parse(t, in.data)
	g := f.With(wire.Patch{TTL: wire.Some(f.Header().TTL - 1), IncomingConn: wire.Some(uint64(1))})
	signed := g.With(wire.Patch{MAC: tag(unhex(t, out.head["key"]), out.head["link-id"], g.Header())})
	if got := signed.Bytes(); !bytes.Equal(got, out.data) {
		t.Errorf("forwarded\n got %x\nwant %x", got, out.data)
	}
	if g.SignedSize() != len(out.data) || signed.Size() != len(out.data) {
		t.Errorf("SignedSize = %d, Size = %d, want %d", g.SignedSize(), signed.Size(), len(out.data))
	}
}

func TestNameVector(t *testing.T) {
	h := parse(t, loadVector(t, "publish-signed.vec").data).Header()
	want := name.New("org", "ns", "alice").WithID(name.ID{Hi: 0x1112131415161718, Lo: 0x191a1b1c1d1e1f20})
	if got := h.Source.Name(); got != want {
		t.Errorf("source = %v, want %v", got, want)
	}
	if got := h.Destination.Key(); got != name.New("org", "ns", "bob").Key() {
		t.Errorf("destination = %v", got)
	}
}

// claimedKey is the public key in a shared-secret token.
func claimedKey(t *testing.T, token string) *ecdsa.PublicKey {
	t.Helper()
	var claims struct{ Pubkey []byte }
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ":")[3])
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), claims.Pubkey)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

func hexSum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func verifies(t *testing.T, token string, msg, sig []byte) bool {
	t.Helper()
	sum := sha256.Sum256(msg)
	return ecdsa.VerifyASN1(claimedKey(t, token), sum[:], sig)
}

func TestPayloadSignatureVector(t *testing.T) {
	v := loadVector(t, "join-request-payload-signature.vec")
	m, err := parse(t, v.data).Message()
	if err != nil {
		t.Fatal(err)
	}
	p := m.GetPublish()
	aad := wire.HeaderAAD(p)
	if got := hexSum(aad); got != v.head["aad-sha256"] {
		t.Errorf("AAD (%d bytes) has SHA-256 %s", len(aad), got)
	}
	input := wire.PayloadSigInput(aad, p, m.GetMetadata())
	if got := hexSum(input); got != v.head["input-sha256"] {
		t.Errorf("signed input (%d bytes) has SHA-256 %s", len(input), got)
	}
	token := p.GetHeader().GetIdentity()
	if !verifies(t, token, aad, p.GetHeader().GetE2EHeaderSig()) {
		t.Error("header signature does not verify")
	}
	sig, err := base64.StdEncoding.DecodeString(m.GetMetadata()[wire.MetaPayloadSig])
	if err != nil || !verifies(t, token, input, sig) {
		t.Errorf("payload signature does not verify (%v)", err)
	}
	m.Metadata["traceparent"] = "added by a node"
	m.Metadata[wire.MetaPeerSubject] = "x"
	if got := wire.PayloadSigInput(aad, p, m.GetMetadata()); !bytes.Equal(got, input) {
		t.Error("trace keys or the peer subject changed the signed input")
	}
	m.Metadata["k3"] = ""
	if got := wire.PayloadSigInput(aad, p, m.GetMetadata()); bytes.Equal(got, input) {
		t.Error("an added entry did not change the signed input")
	}
}

// The AAD of a real DISCOVERY_REQUEST, rebuilt from the Publish it describes.
func TestHeaderSignatureVector(t *testing.T) {
	v := loadVector(t, "header-signature.vec")
	if got := hexSum(v.data); got != v.head["aad-sha256"] {
		t.Fatalf("the vector has SHA-256 %s", got)
	}
	var a pb.HeaderIntegrityAad
	if err := proto.Unmarshal(v.data, &a); err != nil {
		t.Fatal(err)
	}
	p := &pb.Publish{
		Header: &pb.SLIMHeader{Source: a.Source, Destination: a.Destination, Identity: a.Identity, Ttl: 7, Fanout: 1},
		Session: &pb.SessionHeader{
			SessionType: a.SessionType, SessionMessageType: a.SessionMessageType,
			SessionId: a.SessionId, MessageId: a.MessageId,
		},
	}
	if got := wire.HeaderAAD(p); !bytes.Equal(got, v.data) {
		t.Errorf("HeaderAAD\n got %x\nwant %x", got, v.data)
	}
	if !verifies(t, a.Identity, v.data, unhex(t, v.head["signature"])) {
		t.Error("signature does not verify")
	}
}

// Every traced Publish with a signature verifies over our AAD.
func TestTracedSignatures(t *testing.T) {
	signed := 0
	for i, l := range loadTraces(t) {
		m, err := parse(t, l.data).Message()
		if err != nil {
			t.Fatal(err)
		}
		h := m.GetPublish().GetHeader()
		if h.GetE2EHeaderSig() == nil {
			continue
		}
		signed++
		if !verifies(t, h.GetIdentity(), wire.HeaderAAD(m.GetPublish()), h.GetE2EHeaderSig()) {
			t.Errorf("line %d (%s): signature does not verify", i, l.Type)
		}
	}
	if signed < 10 {
		t.Errorf("only %d signed messages in the traces", signed)
	}
}
