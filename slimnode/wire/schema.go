package wire

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// schema is what the structural check needs to know of one message type. The
// table is read from the generated code once; the check itself walks raw bytes,
// allocates nothing, and steps over blobs without looking at them.
type schema struct {
	fields []field // by number
}

type field struct {
	known    bool
	typ      protowire.Type
	text     bool    // must be UTF-8
	repeated bool    // may occur more than once
	oneof    uint8   // 1-based index of the oneof, 0 if none
	sub      *schema // of a message
}

var messageSchema = newSchema((&pb.Message{}).ProtoReflect().Descriptor(), map[protoreflect.FullName]*schema{})

func newSchema(d protoreflect.MessageDescriptor, done map[protoreflect.FullName]*schema) *schema {
	if s := done[d.FullName()]; s != nil {
		return s
	}
	s := &schema{}
	done[d.FullName()] = s
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		f := field{known: true, typ: protowire.VarintType, repeated: fd.Cardinality() == protoreflect.Repeated}
		switch fd.Kind() {
		case protoreflect.StringKind, protoreflect.BytesKind:
			f.typ, f.text = protowire.BytesType, fd.Kind() == protoreflect.StringKind
		case protoreflect.MessageKind:
			f.typ, f.sub = protowire.BytesType, newSchema(fd.Message(), done)
		}
		if o := fd.ContainingOneof(); o != nil {
			f.oneof = uint8(o.Index() + 1)
		}
		for len(s.fields) <= int(fd.Number()) {
			s.fields = append(s.fields, field{})
		}
		s.fields[fd.Number()] = f
	}
	return s
}

func (s *schema) field(n protowire.Number) field {
	if int(n) < len(s.fields) {
		return s.fields[n]
	}
	return field{}
}

// check walks b as a message of this type and everything below it. The error
// is of class [ErrMalformed]; a reason means well-formed, but not acceptable.
// The schema has no cycle, so the depth is bounded.
func (s *schema) check(b []byte) (Reason, error) {
	var bad Reason
	var seen, oneofs uint64 // field numbers and oneof indexes are below 64
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num > protowire.MaxValidNumber {
			return 0, malformed("bad field tag")
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return 0, malformed("bad field value")
		}
		val := b[n : n+m]
		b = b[n+m:]
		f := s.field(num)
		switch {
		case f.known && f.typ != typ:
			return 0, malformed("a known field has another wire type")
		case typ == protowire.StartGroupType:
			bad = GroupField
		case !f.known:
		case !f.repeated && (seen&(1<<num) != 0 || f.oneof > 0 && oneofs&(1<<f.oneof) != 0):
			bad = DuplicateField
		}
		if !f.known {
			continue
		}
		seen |= 1 << num
		oneofs |= 1 << f.oneof
		if typ != protowire.BytesType {
			continue
		}
		val, _ = protowire.ConsumeBytes(val)
		if f.text && !utf8.Valid(val) {
			return 0, malformed("text is not UTF-8")
		}
		if f.sub != nil {
			r, err := f.sub.check(val)
			if err != nil {
				return 0, err
			}
			if r != 0 {
				bad = r
			}
		}
	}
	return bad, nil
}
