package wire

import (
	"encoding/binary"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

const macDomain = "SLIM-DP-HDR-v1\x00"

// MACPreimage appends the bytes that header_mac covers: domain, link id and the
// header fields 1 to 4, 6 to 8 and 10 with their presence (source: agntcy/slim
// crates/datapath header_mac). Verify with the header as received; sign with
// the header as it will be sent.
func MACPreimage(dst []byte, linkID string, h *Header) []byte {
	le := binary.LittleEndian
	dst = append(dst, macDomain...)
	dst = append(le.AppendUint32(dst, uint32(len(linkID))), linkID...)
	dst = appendNameMAC(dst, &h.Source)
	dst = appendNameMAC(dst, &h.Destination)
	dst = appendLen32(dst, h.Identity)
	dst = le.AppendUint32(dst, h.Fanout)
	for _, o := range [2]Opt[uint64]{h.RecvFrom, h.ForwardTo} {
		dst = append(dst, flag(o.Present))
		if o.Present {
			dst = le.AppendUint64(dst, o.Value)
		}
	}
	dst = append(dst, flag(h.Error.Present))
	if h.Error.Present {
		dst = append(dst, flag(h.Error.Value))
	}
	return le.AppendUint32(dst, h.TTL)
}

func appendNameMAC(dst []byte, v *NameView) []byte {
	le := binary.LittleEndian
	dst = append(dst, flag(v.Present))
	if !v.Present {
		return dst
	}
	dst = append(dst, flag(v.HasName))
	if v.HasName {
		for _, c := range v.Prefix {
			dst = le.AppendUint64(dst, c)
		}
		dst = append(dst, flag(v.HasID))
		if v.HasID {
			dst = le.AppendUint64(le.AppendUint64(dst, v.ID.Hi), v.ID.Lo)
		}
	}
	dst = append(dst, flag(v.HasStrings))
	if v.HasStrings {
		for _, s := range v.Strings {
			dst = appendLen32(dst, s)
		}
	}
	return dst
}

func appendLen32(dst, s []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(s))), s...)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// HeaderAAD returns the protobuf HeaderIntegrityAad of a Publish: what
// e2e_header_sig signs and what MLS authenticates beside an encrypted payload
// (source: agntcy/slim crates/session). The names are used as they were sent.
func HeaderAAD(p *pb.Publish) []byte {
	h, s := p.GetHeader(), p.GetSession()
	return marshal(&pb.HeaderIntegrityAad{
		Version:            1,
		Source:             h.GetSource(),
		Destination:        h.GetDestination(),
		Identity:           h.GetIdentity(),
		SessionType:        s.GetSessionType(),
		SessionMessageType: s.GetSessionMessageType(),
		SessionId:          s.GetSessionId(),
		MessageId:          s.GetMessageId(),
		PayloadType:        p.GetMsg().GetAppPayload().GetPayloadType(),
	})
}

const payloadSigDomain = "slim-payload-v1"

// PayloadSigInput returns what the metadata entry [MetaPayloadSig] of a control
// message signs: its AAD, its content and its metadata without the trace keys
// and the two slim- keys (SLIM 3.4 and later; source: agntcy/slim
// crates/session).
func PayloadSigInput(aad []byte, p *pb.Publish, metadata map[string]string) []byte {
	dst := append([]byte(nil), payloadSigDomain...)
	dst = appendLen64(dst, aad)
	var content []byte
	if p.GetMsg() != nil {
		content = marshal(p.GetMsg())
	}
	dst = appendLen64(dst, content)
	for _, k := range slices.Sorted(maps.Keys(metadata)) {
		switch k {
		case "traceparent", "tracestate", "baggage", MetaPayloadSig, MetaPeerSubject:
		default:
			dst = appendLen64(dst, k)
			dst = appendLen64(dst, metadata[k])
		}
	}
	return dst
}

func appendLen64[T string | []byte](dst []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint64(dst, uint64(len(s))), s...)
}

// marshal is the encoding the real library uses too: fields in ascending order.
// It fails only for text that is not UTF-8, which no decoded message contains;
// then the result is empty and matches nothing.
func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil
	}
	return b
}
