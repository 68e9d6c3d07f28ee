package link

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// rawCodec passes messages through: segments out, one owned slice in. Nothing
// is decoded, and what goes out is not copied before gRPC frames it.
type rawCodec struct{}

// Name is empty so that the content type stays application/grpc, as upstream
// sends it.
func (rawCodec) Name() string { return "" }

// Marshal implements encoding.CodecV2 for [][]byte.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	segs, ok := v.([][]byte)
	if !ok {
		return nil, fmt.Errorf("raw codec: cannot send a %T", v)
	}
	out := make(mem.BufferSlice, len(segs))
	for i, s := range segs {
		out[i] = mem.SliceBuffer(s)
	}
	return out, nil
}

// Unmarshal implements encoding.CodecV2 for *[]byte. The one copy frees gRPC's
// pooled buffers, so that a queued frame holds no more memory than its size.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("raw codec: cannot receive a %T", v)
	}
	*b = data.Materialize()
	return nil
}
