package gosdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/slimbridge/slimbridge/adapters/mcp"
)

// maxExact is the largest integer up to which a floating-point number is exact.
const maxExact = 1 << 53

// Transport is a transport over one SLIM session.
type Transport struct {
	// Conn is the session; it is closed with the connection.
	Conn mcp.Conn
}

var _ sdk.Transport = (*Transport)(nil)

// Connect implements the SDK's Transport. The session is open already, so it does
// not block.
func (t *Transport) Connect(context.Context) (sdk.Connection, error) {
	if t.Conn == nil {
		return nil, errors.New("gosdk: Conn is required")
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &connection{conn: t.Conn, ctx: ctx, cancel: cancel}, nil
}

type connection struct {
	conn   mcp.Conn
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
}

// SessionID is unique among the sessions of a process.
func (c *connection) SessionID() string {
	return fmt.Sprintf("%s/%d", c.conn.Peer(), c.conn.SessionID())
}

// Read returns the next message for the SDK, and io.EOF after the end. What the
// SDK cannot handle is answered here.
func (c *connection) Read(ctx context.Context) (jsonrpc.Message, error) {
	for {
		frame, err := c.conn.ReadFrame(ctx)
		if err != nil {
			return nil, err
		}
		if c.ctx.Err() != nil {
			return nil, io.EOF
		}
		if answer := intercept(frame); answer != nil {
			if err := c.conn.WriteFrame(ctx, answer); err != nil {
				return nil, err
			}
			continue
		}
		if m, err := jsonrpc.DecodeMessage(frame); err == nil {
			return m, nil
		}
	}
}

// intercept returns the answer to what must not reach the SDK, nil for the rest.
func intercept(frame []byte) []byte {
	h, err := mcp.Scan(frame)
	switch {
	case err != nil && h.ID != nil:
		return mcp.ErrorResponse(h.ID, mcp.CodeInvalidRequest, err.Error())
	case err != nil || h.Kind != mcp.Request:
		return nil
	case h.Method == "ping":
		return mcp.EmptyResult(h.ID)
	case !exact(h.ID):
		return mcp.ErrorResponse(h.ID, mcp.CodeInvalidRequest, "this peer takes request ids up to 2^53 only")
	default:
		return nil
	}
}

// exact reports whether the SDK can answer under this id.
func exact(id []byte) bool {
	if id[0] == '"' {
		return true
	}
	n, err := strconv.ParseInt(string(id), 10, 64)
	return err == nil && math.Abs(float64(n)) < maxExact
}

// Write sends a message. A response that is too long is replaced by an error.
func (c *connection) Write(ctx context.Context, m jsonrpc.Message) error {
	frame, err := jsonrpc.EncodeMessage(m)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	err = c.conn.WriteFrame(ctx, frame)
	r, isResponse := m.(*jsonrpc.Response)
	if !isResponse || !errors.Is(err, mcp.ErrTooLarge) {
		return err
	}
	id, encodeErr := json.Marshal(r.ID.Raw())
	if encodeErr != nil {
		return err
	}
	return c.conn.WriteFrame(ctx, mcp.ErrorResponse(id, mcp.CodeInternal, err.Error()))
}

// Close ends the session.
func (c *connection) Close() error {
	c.cancel()
	return c.conn.Close()
}
