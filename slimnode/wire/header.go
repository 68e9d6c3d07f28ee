package wire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// Opt is a value with explicit presence. The zero value is absent.
type Opt[T any] struct {
	Value   T
	Present bool
}

// Some is a present value.
func Some[T any](v T) Opt[T] { return Opt[T]{Value: v, Present: true} }

// Header is a parsed SLIMHeader. Its byte slices are views of the frame's
// bytes: read them, never write them, copy them to keep them.
type Header struct {
	Source, Destination NameView
	Identity            []byte // token of the originator, UTF-8; a credential, never to be logged
	Fanout              uint32
	Version             []byte
	TTL                 uint32
	RecvFrom, ForwardTo Opt[uint64] // covered by the MAC; a node obeys neither
	IncomingConn        Opt[uint64]
	Error               Opt[bool]
	MAC                 Opt[[]byte]
	Signature           Opt[[]byte] // e2e_header_sig
}

// NameView is a Name inside a header, with the presence of each part.
type NameView struct {
	Present    bool // the Name message itself
	HasName    bool // the encoded part, which routes
	HasID      bool
	HasStrings bool
	Prefix     name.Prefix
	ID         name.ID
	Strings    [3][]byte
}

// Key is the routing identity. An absent id means any instance.
func (v *NameView) Key() name.Key {
	if !v.HasID {
		return name.Key{Prefix: v.Prefix, ID: name.Any}
	}
	return name.Key{Prefix: v.Prefix, ID: v.ID}
}

// Name copies the view into a Name; the components are empty if the wire did
// not carry them. The strings are not compared with the hashes.
func (v *NameView) Name() name.Name {
	k := v.Key()
	n := name.Name{Prefix: k.Prefix, ID: k.ID}
	for i, s := range v.Strings {
		n.Components[i] = string(s)
	}
	return n
}

// next splits off the first field of checked bytes.
func next(b []byte) (num protowire.Number, typ protowire.Type, val, rest []byte, size int) {
	num, typ, n := protowire.ConsumeTag(b)
	m := protowire.ConsumeFieldValue(num, typ, b[n:])
	return num, typ, b[n : n+m], b[n+m:], n + m
}

func varint(val []byte) uint64 {
	v, _ := protowire.ConsumeVarint(val)
	return v
}

func content(val []byte) []byte {
	b, _ := protowire.ConsumeBytes(val)
	return b
}

// Numbers of the header fields a node rewrites, and their neighbours.
const (
	numSource       = 1
	numDestination  = 2
	numIdentity     = 3
	numFanout       = 4
	numVersion      = 5
	numTTL          = 6
	numRecvFrom     = 7
	numForwardTo    = 8
	numIncomingConn = 9
	numError        = 10
	numMAC          = 11
	numSignature    = 12
)

// rewritten reports whether [Frame.With] re-encodes or drops the field.
func rewritten(num protowire.Number) bool {
	return num >= numTTL && num <= numIncomingConn || num == numMAC
}

// parse reads checked bytes and returns the size of the fields that
// [Frame.With] rewrites.
func (h *Header) parse(b []byte) (rewrittenSize int) {
	for len(b) > 0 {
		num, _, val, rest, size := next(b)
		b = rest
		if rewritten(num) {
			rewrittenSize += size
		}
		switch num {
		case numSource:
			h.Source.parse(content(val))
		case numDestination:
			h.Destination.parse(content(val))
		case numIdentity:
			h.Identity = content(val)
		case numFanout:
			h.Fanout = uint32(varint(val))
		case numVersion:
			h.Version = content(val)
		case numTTL:
			h.TTL = uint32(varint(val))
		case numRecvFrom:
			h.RecvFrom = Some(varint(val))
		case numForwardTo:
			h.ForwardTo = Some(varint(val))
		case numIncomingConn:
			h.IncomingConn = Some(varint(val))
		case numError:
			h.Error = Some(varint(val) != 0)
		case numMAC:
			h.MAC = Some(content(val))
		case numSignature:
			h.Signature = Some(content(val))
		}
	}
	return rewrittenSize
}

func (v *NameView) parse(b []byte) {
	v.Present = true
	for len(b) > 0 {
		num, _, val, rest, _ := next(b)
		b = rest
		switch num {
		case 1:
			v.parseEncoded(content(val))
		case 2:
			v.parseStrings(content(val))
		}
	}
}

func (v *NameView) parseEncoded(b []byte) {
	v.HasName = true
	for len(b) > 0 {
		num, _, val, rest, _ := next(b)
		b = rest
		switch num {
		case 1, 2, 3:
			v.Prefix[num-1] = varint(val)
		case 4:
			v.HasID = true
			for id := content(val); len(id) > 0; {
				num, _, val, rest, _ := next(id)
				id = rest
				switch num {
				case 1:
					v.ID.Hi = varint(val)
				case 2:
					v.ID.Lo = varint(val)
				}
			}
		}
	}
}

func (v *NameView) parseStrings(b []byte) {
	v.HasStrings = true
	for len(b) > 0 {
		num, _, val, rest, _ := next(b)
		b = rest
		if num >= 1 && num <= 3 {
			v.Strings[num-1] = content(val)
		}
	}
}
