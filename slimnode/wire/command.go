package wire

import (
	"google.golang.org/protobuf/proto"

	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// AppendCommand appends the encoding of the content of a control message, to be
// kept and read again with [ParseCommand].
func AppendCommand(dst []byte, c *pb.CommandPayload) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, c)
}

// ParseCommand reads what AppendCommand wrote.
func ParseCommand(b []byte) (*pb.CommandPayload, error) {
	c := &pb.CommandPayload{}
	if err := proto.Unmarshal(b, c); err != nil {
		return nil, malformed("control message")
	}
	return c, nil
}
