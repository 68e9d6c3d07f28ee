package wire_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

func discardUnknown(m protoreflect.Message) {
	m.SetUnknown(nil)
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Message() != nil && !fd.IsMap() && !fd.IsList() {
			discardUnknown(v.Message())
		}
		return true
	})
}

// publish is a Publish as an app sends it.
func publish(payload []byte) *pb.Message {
	src := name.New("org", "ns", "alice").WithID(name.ID{Hi: 1, Lo: 2})
	return &pb.Message{MessageType: &pb.Message_Publish{Publish: &pb.Publish{
		Header: &pb.SLIMHeader{
			Source: wire.FromName(src), Destination: wire.FromName(name.New("org", "ns", "bob")),
			Identity: "tok", Fanout: wire.FanoutOne, Version: "2.2.0", Ttl: wire.DefaultTTL,
		},
		Session: &pb.SessionHeader{SessionType: 1, SessionMessageType: 1, SessionId: 5, MessageId: 1},
		Msg: &pb.Content{ContentType: &pb.Content_AppPayload{AppPayload: &pb.ApplicationPayload{
			PayloadType: "msg", Blob: payload,
		}}},
	}}}
}

func encode(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true, AllowPartial: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func lenField(num protowire.Number, content ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), bytes.Join(content, nil))
}

func varField(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

func edit(m *pb.Message, f func(*pb.Publish)) *pb.Message {
	f(m.GetPublish())
	return m
}

func TestParseInvalid(t *testing.T) {
	good := encode(t, publish([]byte("x")))
	header := encode(t, publish(nil).GetPublish().GetHeader())
	nm := encode(t, wire.FromName(name.New("a", "b", "c")))
	noStrings := wire.FromName(name.New("a", "b", "c"))
	noStrings.StrName = nil
	sub := &pb.Subscribe{Header: publish(nil).GetPublish().GetHeader(), SubscriptionId: 7}
	sub.Header.Destination = noStrings
	for _, tc := range []struct {
		name string
		in   []byte
		want wire.InvalidError
	}{
		{"no bytes", nil, wire.InvalidError{Reason: wire.EmptyMessage}},
		{"metadata only", lenField(4, lenField(1, []byte("k"))), wire.InvalidError{Reason: wire.EmptyMessage}},
		{"unknown message type", lenField(9, nil), wire.InvalidError{Reason: wire.EmptyMessage}},
		{"no header", encode(t, edit(publish(nil), func(p *pb.Publish) { p.Header = nil })), wire.InvalidError{Reason: wire.NoHeader, Kind: wire.KindPublish}},
		{"no source", encode(t, edit(publish(nil), func(p *pb.Publish) { p.Header.Source = nil })), wire.InvalidError{Reason: wire.NoSource, Kind: wire.KindPublish}},
		{"no source.name", encode(t, edit(publish(nil), func(p *pb.Publish) { p.Header.Source.Name = nil })), wire.InvalidError{Reason: wire.NoSource, Kind: wire.KindPublish}},
		{"no destination", encode(t, edit(publish(nil), func(p *pb.Publish) { p.Header.Destination = nil })), wire.InvalidError{Reason: wire.NoDestination, Kind: wire.KindPublish}},
		{"no destination.name", encode(t, edit(publish(nil), func(p *pb.Publish) { p.Header.Destination.Name = nil })), wire.InvalidError{Reason: wire.NoDestination, Kind: wire.KindPublish}},
		{"no session", encode(t, edit(publish(nil), func(p *pb.Publish) { p.Session = nil })), wire.InvalidError{Reason: wire.NoSession, Kind: wire.KindPublish}},
		{"subscribe without strings", lenField(1, encode(t, sub)), wire.InvalidError{Reason: wire.NoDestinationStrings, Kind: wire.KindSubscribe, SubscriptionID: 7}},
		{"subscribe without header", lenField(1, varField(2, 9)), wire.InvalidError{Reason: wire.NoHeader, Kind: wire.KindSubscribe, SubscriptionID: 9}},
		{"unsubscribe without header", lenField(2, nil), wire.InvalidError{Reason: wire.NoHeader, Kind: wire.KindUnsubscribe}},
		{"message type twice", append(bytes.Clone(good), good...), wire.InvalidError{Reason: wire.DuplicateField, Kind: wire.KindPublish}},
		{"two message types", append(bytes.Clone(good), lenField(5, nil)...), wire.InvalidError{Reason: wire.DuplicateField, Kind: wire.KindLink}},
		{"two headers", lenField(3, lenField(1, header), lenField(1, header), lenField(2, nil)), wire.InvalidError{Reason: wire.DuplicateField, Kind: wire.KindPublish}},
		{"two sources", lenField(3, lenField(1, header, lenField(1, nm)), lenField(2, nil)), wire.InvalidError{Reason: wire.DuplicateField, Kind: wire.KindPublish}},
		{"two ttl", lenField(3, lenField(1, header, varField(6, 9)), lenField(2, nil)), wire.InvalidError{Reason: wire.DuplicateField, Kind: wire.KindPublish}},
		{"unknown group", append(bytes.Clone(good), 0x7b, 0x7c), wire.InvalidError{Reason: wire.GroupField, Kind: wire.KindPublish}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := wire.Parse(tc.in)
			var inv *wire.InvalidError
			if !errors.As(err, &inv) || *inv != tc.want {
				t.Fatalf("Parse = %v, %v; want %+v", f, err, tc.want)
			}
			if errors.Is(err, wire.ErrMalformed) {
				t.Error("an invalid message must not end the link")
			}
		})
	}
}

func TestParseMalformed(t *testing.T) {
	good := encode(t, publish([]byte("x")))
	badText := encode(t, publish(nil).GetPublish().GetHeader())
	badText = append(badText, lenField(12, nil)...) // still fine
	for _, tc := range []struct {
		name string
		in   []byte
	}{
		{"garbage", []byte("hello, this is no protobuf")},
		{"truncated", good[:len(good)-1]},
		{"field number 0", []byte{0x02, 0x00}},
		{"field number too large", append(bytes.Clone(good), protowire.AppendVarint(nil, math.MaxUint32)...)},
		{"end of a group that did not start", append(bytes.Clone(good), 0x7c)},
		{"known field of another wire type", varField(3, 1)},
		{"ttl as bytes", lenField(3, lenField(1, lenField(6, nil)))},
		{"identity not UTF-8", lenField(3, lenField(1, lenField(3, []byte{0xff})))},
		{"payload type not UTF-8", lenField(3, lenField(1, badText), lenField(3, lenField(1, lenField(1, []byte{0xff}))))},
		{"broken command payload", lenField(3, lenField(3, lenField(2, lenField(3, []byte{0x12}))))},
		{"metadata not UTF-8", append(bytes.Clone(good), lenField(4, lenField(1, []byte{0xc0}))...)},
		{"varint of 11 bytes", append(bytes.Clone(good), 0x78, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if f, err := wire.Parse(tc.in); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("Parse = %v, %v; want ErrMalformed", f, err)
			}
			if err := proto.Unmarshal(tc.in, &pb.Message{}); err == nil && !strings.Contains(tc.name, "wire type") && !strings.Contains(tc.name, "as bytes") {
				t.Error("the generated decoder takes it")
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	unsub := &pb.Unsubscribe{Header: publish(nil).GetPublish().GetHeader(), SubscriptionId: 3}
	unsub.Header.Destination.StrName = nil
	for _, tc := range []struct {
		name string
		in   []byte
		kind wire.Kind
		sub  uint64
	}{
		{"publish without content", encode(t, edit(publish(nil), func(p *pb.Publish) { p.Msg = nil })), wire.KindPublish, 0},
		{"publish with empty session", encode(t, edit(publish(nil), func(p *pb.Publish) { p.Session.Reset() })), wire.KindPublish, 0},
		{"publish without strings", encode(t, edit(publish(nil), func(p *pb.Publish) { p.Header.Destination.StrName = nil })), wire.KindPublish, 0},
		{"unsubscribe without strings", lenField(2, encode(t, unsub)), wire.KindUnsubscribe, 3},
		{"negative ack", lenField(6, varField(1, 8), lenField(3, []byte("no"))), wire.KindSubscriptionAck, 8},
		{"empty link", lenField(5, nil), wire.KindLink, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := parse(t, tc.in)
			if f.Kind() != tc.kind || f.SubscriptionID() != tc.sub {
				t.Errorf("kind %v, subscription %d", f.Kind(), f.SubscriptionID())
			}
		})
	}
}

func TestAccessorsOfOtherKinds(t *testing.T) {
	ack := parse(t, loadVector(t, "subscription-ack.vec").data)
	if a := ack.SubscriptionAck(); !a.GetSuccess() || a.GetSubscriptionId() != 11719278830268865970 || ack.SubscriptionID() != a.GetSubscriptionId() {
		t.Errorf("ack = %v", a)
	}
	if ack.Link() != nil || ack.Header() != nil {
		t.Error("an ack has neither link nor header")
	}
	link := parse(t, loadVector(t, "link-request.vec").data)
	if n := link.Link().GetLinkNegotiation(); n.GetLinkId() != "d5ca32c5-7b6f-4a7b-bcf4-08ff2eff9369" || n.GetConnectionType() != 2 || len(n.GetLinkEcdhPublicKey()) != 32 {
		t.Errorf("negotiation = %v", n)
	}
	if link.SubscriptionAck() != nil || link.With(wire.Patch{MAC: []byte("x")}) != link {
		t.Error("a link message has no ack and no header to patch")
	}
	if got := link.SignedSize(); got != link.Size() {
		t.Errorf("SignedSize = %d, Size = %d", got, link.Size())
	}
}

// oddPublish has unknown fields at every level, metadata on both sides and the
// header in the middle of its message.
func oddPublish(t testing.TB, inner ...[]byte) (msg, before, after []byte) {
	m := publish([]byte("payload"))
	hdr := encode(t, m.GetPublish().GetHeader())
	hdr = append(lenField(90, []byte("first")), hdr...)
	hdr = append(hdr, bytes.Join(inner, nil)...)
	hdr = append(hdr, lenField(91, []byte("last"))...)
	before = bytes.Join([][]byte{lenField(2, varField(3, 77)), lenField(70, []byte("unknown"))}, nil)
	after = bytes.Join([][]byte{varField(71, 5), lenField(3, lenField(1, lenField(2, []byte("payload"))))}, nil)
	meta := lenField(4, lenField(1, []byte("k")), lenField(2, []byte("v")))
	msg = bytes.Join([][]byte{meta, lenField(72, []byte("x")), lenField(3, before, lenField(1, hdr), after), meta[:2], meta[2:], varField(73, 1)}, nil)
	return msg, before, after
}

func TestPatchKeepsEverythingElse(t *testing.T) {
	in, before, after := oddPublish(t, varField(7, 1), varField(8, 2), lenField(11, []byte("stale tag")))
	f := parse(t, bytes.Clone(in))
	g := f.With(wire.Patch{TTL: wire.Some(uint32(7)), IncomingConn: wire.Some(uint64(300)), MAC: bytes.Repeat([]byte{9}, 32)})
	out := g.Bytes()
	if len(out) != g.Size() {
		t.Errorf("Size = %d, %d bytes written", g.Size(), len(out))
	}
	if !bytes.Contains(out, before) || !bytes.Contains(out, after) || !bytes.HasPrefix(out, in[:10]) {
		t.Errorf("bytes outside the header changed:\n in %x\nout %x", in, out)
	}
	want, _ := f.Message()
	h := want.GetPublish().GetHeader()
	ttl, conn := uint32(7), uint64(300)
	h.Ttl, h.IncomingConn, h.RecvFrom, h.ForwardTo, h.HeaderMac = ttl, &conn, nil, nil, bytes.Repeat([]byte{9}, 32)
	got, err := g.Message()
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) {
		t.Errorf("patched\n got %v\nwant %v", got, want)
	}
	if !bytes.Equal(f.Bytes(), in) {
		t.Error("the original frame changed")
	}
	again := parse(t, out)
	if again.Header().TTL != 7 || again.Header().RecvFrom.Present || again.Header().ForwardTo.Present {
		t.Errorf("header = %+v", again.Header())
	}
}

func TestPatchFields(t *testing.T) {
	tagged := edit(publish(nil), func(p *pb.Publish) {
		p.Header.HeaderMac, p.Header.IncomingConn = []byte("stale"), proto.Uint64(4)
	})
	f := parse(t, encode(t, tagged))
	mac := make([]byte, wire.MACSize)
	for _, tc := range []struct {
		name  string
		patch wire.Patch
		ttl   uint32
		conn  *uint64
		mac   []byte
	}{
		{"nothing said: only the tag goes", wire.Patch{}, 8, proto.Uint64(4), nil},
		{"ttl zero is omitted", wire.Patch{TTL: wire.Some(uint32(0))}, 0, proto.Uint64(4), nil},
		{"ttl of five bytes", wire.Patch{TTL: wire.Some(uint32(math.MaxUint32))}, math.MaxUint32, proto.Uint64(4), nil},
		{"conn zero is explicit", wire.Patch{IncomingConn: wire.Some(uint64(0))}, 8, proto.Uint64(0), nil},
		{"conn of ten bytes", wire.Patch{IncomingConn: wire.Some(uint64(math.MaxUint64))}, 8, proto.Uint64(math.MaxUint64), nil},
		{"conn cleared", wire.Patch{ClearIncomingConn: true, IncomingConn: wire.Some(uint64(3))}, 8, nil, nil},
		{"tag", wire.Patch{MAC: mac}, 8, proto.Uint64(4), mac},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := proto.CloneOf(tagged)
			h := want.GetPublish().GetHeader()
			h.Ttl, h.IncomingConn, h.HeaderMac = tc.ttl, tc.conn, tc.mac
			g := f.With(tc.patch)
			if got := g.Bytes(); !bytes.Equal(got, encode(t, want)) {
				t.Errorf("got %x\nwant %x", got, encode(t, want))
			}
			if g.Size() != len(g.Bytes()) {
				t.Errorf("Size = %d, want %d", g.Size(), len(g.Bytes()))
			}
			if got, want := g.SignedSize(), len(g.With(wire.Patch{MAC: mac}).Bytes()); got != want {
				t.Errorf("SignedSize = %d, want %d", got, want)
			}
		})
	}
}

func TestWithTag(t *testing.T) {
	f := parse(t, encode(t, edit(publish(nil), func(p *pb.Publish) { p.Header.HeaderMac, p.Header.RecvFrom = []byte("stale"), proto.Uint64(1) })))
	g := f.WithTag(func(h *wire.Header) []byte {
		if h.MAC.Present || h.RecvFrom.Present {
			t.Errorf("the tag is made over %+v", h)
		}
		return []byte("fresh")
	})
	if want := f.With(wire.Patch{MAC: []byte("fresh")}); !bytes.Equal(g.Bytes(), want.Bytes()) {
		t.Errorf("got %x\nwant %x", g.Bytes(), want.Bytes())
	}
	if string(f.Header().MAC.Value) != "stale" {
		t.Error("the original frame changed")
	}
	ack := parse(t, loadVector(t, "subscription-ack.vec").data)
	if ack.WithTag(func(*wire.Header) []byte { t.Error("an ack has no tag"); return nil }) != ack {
		t.Error("an ack has no header to change")
	}
}

func TestSegmentsShareThePayload(t *testing.T) {
	in := encode(t, publish(bytes.Repeat([]byte("x"), 1000)))
	f := parse(t, in)
	segs := f.With(wire.Patch{TTL: wire.Some(uint32(1))}).Segments()
	last := segs[len(segs)-1]
	if &last[len(last)-1] != &in[len(in)-1] {
		t.Error("the payload was copied")
	}
}

func TestEncodeLimit(t *testing.T) {
	if _, err := wire.Encode(publish(make([]byte, wire.MaxOriginated))); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("Encode = %v, want ErrTooLarge", err)
	}
	f, err := wire.Encode(publish(make([]byte, wire.MaxOriginated-1000)))
	if err != nil {
		t.Fatal(err)
	}
	if f.SignedSize() > wire.MaxMessage {
		t.Errorf("SignedSize = %d", f.SignedSize())
	}
	if _, err := wire.Encode(&pb.Message{}); err == nil {
		t.Error("Encode took an empty message, which kills the reader of a real node")
	}
	if _, err := wire.Encode(edit(publish(nil), func(p *pb.Publish) { p.Header.Identity = "\xff" })); err == nil {
		t.Error("Encode took text that is not UTF-8")
	}
}

func TestNames(t *testing.T) {
	n := name.New("org", "ns", "app").WithID(name.ID{Hi: 1, Lo: 2})
	if got, ok := wire.ToName(wire.FromName(n)); !ok || got != n {
		t.Errorf("round trip = %v, %v", got, ok)
	}
	p := wire.FromName(n)
	p.StrName, p.Name.NameId = nil, nil
	if got, ok := wire.ToName(p); !ok || got.HasStrings() || got.Key() != n.Service().Key() {
		t.Errorf("without strings and id = %v, %v", got, ok)
	}
	p = wire.FromName(n)
	p.StrName.StrComponent_2 = "other"
	if got, ok := wire.ToName(p); ok {
		t.Errorf("strings that do not match the hashes gave %v", got)
	}
	for _, bad := range []*pb.Name{nil, {}, {StrName: &pb.StringName{}}} {
		if got, ok := wire.ToName(bad); ok {
			t.Errorf("ToName(%v) = %v", bad, got)
		}
	}
}
