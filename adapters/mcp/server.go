package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// maxSessions bounds the sessions that Serve runs at the same time; further ones
// are closed.
const maxSessions = 1024

// Serve runs one MCP session of s on every session that l yields, until ctx is
// done or the listener ends. It closes l and returns when all sessions and all
// handlers have ended: nil after ctx or after l was closed, else the listener's
// error. Handlers must heed their context, or Serve waits for them.
func Serve(ctx context.Context, l Listener, s *server.MCPServer) error {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer func() { _ = l.Close() }() // nobody accepts any more
	slots := make(chan struct{}, maxSessions)
	for {
		conn, err := l.Accept(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		default:
			return fmt.Errorf("accept SLIM session: %w", err)
		}
		select {
		case slots <- struct{}{}:
			sessions.Go(func() {
				defer func() { <-slots }()
				_ = ServeConn(ctx, conn, s) // one session's end concerns no other
			})
		default:
			_ = conn.Close()
		}
	}
}

// ServeConn runs one MCP session of s on conn until it ends or ctx is done. It
// closes conn and waits for all handlers. An orderly end and the end of ctx are
// no errors.
//
// Requests run at the same time, up to 64; further ones are answered with an
// error. They are taken before the client has initialized, and in both eras of
// MCP. Notifications are handled in order. Every response carries its id byte for
// byte as it came.
func ServeConn(ctx context.Context, conn Conn, s *server.MCPServer) error {
	ctx, cancel := context.WithCancel(ctx)
	cs := newClientSession(conn)
	h := &serverConn{conn: conn, mcp: s, session: cs, running: newInflight()}
	h.ctx = s.WithContext(ctx, cs)
	defer h.close(cancel)
	if err := s.RegisterSession(ctx, cs); err != nil {
		return fmt.Errorf("register MCP session %s: %w", cs.SessionID(), err)
	}
	defer s.UnregisterSession(ctx, cs.SessionID())
	h.writing.Go(func() { cs.write(ctx, cancel) })
	return h.read(ctx)
}

// serverConn is the reader of one session.
type serverConn struct {
	conn    Conn
	mcp     *server.MCPServer
	session *clientSession
	ctx     context.Context // of the handlers; ends with the session
	running *inflight

	handling, writing sync.WaitGroup
}

func (h *serverConn) close(cancel context.CancelFunc) {
	cancel()
	h.session.end()
	h.handling.Wait()
	h.writing.Wait()
	_ = h.conn.Close() // it may have ended already
}

func (h *serverConn) read(ctx context.Context) error {
	for {
		frame, err := h.conn.ReadFrame(ctx)
		if err != nil {
			if lost := (*SessionLostError)(nil); errors.As(err, &lost) {
				return err
			}
			return nil
		}
		h.handle(frame)
	}
}

// handle routes one message. Responses never reach mcp-go's HandleMessage, which
// takes some of them for requests; nor do cancellations, since it keeps ids as
// floating-point numbers.
func (h *serverConn) handle(frame []byte) {
	header, err := Scan(frame)
	if err != nil {
		code := CodeInvalidRequest
		if e := (*ScanError)(nil); errors.As(err, &e) {
			code = e.Code
		}
		h.session.respond(h.ctx, header.ID, ErrorResponse(header.ID, code, err.Error()))
		return
	}
	switch {
	case header.Kind == Response:
		h.session.resolve(header.ID, frame)
	case header.Kind == Request:
		h.request(header, frame)
	case header.Method == methodCancelled:
		if header.RequestID != nil {
			h.running.cancel(header.RequestID)
		}
	default:
		h.guard(h.ctx, header.ID, frame)
	}
}

func (h *serverConn) request(header Header, frame []byte) {
	ctx, end, err := h.running.begin(h.ctx, header.ID)
	if err != nil {
		code, text := CodeInvalidRequest, err.Error()
		if errors.Is(err, errBusy) {
			code, text = CodeInternal, "server is busy: "+text
		}
		h.session.respond(h.ctx, header.ID, ErrorResponse(header.ID, code, text))
		return
	}
	h.handling.Go(func() {
		var respond func()
		defer func() { end(respond) }()
		answer := h.guard(ctx, header.ID, frame)
		if answer != nil && ctx.Err() == nil { // a cancelled request gets no answer
			respond = func() { h.session.respond(h.ctx, header.ID, answer) }
		}
	})
}

// guard lets mcp-go handle a message and turns a panic into an error response.
func (h *serverConn) guard(ctx context.Context, id, frame []byte) (answer []byte) {
	defer func() {
		if p := recover(); p != nil && id != nil {
			answer = ErrorResponse(id, CodeInternal, fmt.Sprintf("internal panic: %v", p))
		}
	}()
	answer, err := encodeResponse(h.mcp.HandleMessage(ctx, frame), id)
	if err != nil {
		return ErrorResponse(id, CodeInternal, "encode response: "+err.Error())
	}
	return answer
}

// encodeResponse encodes mcp-go's response under the raw id of the request.
func encodeResponse(r mcpgo.JSONRPCMessage, id []byte) ([]byte, error) {
	raw := mcpgo.NewRequestId(json.RawMessage(id))
	switch r := r.(type) {
	case nil:
		return nil, nil
	case mcpgo.JSONRPCResponse:
		r.ID = raw
		return json.Marshal(r)
	case mcpgo.JSONRPCError:
		r.ID = raw
		return json.Marshal(r)
	default:
		return json.Marshal(r)
	}
}
