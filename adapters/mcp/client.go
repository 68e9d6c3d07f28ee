package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/mark3labs/mcp-go/client/transport"
	mcpgo "github.com/mark3labs/mcp-go/mcp"
)

const (
	methodPing      = "ping"
	methodCancelled = "notifications/cancelled"

	// maxQueued bounds the notifications that wait for their handler. When it is
	// reached the session is not read any further.
	maxQueued = 256
)

// ClientTransport is an mcp-go client transport over a [Conn]. All methods are
// safe for concurrent use. Close must not be called from a notification or
// request handler; from the handler of a lost connection it may.
type ClientTransport struct {
	conn   Conn
	ctx    context.Context // ends with the transport; for handlers
	cancel context.CancelFunc

	start    sync.Once
	wg       sync.WaitGroup
	finished chan struct{} // closed when the reader has ended

	notes   chan mcpgo.JSONRPCNotification
	onNote  lateValue[func(mcpgo.JSONRPCNotification)]
	onAsk   lateValue[transport.RequestHandler]
	running *inflight // requests of the server

	mu      sync.Mutex
	closed  bool
	waiting map[string]chan *transport.JSONRPCResponse // by IDKey
	onLost  func(error)
}

var _ transport.BidirectionalInterface = (*ClientTransport)(nil)

// NewClientTransport returns a transport for mcp-go's client.NewClient. It takes
// conn over and closes it with the client.
func NewClientTransport(conn Conn) *ClientTransport {
	t := &ClientTransport{
		conn:     conn,
		finished: make(chan struct{}),
		notes:    make(chan mcpgo.JSONRPCNotification, maxQueued),
		running:  newInflight(),
		onNote:   newLateValue[func(mcpgo.JSONRPCNotification)](),
		onAsk:    newLateValue[transport.RequestHandler](),
		waiting:  make(map[string]chan *transport.JSONRPCResponse),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// Start begins to read. Its ctx is not kept; calling it again does nothing.
func (t *ClientTransport) Start(context.Context) error {
	t.mu.Lock()
	closed := t.closed
	t.mu.Unlock()
	if closed {
		return transport.ErrTransportClosed
	}
	t.start.Do(func() {
		t.wg.Go(t.dispatch)
		go t.read() // Close waits for finished
	})
	return nil
}

// SendRequest sends a request and waits for its response. It returns ctx.Err()
// when ctx ends first, ErrTooLarge if the request is too long, or
// transport.ErrTransportClosed once the session is over.
func (t *ClientTransport) SendRequest(ctx context.Context, request transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	id, err := json.Marshal(request.ID)
	if err != nil {
		return nil, fmt.Errorf("encode request id: %w", err)
	}
	frame, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	key := IDKey(id)
	answer := make(chan *transport.JSONRPCResponse, 1)
	if err := t.expect(key, answer); err != nil {
		return nil, err
	}
	defer t.forget(key)
	if err := t.send(ctx, frame); err != nil {
		return nil, err
	}
	select {
	case r, ok := <-answer:
		if !ok {
			return nil, transport.ErrTransportClosed
		}
		return r, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (t *ClientTransport) expect(key string, answer chan *transport.JSONRPCResponse) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return transport.ErrTransportClosed
	}
	if t.waiting[key] != nil {
		return fmt.Errorf("a request with id %s is still running", key)
	}
	t.waiting[key] = answer
	return nil
}

func (t *ClientTransport) forget(key string) {
	t.mu.Lock()
	delete(t.waiting, key)
	t.mu.Unlock()
}

// send writes a frame; the end of the session has mcp-go's name here.
func (t *ClientTransport) send(ctx context.Context, frame []byte) error {
	err := t.conn.WriteFrame(ctx, frame)
	if err == nil || errors.Is(err, ErrTooLarge) || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", transport.ErrTransportClosed, err)
}

// SendNotification sends a notification; errors are those of SendRequest.
func (t *ClientTransport) SendNotification(ctx context.Context, n mcpgo.JSONRPCNotification) error {
	frame, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode notification: %w", err)
	}
	return t.send(ctx, frame)
}

// SetNotificationHandler sets who gets notifications, in order and one at a time.
// Those that came before wait for it.
func (t *ClientTransport) SetNotificationHandler(h func(mcpgo.JSONRPCNotification)) { t.onNote.set(h) }

// SetRequestHandler sets who answers the server's requests. Each runs on its own
// goroutine; those that came before wait for it. A ping is answered here.
func (t *ClientTransport) SetRequestHandler(h transport.RequestHandler) { t.onAsk.set(h) }

// SetConnectionLostHandler sets who is told once that the session ended by the
// peer or by a loss.
func (t *ClientTransport) SetConnectionLostHandler(h func(error)) {
	t.mu.Lock()
	t.onLost = h
	t.mu.Unlock()
}

// GetSessionId is the id of the session between the two apps.
func (t *ClientTransport) GetSessionId() string { return sessionID(t.conn) }

// Close ends the session, fails what waits, and waits for all handlers.
func (t *ClientTransport) Close() error {
	t.end()
	err := t.conn.Close()
	t.start.Do(func() { close(t.finished) }) // never started
	<-t.finished
	t.wg.Wait()
	return err
}

// end fails all waiting requests, and reports whether it was the first to do so.
func (t *ClientTransport) end() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.closed = true
	for key, answer := range t.waiting {
		close(answer)
		delete(t.waiting, key)
	}
	t.cancel()
	return true
}

func (t *ClientTransport) read() {
	var err error
	for err == nil {
		var frame []byte
		if frame, err = t.conn.ReadFrame(t.ctx); err == nil {
			t.handle(frame)
		}
	}
	unexpected := t.end()
	close(t.finished)
	if !unexpected {
		return
	}
	_ = t.conn.Close() // it has ended
	if errors.Is(err, io.EOF) {
		err = &SessionLostError{Err: errors.New("closed by the peer")}
	}
	t.mu.Lock()
	lost := t.onLost
	t.mu.Unlock()
	if lost != nil {
		lost(err)
	}
}

// handle routes one message. What is no message is ignored: there is nobody to
// tell, and a peer's reader may not survive an answer without id.
func (t *ClientTransport) handle(frame []byte) {
	h, err := Scan(frame)
	if err != nil {
		return
	}
	switch h.Kind {
	case Response:
		t.resolve(h, frame)
	case Request:
		t.ask(h, frame)
	case Notification:
		if h.Method == methodCancelled && h.RequestID != nil {
			t.running.cancel(h.RequestID)
		}
		var n mcpgo.JSONRPCNotification
		if json.Unmarshal(frame, &n) != nil {
			return
		}
		select {
		case t.notes <- n:
		default:
			// The handler is far behind. It may be waiting for a response,
			// so the reader must not wait for it.
		}
	}
}

// resolve hands a response to who waits for it. Late ones are dropped.
func (t *ClientTransport) resolve(h Header, frame []byte) {
	t.mu.Lock()
	key := IDKey(h.ID)
	answer := t.waiting[key]
	delete(t.waiting, key)
	t.mu.Unlock()
	if answer == nil {
		return
	}
	r := new(transport.JSONRPCResponse)
	if err := json.Unmarshal(frame, r); err != nil {
		r = transport.NewJSONRPCErrorResponse(r.ID, CodeInternal, "malformed response: "+err.Error(), nil)
	}
	answer <- r
}

// ask answers a request of the server.
func (t *ClientTransport) ask(h Header, frame []byte) {
	if h.Method == methodPing {
		t.reply(h.ID, EmptyResult(h.ID))
		return
	}
	ctx, end, err := t.running.begin(t.ctx, h.ID)
	if err != nil {
		code, text := CodeInvalidRequest, err.Error()
		if errors.Is(err, errBusy) {
			code, text = CodeInternal, "client is busy: "+text
		}
		t.reply(h.ID, ErrorResponse(h.ID, code, text))
		return
	}
	t.wg.Go(func() {
		var reply func()
		defer func() { end(reply) }()
		answer := t.answer(ctx, h.ID, frame)
		if ctx.Err() == nil { // else nobody waits for it
			reply = func() { t.reply(h.ID, answer) }
		}
	})
}

// answer runs the handler and encodes its response under the raw id.
func (t *ClientTransport) answer(ctx context.Context, id, frame []byte) (answer []byte) {
	defer func() {
		if p := recover(); p != nil {
			answer = ErrorResponse(id, CodeInternal, fmt.Sprintf("client handler panicked: %v", p))
		}
	}()
	handler, err := t.onAsk.get(ctx)
	if err != nil {
		return ErrorResponse(id, CodeInternal, err.Error())
	}
	if handler == nil {
		return ErrorResponse(id, CodeMethodNotFound, "client answers no requests")
	}
	var request transport.JSONRPCRequest
	if err := json.Unmarshal(frame, &request); err != nil {
		return ErrorResponse(id, CodeInvalidRequest, err.Error())
	}
	r, err := handler(ctx, request)
	if err == nil && r == nil {
		err = errors.New("client handler gave no response")
	}
	if err != nil {
		r = transport.NewJSONRPCErrorResponse(request.ID, CodeMethodNotFound, err.Error(), nil)
	}
	r.ID = mcpgo.NewRequestId(json.RawMessage(id))
	encoded, err := json.Marshal(r)
	if err != nil {
		return ErrorResponse(id, CodeInternal, "encode response: "+err.Error())
	}
	return encoded
}

// reply sends a response, or an error in its place if it is too long. A failure
// means that the session is ending, which the reader reports.
func (t *ClientTransport) reply(id, frame []byte) {
	_ = writeResponse(t.ctx, t.conn, id, frame)
}

// writeResponse sends a response, or an error in its place if it is too long.
func writeResponse(ctx context.Context, c Conn, id, frame []byte) error {
	if err := CheckSize(frame); err != nil {
		frame = ErrorResponse(id, CodeInternal, err.Error())
	}
	return c.WriteFrame(ctx, frame)
}

// dispatch runs the notification handler, so that it may send requests itself.
func (t *ClientTransport) dispatch() {
	for {
		handler, err := t.onNote.get(t.ctx)
		if err != nil {
			return
		}
		select {
		case n := <-t.notes:
			if handler != nil {
				handler(n)
			}
		case <-t.ctx.Done():
			return
		}
	}
}
