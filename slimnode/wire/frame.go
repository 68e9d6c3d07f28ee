package wire

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

const numMetadata = 4

// Frame is one Message: its header parsed, all the rest raw. It is immutable
// and safe for concurrent use.
type Frame struct {
	raw  []byte
	kind Kind
	sub  uint64 // subscription_id

	// Spans of raw: the field of the message type (tag included), its content,
	// the header field in it and the header's content.
	typeStart, bodyStart, bodyEnd      int
	headerStart, headerBody, headerEnd int

	header        Header // with the patch applied
	rewrittenSize int    // bytes of the original header that a patch replaces
	patched       bool
}

// Parse checks b and returns it as a frame, which keeps b: the caller must not
// change it any more. The cost does not depend on the size of the payload
// blob. Errors wrap [ErrMalformed] or are an *[InvalidError]; sizes are the
// carrier's business.
func Parse(b []byte) (*Frame, error) {
	reason, err := messageSchema.check(b)
	if err != nil {
		return nil, err
	}
	f := &Frame{raw: b}
	hasSession := f.locate()
	if reason == 0 {
		reason = f.verdict(hasSession)
	}
	if reason != 0 {
		return nil, &InvalidError{Reason: reason, Kind: f.kind, SubscriptionID: f.sub}
	}
	return f, nil
}

// locate finds the spans in checked bytes and parses the header.
func (f *Frame) locate() (hasSession bool) {
	at := 0
	for at < len(f.raw) {
		num, _, val, _, size := next(f.raw[at:])
		end := at + size
		if k := Kind(num); num <= 6 && (k.hasHeader() || k == KindLink || k == KindSubscriptionAck) {
			f.kind = k
			f.typeStart, f.bodyEnd = at, end
			f.bodyStart = end - len(content(val))
		}
		at = end
	}
	for at = f.bodyStart; at < f.bodyEnd; {
		num, _, val, _, size := next(f.raw[at:f.bodyEnd])
		end := at + size
		switch {
		case f.kind == KindSubscriptionAck:
			if num == 1 {
				f.sub = varint(val)
			}
		case !f.kind.hasHeader():
		case num == 1:
			f.headerStart, f.headerBody, f.headerEnd = at, end-len(content(val)), end
		case num == 2 && f.kind == KindPublish:
			hasSession = true
		case num == 2:
			f.sub = varint(val)
		}
		at = end
	}
	f.rewrittenSize = f.header.parse(f.raw[f.headerBody:f.headerEnd])
	return hasSession
}

// verdict applies the checks of the real node (source: agntcy/slim
// crates/proto impls.rs), and one that keeps us from killing it: the strings in
// the destination of a Subscribe.
func (f *Frame) verdict(hasSession bool) Reason {
	h := &f.header
	switch {
	case f.kind == 0:
		return EmptyMessage
	case !f.kind.hasHeader():
		return 0
	case f.headerEnd == 0:
		return NoHeader
	case !h.Source.HasName:
		return NoSource
	case !h.Destination.HasName:
		return NoDestination
	case f.kind == KindSubscribe && !h.Destination.HasStrings:
		return NoDestinationStrings
	case f.kind == KindPublish && !hasSession:
		return NoSession
	}
	return 0
}

// Encode makes the frame of a message that originates here. Its bytes are those
// of the real library's encoder, with metadata in ascending order of the keys.
// It fails with [ErrTooLarge] above [MaxOriginated] and with the errors of
// [Parse].
func Encode(m *pb.Message) (*Frame, error) {
	// Go's encoder would put the metadata before the fields of the oneof.
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&pb.Message{MessageType: m.GetMessageType()})
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	for _, k := range slices.Sorted(maps.Keys(m.GetMetadata())) {
		v := m.GetMetadata()[k]
		b = appendLen(b, numMetadata, 2+protowire.SizeBytes(len(k))+protowire.SizeBytes(len(v)))
		b = append(appendLen(b, 1, len(k)), k...)
		b = append(appendLen(b, 2, len(v)), v...)
	}
	b = append(b, m.ProtoReflect().GetUnknown()...)
	if len(b) > MaxOriginated {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(b), MaxOriginated)
	}
	return Parse(b)
}

// Kind returns the type of the message.
func (f *Frame) Kind() Kind { return f.kind }

// Header returns the header with all patches applied, or nil for a Link or a
// SubscriptionAck. It must not be changed.
func (f *Frame) Header() *Header {
	if !f.kind.hasHeader() {
		return nil
	}
	return &f.header
}

// SubscriptionID returns the id of a Subscribe, Unsubscribe or SubscriptionAck;
// 0 for others, and 0 is also a legal value.
func (f *Frame) SubscriptionID() uint64 { return f.sub }

// SubscriptionAck decodes the ack; nil if the frame is of another kind.
func (f *Frame) SubscriptionAck() *pb.SubscriptionAck {
	if f.kind != KindSubscriptionAck {
		return nil
	}
	m := &pb.SubscriptionAck{}
	if proto.Unmarshal(f.raw[f.bodyStart:f.bodyEnd], m) != nil {
		return nil // cannot be: Parse has checked every byte
	}
	return m
}

// Link decodes the link message; nil if the frame is of another kind.
func (f *Frame) Link() *pb.Link {
	if f.kind != KindLink {
		return nil
	}
	m := &pb.Link{}
	if proto.Unmarshal(f.raw[f.bodyStart:f.bodyEnd], m) != nil {
		return nil // as above
	}
	return m
}

// Message decodes the whole message, patches included. Unknown fields are kept.
// The result shares nothing with the frame.
func (f *Frame) Message() (*pb.Message, error) {
	b := f.raw
	if f.patched {
		b = f.Bytes()
	}
	m := &pb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return m, nil
}

// Bytes returns the frame as one slice. It copies a patched frame; a carrier
// writes [Frame.Segments] instead.
func (f *Frame) Bytes() []byte {
	segs := f.Segments()
	if len(segs) == 1 {
		return segs[0]
	}
	return bytes.Join(segs, nil)
}

// appendLen appends a length-delimited field's tag and length.
func appendLen(b []byte, num protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.BytesType), uint64(n))
}
