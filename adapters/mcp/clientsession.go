package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

const (
	// notificationRoom is how many notifications of the server wait for the
	// writer; mcp-go drops those that find no room.
	notificationRoom = 128
	// responseRoom is how many messages wait for the writer before those who send
	// them block.
	responseRoom = 64
	// askTimeout bounds a request to the client whose context has no deadline:
	// people answer sampling and elicitation.
	askTimeout = 10 * time.Minute
	// cancelTimeout bounds the sending of a cancellation.
	cancelTimeout = 5 * time.Second
)

// clientSession is what mcp-go knows of one SLIM session.
type clientSession struct {
	clientState
	conn  Conn
	id    string
	notes chan mcpgo.JSONRPCNotification
	out   chan outgoing
	done  chan struct{} // closed by end
	once  sync.Once

	mu      sync.Mutex
	lastID  uint64
	waiting map[string]chan reply // by IDKey
}

// outgoing is a message for the writer; of a response the id is known.
type outgoing struct{ id, frame []byte }

// reply is a response of the client.
type reply struct {
	Result json.RawMessage            `json:"result"`
	Error  *mcpgo.JSONRPCErrorDetails `json:"error"`
}

var (
	_ server.SessionWithLogging               = (*clientSession)(nil)
	_ server.SessionWithClientInfo            = (*clientSession)(nil)
	_ server.SessionWithSampling              = (*clientSession)(nil)
	_ server.SessionWithElicitation           = (*clientSession)(nil)
	_ server.SessionWithRoots                 = (*clientSession)(nil)
	_ server.SessionWithResourceSubscriptions = (*clientSession)(nil)
	_ server.SessionWithSubscriptionFilter    = (*clientSession)(nil)
)

func newClientSession(conn Conn) *clientSession {
	s := &clientSession{
		conn:    conn,
		id:      sessionID(conn),
		notes:   make(chan mcpgo.JSONRPCNotification, notificationRoom),
		out:     make(chan outgoing, responseRoom),
		done:    make(chan struct{}),
		waiting: make(map[string]chan reply),
	}
	s.level = mcpgo.LoggingLevelError
	s.resources = make(map[string]struct{})
	return s
}

// SessionID is unique in the server, which tells running requests apart by it.
func (s *clientSession) SessionID() string { return s.id }

func (s *clientSession) NotificationChannel() chan<- mcpgo.JSONRPCNotification { return s.notes }

// end frees everyone who waits for the client.
func (s *clientSession) end() { s.once.Do(func() { close(s.done) }) }

// respond queues a response. It blocks while the client does not read.
func (s *clientSession) respond(ctx context.Context, id, frame []byte) {
	select {
	case s.out <- outgoing{id, frame}:
	case <-ctx.Done():
	case <-s.done:
	}
}

// write is the only writer of the session. What a handler notified before it
// returned goes out before its response. A failed write ends the session.
func (s *clientSession) write(ctx context.Context, stop context.CancelFunc) {
	defer stop()
	for {
		select {
		case n := <-s.notes:
			if s.notify(ctx, n) != nil {
				return
			}
		case o := <-s.out:
			if s.flushNotes(ctx) != nil || writeResponse(ctx, s.conn, o.id, o.frame) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *clientSession) flushNotes(ctx context.Context) error {
	for {
		select {
		case n := <-s.notes:
			if err := s.notify(ctx, n); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// notify sends a notification. One that cannot be encoded or is too long is
// dropped: nobody waits for it.
func (s *clientSession) notify(ctx context.Context, n mcpgo.JSONRPCNotification) error {
	frame, err := json.Marshal(n)
	if err != nil {
		return nil
	}
	if err := s.conn.WriteFrame(ctx, frame); !errors.Is(err, ErrTooLarge) {
		return err
	}
	return nil
}

// RequestSampling implements server.SessionWithSampling.
func (s *clientSession) RequestSampling(ctx context.Context, r mcpgo.CreateMessageRequest) (*mcpgo.CreateMessageResult, error) {
	return ask[mcpgo.CreateMessageResult](ctx, s, string(mcpgo.MethodSamplingCreateMessage), r.CreateMessageParams)
}

// RequestElicitation implements server.SessionWithElicitation.
func (s *clientSession) RequestElicitation(ctx context.Context, r mcpgo.ElicitationRequest) (*mcpgo.ElicitationResult, error) {
	return ask[mcpgo.ElicitationResult](ctx, s, string(mcpgo.MethodElicitationCreate), r.Params)
}

// ListRoots implements server.SessionWithRoots.
func (s *clientSession) ListRoots(ctx context.Context, _ mcpgo.ListRootsRequest) (*mcpgo.ListRootsResult, error) {
	return ask[mcpgo.ListRootsResult](ctx, s, string(mcpgo.MethodListRoots), nil)
}

// ask sends a request to the client and waits for the result. When ctx ends
// first, the client is told to stop.
func ask[R any](ctx context.Context, s *clientSession, method string, params any) (*R, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	id, answer := s.expect()
	defer s.forget(id)
	frame, err := json.Marshal(struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  string          `json:"method"`
		Params  any             `json:"params,omitempty"`
	}{mcpgo.JSONRPC_VERSION, id, method, params})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", method, err)
	}
	if err := CheckSize(frame); err != nil {
		return nil, err
	}
	s.respond(ctx, id, frame)
	select {
	case r := <-answer:
		return result[R](method, r)
	case <-s.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		s.giveUp(ctx, id)
		return nil, ctx.Err()
	}
}

func result[R any](method string, r reply) (*R, error) {
	if r.Error != nil {
		return nil, fmt.Errorf("%s: %w", method, r.Error.AsError())
	}
	out := new(R)
	if err := json.Unmarshal(r.Result, out); err != nil {
		return nil, fmt.Errorf("decode result of %s: %w", method, err)
	}
	return out, nil
}

// expect reserves the next id. Ours are strings, unlike those of any client.
func (s *clientSession) expect() ([]byte, <-chan reply) {
	answer := make(chan reply, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	id := []byte(`"s` + strconv.FormatUint(s.lastID, 10) + `"`)
	s.waiting[IDKey(id)] = answer
	return id, answer
}

func (s *clientSession) forget(id []byte) {
	s.mu.Lock()
	delete(s.waiting, IDKey(id))
	s.mu.Unlock()
}

// resolve hands a response to who waits for it. Late ones are dropped.
func (s *clientSession) resolve(id, frame []byte) {
	s.mu.Lock()
	key := IDKey(id)
	answer := s.waiting[key]
	delete(s.waiting, key)
	s.mu.Unlock()
	if answer == nil {
		return
	}
	var r reply
	if err := json.Unmarshal(frame, &r); err != nil {
		d := mcpgo.NewJSONRPCErrorDetails(CodeInternal, "malformed response: "+err.Error(), nil)
		r = reply{Error: &d}
	}
	answer <- r
}

// giveUp tells the client that a request is not wanted any more. ctx has ended,
// so this gets a short time of its own.
func (s *clientSession) giveUp(ctx context.Context, id []byte) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	s.respond(ctx, nil, CancelledNotification(id, "the server does not wait any longer"))
}
