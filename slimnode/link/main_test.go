package link

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slimbridge/slimbridge/slimnode/link/linktest"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// carriers are the endpoints that every link test runs over.
var carriers = []struct{ name, endpoint string }{
	{"grpc", "http://node:46357"},
	{"websocket", "ws://node:46357/slim"},
}

// harness is a server on an in-memory listener. Its handler hands the accepted
// links to the test and waits until the test or the peer ends them.
type harness struct {
	t        *testing.T
	server   *Server
	listener *linktest.Listener
	endpoint string
	accepted chan *Conn
	served   chan error
}

func newHarness(t *testing.T, endpoint string, cfg ServerConfig) *harness {
	t.Helper()
	linktest.Watchdog(t)
	h := &harness{
		t: t, listener: linktest.Listen(), endpoint: endpoint,
		accepted: make(chan *Conn, 16), served: make(chan error, 1),
	}
	if cfg.Handle == nil {
		cfg.Handle = func(_ context.Context, c *Conn) {
			h.accepted <- c
			<-c.Done()
		}
	}
	var err error
	if h.server, err = NewServer(cfg); err != nil {
		t.Fatal(err)
	}
	go func() {
		if endpoint == carriers[0].endpoint {
			h.served <- h.server.ServeGRPC(h.listener)
		} else {
			h.served <- h.server.ServeWebSocket(h.listener, "/slim")
		}
	}()
	return h
}

func (h *harness) close() {
	h.t.Helper()
	if err := h.server.Shutdown(h.t.Context()); err != nil {
		h.t.Errorf("Shutdown: %v", err)
	}
	if err := <-h.served; err != nil {
		h.t.Errorf("Serve: %v", err)
	}
}

func (h *harness) dial(cfg DialConfig) (*Conn, error) {
	if cfg.NetDial == nil {
		cfg.NetDial = h.listener.Dial
	}
	return Dial(h.t.Context(), h.endpoint, cfg)
}

// pair dials and returns both ends.
func (h *harness) pair(cfg DialConfig) (dialer, acceptor *Conn) {
	h.t.Helper()
	c, err := h.dial(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	return c, <-h.accepted
}

func publish(payload []byte) *wire.Frame {
	return frame(&pb.Message{MessageType: &pb.Message_Publish{Publish: &pb.Publish{
		Header:  header(),
		Session: &pb.SessionHeader{SessionType: 1, SessionMessageType: 1},
		Msg: &pb.Content{ContentType: &pb.Content_AppPayload{
			AppPayload: &pb.ApplicationPayload{PayloadType: "msg", Blob: payload},
		}},
	}}})
}

func subscribe(id uint64) *wire.Frame {
	return frame(&pb.Message{MessageType: &pb.Message_Subscribe{Subscribe: &pb.Subscribe{
		Header: header(), SubscriptionId: id,
	}}})
}

func ack(id uint64) *wire.Frame {
	return frame(&pb.Message{MessageType: &pb.Message_SubscriptionAck{SubscriptionAck: &pb.SubscriptionAck{
		SubscriptionId: id, Success: true,
	}}})
}

func header() *pb.SLIMHeader {
	return &pb.SLIMHeader{
		Source:      wire.FromName(name.New("org", "ns", "alice").WithID(name.ID{Hi: 1, Lo: 2})),
		Destination: wire.FromName(name.New("org", "ns", "bob")),
		Identity:    "tok", Fanout: 1, Ttl: 8,
	}
}

func frame(m *pb.Message) *wire.Frame {
	f, err := wire.Encode(m)
	if err != nil {
		panic(err)
	}
	return f
}

func mustSend(t *testing.T, c *Conn, f *wire.Frame) {
	t.Helper()
	if err := c.Send(t.Context(), f); err != nil {
		t.Fatalf("Send: %v", err)
	}
}

func mustRecv(t *testing.T, c *Conn) *wire.Frame {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	f, err := c.Recv(ctx)
	if err != nil {
		t.Fatalf("Recv: %v", err)
	}
	return f
}

func blob(t *testing.T, f *wire.Frame) string {
	t.Helper()
	m, err := f.Message()
	if err != nil {
		t.Fatal(err)
	}
	return string(m.GetPublish().GetMsg().GetAppPayload().GetBlob())
}

// ends waits for the end of a link, reading what is left.
func ends(t *testing.T, c *Conn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for {
		if _, err := c.Recv(ctx); err != nil {
			return err
		}
	}
}

func endsWithEOF(t *testing.T, c *Conn) {
	t.Helper()
	if err := ends(t, c); !errors.Is(err, io.EOF) {
		t.Errorf("link ended with %v, want io.EOF", err)
	}
}
