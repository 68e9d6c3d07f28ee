package realslim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Session is a session of a genuine application.
type Session struct {
	app    *App
	key    int
	closed chan struct{}

	mu        sync.Mutex
	id        uint32
	peer      Name
	initiator bool
	metadata  map[string]string
	errors    []string
	reason    string // why it closed
}

func (s *Session) describe(m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.peer, s.initiator, s.metadata = m.SessionID, m.Peer, m.Initiator, m.Metadata
}

func (s *Session) addError(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors = append(s.errors, text)
}

func (s *Session) end(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason = reason
	close(s.closed)
}

// ID is the session id on the wire.
func (s *Session) ID() uint32 { return s.id }

// Peer is the other end of a point-to-point session, or the channel of a group. The initiator has it without the id, as it asked
// for it.
func (s *Session) Peer() Name { return s.peer }

// Initiator tells whether this application opened the session.
func (s *Session) Initiator() bool { return s.initiator }

// Metadata is the session's metadata as the library shows it to applications.
func (s *Session) Metadata() map[string]string { return s.metadata }

// Errors returns the errors so far that did not end the session, such as a message that was never acknowledged.
func (s *Session) Errors() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.errors)
}

// Load is a run of messages to a peer that echoes them.
type Load struct {
	Count   int
	Size    int           // bytes of a payload, at least 8
	Window  int           // messages under way without their echo; default 1. Stock nodes have a round trip of 88 ms
	Seed    string        // of the payloads' content
	Timeout time.Duration // of the whole run; default 60 s
}

// Report is the outcome of a run. Times are in milliseconds; a round trip is from the publish call to the receipt of the echo.
type Report struct {
	OK         bool     `json:"ok"` // all came back, in order, intact, and no error was seen
	Sent       int      `json:"sent"`
	Received   int      `json:"received"`
	OutOfOrder int      `json:"out_of_order"`
	Corrupt    int      `json:"corrupt"`
	SendErrors int      `json:"send_errors"`
	Errors     []string `json:"errors"`
	ElapsedMS  float64  `json:"elapsed_ms"`
	RTTP50MS   float64  `json:"rtt_p50_ms"`
	RTTP99MS   float64  `json:"rtt_p99_ms"`
}

// Pump sends a run of messages and checks their echoes. The error is about the run itself: a loss is in the report.
func (s *Session) Pump(ctx context.Context, l Load) (Report, error) {
	if l.Timeout == 0 {
		l.Timeout = 60 * time.Second
	}
	args := map[string]any{
		"count": l.Count, "size": max(l.Size, 8), "window": max(l.Window, 1), "seed": l.Seed, "timeout_ms": l.Timeout.Milliseconds(),
	}
	var r Report
	err := s.call(ctx, "pump", args, &r)
	return r, err
}

// RTT measures n round trips of size bytes, one after the other.
func (s *Session) RTT(ctx context.Context, n, size int) (Report, error) {
	return s.Pump(ctx, Load{Count: n, Size: size, Seed: "rtt"})
}

// Collected is what one member received of a stream, in microseconds. Moments are on a clock that all processes of one kind share.
type Collected struct {
	Ended float64   `json:"ended_us"` // when the last message came
	Age   []float64 `json:"age_us"`   // of each message, since its publish call
}

// Stream sends a run of messages, of which only Count, Size and Window of l count: Window says how many are sent before all
// receivers have acknowledged the first of them. It returns when it began, in the terms of [Collected], once all are acknowledged.
func (s *Session) Stream(ctx context.Context, l Load) (began float64, err error) {
	var r struct {
		Began float64 `json:"began_us"`
	}
	err = s.call(ctx, "stream", map[string]any{"count": l.Count, "size": max(l.Size, 8), "window": max(l.Window, 1)}, &r)
	return r.Began, err
}

// Collect receives a run of messages that another member streams.
func (s *Session) Collect(ctx context.Context, l Load) (Collected, error) {
	if l.Timeout == 0 {
		l.Timeout = 60 * time.Second
	}
	var c Collected
	err := s.call(ctx, "collect", map[string]any{"count": l.Count, "size": max(l.Size, 8), "timeout_ms": l.Timeout.Milliseconds()}, &c)
	return c, err
}

// Message is a received message.
type Message struct {
	Payload     []byte            `json:"payload"`
	PayloadType string            `json:"payload_type"`
	Source      Name              `json:"source"`
	Metadata    map[string]string `json:"metadata"`
}

// Send publishes a payload and waits for its acknowledgement, which a library sends on behalf of an application that may be gone.
func (s *Session) Send(ctx context.Context, payload []byte) error {
	return s.call(ctx, "send", map[string]any{"payload": payload, "wait_ack": true}, nil)
}

// Post publishes a message without waiting; a failure shows up in Errors.
func (s *Session) Post(ctx context.Context, m Message) error {
	return s.call(ctx, "send", map[string]any{"payload": m.Payload, "payload_type": m.PayloadType, "metadata": m.Metadata}, nil)
}

// Settle waits until everything that was posted so far is acknowledged, or given up, which shows up in Errors.
func (s *Session) Settle(ctx context.Context) error { return s.call(ctx, "settle", nil, nil) }

// Recv waits for the next message. It also returns the error items of the library, and an error once the session is closed.
func (s *Session) Recv(ctx context.Context, timeout time.Duration) (Message, error) {
	var m Message
	err := s.call(ctx, "recv", map[string]any{"timeout_ms": timeout.Milliseconds()}, &m)
	return m, err
}

// Close ends the session for both sides and waits until the library has done so.
func (s *Session) Close(ctx context.Context) error { return s.call(ctx, "close", nil, nil) }

// WaitClosed waits until the library reports the end of the session, by whichever side, and returns the text it gave.
func (s *Session) WaitClosed(ctx context.Context) (string, error) {
	select {
	case <-s.closed:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.reason, nil
	case <-s.app.done:
		return "", fmt.Errorf("%s: the process ended", s.app.label)
	case <-ctx.Done():
		return "", fmt.Errorf("%s: session is still open: %w", s.app.label, ctx.Err())
	}
}

// Invite adds a member to a group; only its moderator can.
func (s *Session) Invite(ctx context.Context, peer string) error {
	return s.call(ctx, "invite", map[string]any{"peer": peer}, nil)
}

// Remove takes a member out of a group; only its moderator can.
func (s *Session) Remove(ctx context.Context, peer string) error {
	return s.call(ctx, "remove", map[string]any{"peer": peer}, nil)
}

// Leave closes softly: the member goes, but may come back with Rejoin.
func (s *Session) Leave(ctx context.Context) error { return s.call(ctx, "leave", nil, nil) }

// Rejoin comes back to a group after Leave.
func (s *Session) Rejoin(ctx context.Context) error { return s.call(ctx, "rejoin", nil, nil) }

// Participant is a member of a session as its library sees it.
type Participant struct {
	Name
	Online bool `json:"online"`
}

// Participants returns the members of the session.
func (s *Session) Participants(ctx context.Context) ([]Participant, error) {
	var r struct {
		Participants []Participant `json:"participants"`
	}
	err := s.call(ctx, "participants", nil, &r)
	return r.Participants, err
}

func (s *Session) call(ctx context.Context, cmd string, args map[string]any, result any) error {
	if args == nil {
		args = map[string]any{}
	}
	args["session"] = s.key
	return s.app.call(ctx, cmd, args, result)
}
