package wire

import "google.golang.org/protobuf/encoding/protowire"

// Patch says how a hop changes a header. Besides, recv_from and forward_to are
// always removed: they are instructions inside one process.
type Patch struct {
	TTL               Opt[uint32] // absent: unchanged
	IncomingConn      Opt[uint64] // absent: unchanged
	ClearIncomingConn bool        // removes it; IncomingConn is then ignored
	MAC               []byte      // nil: removed, since a tag is only good for one link
}

// With returns the frame with a changed header. It shares all bytes with f. A
// frame without header is returned as it is.
func (f *Frame) With(p Patch) *Frame {
	if !f.kind.hasHeader() {
		return f
	}
	g := *f
	g.patched = true
	h := &g.header
	h.RecvFrom, h.ForwardTo = Opt[uint64]{}, Opt[uint64]{}
	if p.TTL.Present {
		h.TTL = p.TTL.Value
	}
	if p.IncomingConn.Present {
		h.IncomingConn = p.IncomingConn
	}
	if p.ClearIncomingConn {
		h.IncomingConn = Opt[uint64]{}
	}
	h.MAC = Opt[[]byte]{Value: p.MAC, Present: p.MAC != nil}
	return &g
}

// WithTag returns the frame as one link sends it: local fields removed, and the
// tag computed over the header without a tag. It is With twice for the price of
// one. The frame keeps the slice that tag returns.
func (f *Frame) WithTag(tag func(*Header) []byte) *Frame {
	g := f.With(Patch{})
	if h := g.Header(); h != nil {
		h.MAC = Some(tag(h))
	}
	return g
}

// Size returns the bytes of the message as [Frame.Segments] gives them.
func (f *Frame) Size() int {
	if !f.patched {
		return len(f.raw)
	}
	return f.sizeWith(f.header.patchedSize())
}

// SignedSize is what Size will be once the writer of a link has replaced the
// tag by its own and removed the local fields: the value to compare with
// [MaxMessage].
func (f *Frame) SignedSize() int {
	if !f.kind.hasHeader() {
		return len(f.raw)
	}
	h := f.header
	h.RecvFrom, h.ForwardTo = Opt[uint64]{}, Opt[uint64]{}
	h.MAC = Opt[[]byte]{}
	return f.sizeWith(h.patchedSize() + protowire.SizeTag(numMAC) + protowire.SizeBytes(MACSize))
}

// sizeWith is the size of the message when the rewritten fields take n bytes.
func (f *Frame) sizeWith(n int) int {
	header := f.headerLen(n)
	body := f.bodyLen(header)
	return len(f.raw) - (f.bodyEnd - f.typeStart) + protowire.SizeTag(protowire.Number(f.kind)) + protowire.SizeBytes(body)
}

func (f *Frame) headerLen(rewritten int) int {
	return f.headerEnd - f.headerBody - f.rewrittenSize + rewritten
}

func (f *Frame) bodyLen(header int) int {
	return f.bodyEnd - f.bodyStart - (f.headerEnd - f.headerStart) + protowire.SizeTag(1) + protowire.SizeBytes(header)
}

// patchedSize is the encoded size of the fields that With rewrites.
func (h *Header) patchedSize() (n int) {
	if h.TTL != 0 {
		n += protowire.SizeTag(numTTL) + protowire.SizeVarint(uint64(h.TTL))
	}
	if h.IncomingConn.Present {
		n += protowire.SizeTag(numIncomingConn) + protowire.SizeVarint(h.IncomingConn.Value)
	}
	if h.MAC.Present {
		n += protowire.SizeTag(numMAC) + protowire.SizeBytes(len(h.MAC.Value))
	}
	return n
}

// Segments returns the message in pieces, to be written one after the other and
// not to be changed. Only the header and the two length prefixes around it are
// new bytes; everything else is shared with the frame. An unpatched frame is
// one piece: the bytes it was parsed from.
func (f *Frame) Segments() [][]byte {
	if !f.patched {
		return [][]byte{f.raw}
	}
	header := f.headerLen(f.header.patchedSize())
	between := f.raw[f.bodyStart:f.headerStart] // fields a sender put before the header: rare
	segs := make([][]byte, 0, 5)
	if f.typeStart > 0 {
		segs = append(segs, f.raw[:f.typeStart])
	}
	const prefixes = 2 * (1 + 5) // two one-byte tags, two lengths below 2^35
	head := make([]byte, 0, prefixes+header)
	head = appendLen(head, protowire.Number(f.kind), f.bodyLen(header))
	if len(between) > 0 {
		segs = append(segs, head, between)
		head = head[len(head):]
	}
	head = appendLen(head, 1, header)
	head = f.header.appendTo(head, f.raw[f.headerBody:f.headerEnd])
	segs = append(segs, head)
	if f.headerEnd < len(f.raw) {
		segs = append(segs, f.raw[f.headerEnd:])
	}
	return segs
}

// appendTo appends the original header bytes with the rewritten fields
// replaced. Each of those stands before the first field of a higher number, so
// a header in ascending order stays in ascending order.
func (h *Header) appendTo(dst, orig []byte) []byte {
	done := protowire.Number(0)
	for len(orig) > 0 {
		num, _, _, rest, size := next(orig)
		dst = h.appendRewritten(dst, done, num)
		done = max(done, num)
		if !rewritten(num) {
			dst = append(dst, orig[:size]...)
		}
		orig = rest
	}
	return h.appendRewritten(dst, done, numMAC)
}

// appendRewritten appends the rewritten fields with numbers in (from, to].
func (h *Header) appendRewritten(dst []byte, from, to protowire.Number) []byte {
	within := func(num protowire.Number) bool { return from < num && num <= to }
	if within(numTTL) && h.TTL != 0 {
		dst = protowire.AppendTag(dst, numTTL, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(h.TTL))
	}
	if within(numIncomingConn) && h.IncomingConn.Present {
		dst = protowire.AppendTag(dst, numIncomingConn, protowire.VarintType)
		dst = protowire.AppendVarint(dst, h.IncomingConn.Value)
	}
	if within(numMAC) && h.MAC.Present {
		dst = protowire.AppendTag(dst, numMAC, protowire.BytesType)
		dst = protowire.AppendBytes(dst, h.MAC.Value)
	}
	return dst
}
