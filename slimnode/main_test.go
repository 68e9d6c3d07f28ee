package slimnode

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/slimbridge/slimbridge/slimnode/link"
	"github.com/slimbridge/slimbridge/slimnode/link/linktest"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	alice = name.MustParse("org/ns/alice").WithID(name.ID{Hi: 7, Lo: 7})
	bob   = name.MustParse("org/ns/bob")
	bob1  = bob.WithID(name.ID{Hi: 1, Lo: 1})
	bob2  = bob.WithID(name.ID{Hi: 2, Lo: 2})
)

// harness is a node on in-memory listeners: strict gRPC, strict WebSocket, and
// WebSocket without MAC for clients that send raw bytes.
type harness struct {
	t             testing.TB
	node          *Node
	grpc, ws, lax *linktest.Listener
	served        sync.WaitGroup
}

func newHarness(t testing.TB, cfg Config) *harness {
	t.Helper()
	linktest.Watchdog(t)
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, node: n, grpc: linktest.Listen(), ws: linktest.Listen(), lax: linktest.Listen()}
	serve := func(what string, f func() error) {
		h.served.Go(func() {
			if err := f(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	serve("Serve", func() error { return n.Serve(h.grpc) })
	serve("ServeWebSocket", func() error { return n.ServeWebSocket(h.ws, "") })
	serve("serve without MAC", func() error {
		return n.serve(bound{Listener: h.lax, cfg: Listener{AllowNoMAC: true}, path: "/"})
	})
	return h
}

func (h *harness) close() {
	h.t.Helper()
	if err := h.node.Close(); err != nil {
		h.t.Errorf("Close: %v", err)
	}
	h.served.Wait()
}

// inBubble runs a test with a node in fake time.
func inBubble(t *testing.T, cfg Config, test func(t *testing.T, h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, cfg)
		defer h.close()
		test(t, h)
	})
}

// app is a client that keeps what it receives.
type app struct {
	t    testing.TB
	link *link.Conn
	done sync.WaitGroup
	err  error // of Recv, once done

	mu   sync.Mutex
	acks []*pb.SubscriptionAck
	got  []*wire.Frame
}

// dial connects without reading: a slow consumer until listen is called.
func (h *harness) dial() *app {
	h.t.Helper()
	return dialTo(h.t, "http://node:1", h.grpc)
}

// dialTo returns when the node has registered the link, so that links are numbered
// in the order of the calls.
func dialTo(t testing.TB, endpoint string, l *linktest.Listener) *app {
	t.Helper()
	c, err := link.Dial(context.Background(), endpoint, link.DialConfig{NetDial: l.Dial})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return &app{t: t, link: c}
}

func (a *app) listen() *app {
	a.done.Go(func() {
		for {
			f, err := a.link.Recv(context.Background())
			if err != nil {
				a.err = err
				return
			}
			a.mu.Lock()
			if ack := f.SubscriptionAck(); ack != nil {
				a.acks = append(a.acks, ack)
			} else {
				a.got = append(a.got, f)
			}
			a.mu.Unlock()
		}
	})
	return a
}

// app connects and subscribes each name with its position, from 1, as the id.
func (h *harness) app(names ...name.Name) *app {
	h.t.Helper()
	a := h.dial().listen()
	for i, n := range names {
		a.subscribe(uint64(i+1), n)
	}
	return a
}

func (a *app) close() {
	a.link.Close()
	a.done.Wait()
}

func (a *app) send(f *wire.Frame) {
	a.t.Helper()
	if err := a.link.Send(context.Background(), f); err != nil {
		a.t.Fatalf("send: %v", err)
	}
}

// subscribe sends and, with an id, returns the ack.
func (a *app) subscribe(id uint64, n name.Name) *pb.SubscriptionAck {
	a.t.Helper()
	return a.request(id, subscribeFrame(id, n))
}

func subscribeFrame(id uint64, n name.Name) *wire.Frame {
	return frame(&pb.Message{MessageType: &pb.Message_Subscribe{Subscribe: &pb.Subscribe{Header: header(n, n), SubscriptionId: id}}})
}

func (a *app) unsubscribe(id uint64, n name.Name) *pb.SubscriptionAck {
	a.t.Helper()
	return a.request(id, frame(&pb.Message{MessageType: &pb.Message_Unsubscribe{Unsubscribe: &pb.Unsubscribe{Header: header(n, n), SubscriptionId: id}}}))
}

func (a *app) request(id uint64, f *wire.Frame) *pb.SubscriptionAck {
	a.t.Helper()
	a.send(f)
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if id == 0 && len(a.acks) == 0 {
		return nil
	}
	if len(a.acks) != 1 || a.acks[0].GetSubscriptionId() != id {
		a.t.Fatalf("acks %v, want one for %d", a.acks, id)
	}
	ack := a.acks[0]
	a.acks = nil
	return ack
}

// take returns what came since the last call, once all is quiet.
func (a *app) take() []*wire.Frame {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	got := a.got
	a.got = nil
	return got
}

func counts(apps ...*app) []int {
	var out []int
	for _, a := range apps {
		out = append(out, len(a.take()))
	}
	return out
}

func wantCounts(t *testing.T, what string, want []int, apps ...*app) {
	t.Helper()
	if got := counts(apps...); !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func header(src, dst name.Name) *pb.SLIMHeader {
	return &pb.SLIMHeader{
		Source: wire.FromName(src), Destination: wire.FromName(dst),
		Identity: "secret-token", Fanout: 1, Version: "2.2.0", Ttl: 8,
	}
}

type opt func(*pb.Message)

func fanout(n uint32) opt { return func(m *pb.Message) { m.GetPublish().Header.Fanout = n } }
func ttl(n uint32) opt    { return func(m *pb.Message) { m.GetPublish().Header.Ttl = n } }
func payload(b []byte) opt {
	return func(m *pb.Message) { m.GetPublish().GetMsg().GetAppPayload().Blob = b }
}

func message(dst name.Name, opts ...opt) *pb.Message {
	m := &pb.Message{MessageType: &pb.Message_Publish{Publish: &pb.Publish{
		Header:  header(alice, dst),
		Session: &pb.SessionHeader{SessionType: 1, SessionMessageType: 1, SessionId: 5, MessageId: 1},
		Msg: &pb.Content{ContentType: &pb.Content_AppPayload{
			AppPayload: &pb.ApplicationPayload{PayloadType: "msg", Blob: []byte("hello")},
		}},
	}}}
	for _, o := range opts {
		o(m)
	}
	return m
}

func publish(dst name.Name, opts ...opt) *wire.Frame { return frame(message(dst, opts...)) }

func frame(m *pb.Message) *wire.Frame {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	f, err := wire.Parse(b)
	if err != nil {
		panic(err)
	}
	return f
}

// numbered is a message with a sequence number, padded to size bytes.
func numbered(dst name.Name, seq, size int) *wire.Frame {
	b := make([]byte, max(size, 8))
	binary.BigEndian.PutUint64(b, uint64(seq))
	return publish(dst, payload(b))
}

func seq(f *wire.Frame) int {
	m, err := f.Message()
	if err != nil {
		panic(err)
	}
	return int(binary.BigEndian.Uint64(m.GetPublish().GetMsg().GetAppPayload().GetBlob()))
}

// raw is a WebSocket client that sends any bytes.
type raw struct {
	*websocket.Conn
	t testing.TB
}

func (h *harness) raw() *raw {
	h.t.Helper()
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return h.lax.Dial(ctx, addr) }}
	c, _, err := d.Dial("ws://node/", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return &raw{c, h.t}
}

// link negotiates without a key.
func (r *raw) link(typ pb.LinkConnectionType) *raw {
	r.t.Helper()
	r.message(&pb.Message{MessageType: &pb.Message_Link{Link: &pb.Link{LinkType: &pb.Link_LinkNegotiation{
		LinkNegotiation: &pb.LinkNegotiationPayload{LinkId: "raw", SlimVersion: "2.2.0", NodeId: "raw", ConnectionType: typ},
	}}}})
	if _, b, err := r.ReadMessage(); err != nil || len(b) == 0 {
		r.t.Fatalf("no answer to the negotiation: %v", err)
	}
	return r
}

func (r *raw) bytes(b []byte) {
	r.t.Helper()
	if err := r.WriteMessage(websocket.BinaryMessage, b); err != nil {
		r.t.Fatal(err)
	}
}

func (r *raw) message(m *pb.Message) {
	r.t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	r.bytes(b)
}

// subscribe waits for the ack.
func (r *raw) subscribe(id uint64, n name.Name, change func(*pb.SLIMHeader)) {
	r.t.Helper()
	h := header(n, n)
	if change != nil {
		change(h)
	}
	r.message(&pb.Message{MessageType: &pb.Message_Subscribe{Subscribe: &pb.Subscribe{Header: h, SubscriptionId: id}}})
	if m := r.read(); !m.GetSubscriptionAck().GetSuccess() {
		r.t.Fatalf("got %v, want an ack", m)
	}
}

func (r *raw) read() *pb.Message {
	r.t.Helper()
	_, b, err := r.ReadMessage()
	if err != nil {
		r.t.Fatal(err)
	}
	m := new(pb.Message)
	if err := proto.Unmarshal(b, m); err != nil {
		r.t.Fatal(err)
	}
	return m
}
