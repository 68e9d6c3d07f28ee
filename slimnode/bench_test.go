package slimnode

import (
	"context"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/slimbridge/slimbridge/slimnode/link"
	"github.com/slimbridge/slimbridge/slimnode/link/linktest"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// BenchmarkHop is one message through the node, in-memory.
func BenchmarkHop(b *testing.B) {
	for _, size := range []int{256, 64 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			n, err := New(Config{})
			if err != nil {
				b.Fatal(err)
			}
			l := linktest.Listen()
			served := make(chan error, 1)
			go func() { served <- n.Serve(l) }()
			oneWay(b, "http://node:1", link.DialConfig{NetDial: l.Dial}, size)
			n.Close()
			<-served
		})
	}
}

// BenchmarkRelay compares one-way throughput over loopback sockets: the node,
// and a bare grpc-go program that passes on the same number of raw bytes. The
// ratio is what checking, routing and signing cost.
func BenchmarkRelay(b *testing.B) {
	var bare, node time.Duration // per message
	size := publish(bob1, payload(make([]byte, 256))).SignedSize()
	b.Run("bare", func(b *testing.B) { bare = bareRelay(b, size) })
	b.Run("node", func(b *testing.B) {
		n, err := New(Config{Listeners: []Listener{{Endpoint: "127.0.0.1:0"}}})
		if err != nil {
			b.Fatal(err)
		}
		defer n.Close()
		if err := n.Start(context.Background()); err != nil {
			b.Fatal(err)
		}
		from, to := openRaw(b, n.Addrs()[0].String()), openRaw(b, n.Addrs()[0].String())
		to.send(b, subscribeFrame(1, bob1))
		var ack []byte
		if err := to.RecvMsg(&ack); err != nil {
			b.Fatal(err)
		}
		m := from.signed(publish(bob1, payload(make([]byte, 256))))
		node = pump(b, from, to, m)
		if node > 0 && bare > 0 {
			b.ReportMetric(float64(bare)/float64(node), "of-bare")
		}
	})
}

// rawStream is a strict link in raw bytes, made without package link: its end
// points cost the same as those of the bare relay.
type rawStream struct {
	grpc.ClientStream
	key []byte
}

func openRaw(b *testing.B, addr string) *rawStream {
	b.Helper()
	s := &rawStream{ClientStream: newStream(b, addr, "/dataplane.proto.v1.DataPlaneService/OpenChannel")}
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	request, err := proto.Marshal(&pb.Message{MessageType: &pb.Message_Link{Link: &pb.Link{LinkType: &pb.Link_LinkNegotiation{
		LinkNegotiation: &pb.LinkNegotiationPayload{LinkId: "raw", SlimVersion: "2.2.0", NodeId: "raw", LinkEcdhPublicKey: own.PublicKey().Bytes(), ConnectionType: edge},
	}}}})
	if err != nil {
		b.Fatal(err)
	}
	var answer []byte
	if err := errors.Join(s.SendMsg(request), s.RecvMsg(&answer)); err != nil {
		b.Fatal(err)
	}
	m := new(pb.Message)
	if err := proto.Unmarshal(answer, m); err != nil {
		b.Fatal(err)
	}
	peer, err := ecdh.X25519().NewPublicKey(m.GetLink().GetLinkNegotiation().GetLinkEcdhPublicKey())
	if err != nil {
		b.Fatal(err)
	}
	shared, err := own.ECDH(peer)
	if err != nil {
		b.Fatal(err)
	}
	if s.key, err = hkdf.Key(sha256.New, shared, []byte("raw"), "SLIM-DP-inter-node-hmac-v1", 32); err != nil {
		b.Fatal(err)
	}
	return s
}

func (s *rawStream) signed(f *wire.Frame) []byte {
	tag := hmac.New(sha256.New, s.key)
	tag.Write(wire.MACPreimage(nil, "raw", f.Header()))
	return f.With(wire.Patch{MAC: tag.Sum(nil)}).Bytes()
}

func (s *rawStream) send(b *testing.B, f *wire.Frame) {
	b.Helper()
	if err := s.SendMsg(s.signed(f)); err != nil {
		b.Fatal(err)
	}
}

// oneWay sends b.N messages from one client to another and returns the time of
// each.
func oneWay(b *testing.B, endpoint string, cfg link.DialConfig, size int) time.Duration {
	b.Helper()
	ctx := context.Background()
	dial := func() *link.Conn {
		c, err := link.Dial(ctx, endpoint, cfg)
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	from, to := dial(), dial()
	defer from.Close()
	defer to.Close()
	if err := to.Send(ctx, subscribeFrame(1, bob1)); err != nil {
		b.Fatal(err)
	}
	if _, err := to.Recv(ctx); err != nil { // the ack
		b.Fatal(err)
	}
	f := publish(bob1, payload(make([]byte, size)))
	sent := make(chan error, 1)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for range b.N {
			if err := from.Send(ctx, f); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for range b.N {
		if _, err := to.Recv(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
	return b.Elapsed() / time.Duration(b.N)
}

// rawBytes passes []byte through grpc-go.
type rawBytes struct{}

func (rawBytes) Name() string { return "" }
func (rawBytes) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}
func (rawBytes) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// bareRelay is the same as oneWay with a server that passes bytes from one
// stream to the other.
func bareRelay(b *testing.B, size int) time.Duration {
	b.Helper()
	queue := make(chan []byte, link.OutboxFrames)
	var streams atomic.Int32
	ready := make(chan struct{})
	srv := grpc.NewServer(grpc.ForceServerCodecV2(rawBytes{}), grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(2*window))
	srv.RegisterService(&grpc.ServiceDesc{ServiceName: "bare", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
		StreamName: relayStream.StreamName, ServerStreams: true, ClientStreams: true,
		Handler: func(_ any, s grpc.ServerStream) error {
			if streams.Add(1) == 1 { // the receiver comes first
				close(ready)
				for m := range queue {
					if err := s.SendMsg(m); err != nil {
						return err
					}
				}
				return nil
			}
			defer close(queue)
			for {
				var m []byte
				if err := s.RecvMsg(&m); err != nil {
					if errors.Is(err, io.EOF) {
						return nil
					}
					return err
				}
				queue <- m
			}
		},
	}}}, struct{}{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go srv.Serve(l) //nolint:errcheck // ends with Stop
	defer srv.Stop()
	to := newStream(b, l.Addr().String(), "/bare/relay")
	<-ready
	return pump(b, newStream(b, l.Addr().String(), "/bare/relay"), to, make([]byte, size))
}

// window is the flow-control window of all streams here, as in package link.
const window = 1 << 20

var relayStream = grpc.StreamDesc{StreamName: "relay", ServerStreams: true, ClientStreams: true}

func newStream(b *testing.B, addr, method string) grpc.ClientStream {
	b.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(2*window))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cc.Close() })
	s, err := cc.NewStream(context.Background(), &relayStream, method, grpc.ForceCodecV2(rawBytes{}))
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// pump sends m b.N times, waits until all came out at the other end, and
// returns the time of each.
func pump(b *testing.B, from, to grpc.ClientStream, m []byte) time.Duration {
	b.Helper()
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	b.ResetTimer()
	sent := make(chan error, 1)
	go func() {
		for range b.N {
			if err := from.SendMsg(m); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	var got []byte
	for range b.N {
		if err := to.RecvMsg(&got); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := errors.Join(<-sent, from.CloseSend()); err != nil {
		b.Fatal(err)
	}
	return b.Elapsed() / time.Duration(b.N)
}

// BenchmarkMatch is the lookup of the node, lock included.
func BenchmarkMatch(b *testing.B) {
	n, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	for id := range ConnID(1000) {
		n.conns[id+1] = &conn{id: id + 1}
		n.routes.AddConn(id+1, 3)
		if err := n.routes.Subscribe(id+1, 1, bob.WithID(name.ID{Lo: uint64(id)}).Key()); err != nil {
			b.Fatal(err)
		}
	}
	from, f := n.conns[1], publish(bob.WithID(name.ID{Lo: 500}))
	b.ReportAllocs()
	for b.Loop() {
		if n.matchOne(from, f.Header().Destination.Key()) == nil {
			b.Fatal("no match")
		}
	}
}
