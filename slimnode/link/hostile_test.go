package link

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// raw opens a carrier to the harness without negotiating.
func (h *harness) raw() carrier {
	h.t.Helper()
	cfg := DialConfig{NetDial: h.listener.Dial}.withDefaults()
	ep, err := parseEndpoint(h.endpoint)
	if err != nil {
		h.t.Fatal(err)
	}
	nc, err := ep.connect(h.t.Context(), &cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	var ca carrier
	if ep.websocket {
		ca, err = dialWS(h.t.Context(), nc, ep.url, "test", nil)
	} else {
		ca, err = dialGRPC(h.t.Context(), nc, ep.host, "test", nil)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return ca
}

// rawLink negotiates by hand, so that the test may send any bytes.
func (h *harness) rawLink(keyed bool) (carrier, agreed, *Conn) {
	h.t.Helper()
	ca := h.raw()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	o := offer{linkID: "raw", version: "1.0.0", nodeID: "raw", key: key}
	req := o.request()
	if !keyed {
		req.LinkEcdhPublicKey = nil
	}
	reply, err := exchange(ca, req)
	if err != nil {
		h.t.Fatal(err)
	}
	a, err := o.accept(reply)
	if err != nil {
		h.t.Fatal(err)
	}
	return ca, a, <-h.accepted
}

func signed(a agreed, f *wire.Frame) []byte {
	return f.With(wire.Patch{MAC: newMacer(a).tag(f.Header())}).Bytes()
}

func tagged(f *wire.Frame, tag []byte) []byte { return f.With(wire.Patch{MAC: tag}).Bytes() }

func TestBadFramesAreDropped(t *testing.T) {
	noStrings := header()
	noStrings.Destination.StrName = nil
	badSubscribe, err := proto.Marshal(&pb.Message{MessageType: &pb.Message_Subscribe{Subscribe: &pb.Subscribe{Header: noStrings}}})
	if err != nil {
		t.Fatal(err)
	}
	link := frame(&pb.Message{MessageType: &pb.Message_Link{Link: &pb.Link{}}}).Bytes()
	pub, sub := publish([]byte("x")), subscribe(1)
	zero := make([]byte, wire.MACSize)
	type counts = Stats
	for _, tc := range []struct {
		name       string
		lax, keyed bool
		send       func(a agreed) []byte
		want       counts
	}{
		{"unsigned publish, strict", false, true, func(agreed) []byte { return pub.Bytes() }, counts{DroppedMAC: 1}},
		{"unsigned publish, lax", true, true, func(agreed) []byte { return pub.Bytes() }, counts{DroppedMAC: 1}},
		{"unsigned subscribe, strict", false, true, func(agreed) []byte { return sub.Bytes() }, counts{DroppedMAC: 1}},
		{"unsigned subscribe, lax", true, true, func(agreed) []byte { return sub.Bytes() }, counts{Received: 1}},
		{"wrong tag", false, true, func(agreed) []byte { return tagged(pub, zero) }, counts{DroppedMAC: 1}},
		{"wrong tag on subscribe, lax", true, true, func(agreed) []byte { return tagged(sub, zero) }, counts{DroppedMAC: 1}},
		{"empty tag", false, true, func(agreed) []byte { return tagged(pub, []byte{}) }, counts{DroppedMAC: 1}},
		{"tag cut short", false, true, func(a agreed) []byte {
			return tagged(pub, newMacer(a).tag(pub.Header())[:16])
		}, counts{DroppedMAC: 1}},
		{"tag of another ttl", false, true, func(a agreed) []byte {
			return pub.With(wire.Patch{TTL: wire.Some(uint32(7)), MAC: newMacer(a).tag(pub.Header())}).Bytes()
		}, counts{DroppedMAC: 1}},
		{"tag of another link", false, true, func(a agreed) []byte {
			a.linkID = "other"
			return signed(a, pub)
		}, counts{DroppedMAC: 1}},
		{"right tag", false, true, func(a agreed) []byte { return signed(a, pub) }, counts{Received: 1}},
		{"no key, unsigned publish", true, false, func(agreed) []byte { return pub.Bytes() }, counts{Received: 1}},
		{"no key, publish with a tag", true, false, func(agreed) []byte { return tagged(pub, zero) }, counts{DroppedMAC: 1}},
		{"ack needs no tag", false, true, func(agreed) []byte { return ack(1).Bytes() }, counts{Received: 1}},
		{"late link message", false, true, func(agreed) []byte { return link }, counts{Ignored: 1}},
		{"empty message", false, true, func(agreed) []byte { return nil }, counts{DroppedInvalid: 1}},
		{"subscribe without strings", false, true, func(agreed) []byte { return badSubscribe }, counts{DroppedInvalid: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := ServerConfig{Config: Config{AllowNoMAC: tc.lax}}
			overCarriers(t, cfg, func(t *testing.T, h *harness) {
				ca, a, s := h.rawLink(tc.keyed)
				defer ca.abort(nil)
				if err := ca.send([][]byte{tc.send(a)}); err != nil {
					t.Fatal(err)
				}
				if err := ca.send([][]byte{ack(99).Bytes()}); err != nil {
					t.Fatal(err)
				}
				for mustRecv(t, s).SubscriptionID() != 99 { // the link lives
				}
				got := s.Stats()
				got.Received-- // the last one
				if got != tc.want {
					t.Errorf("stats %+v, want %+v", got, tc.want)
				}
			})
		})
	}
}

// The tag covers the local fields; the frame shows them, the node ignores them.
func TestLocalFieldsAreCovered(t *testing.T) {
	m := &pb.Message{MessageType: &pb.Message_Subscribe{Subscribe: &pb.Subscribe{Header: header(), SubscriptionId: 1}}}
	m.GetSubscribe().Header.RecvFrom = proto.Uint64(4)
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	f, err := wire.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		ca, a, s := h.rawLink(true)
		defer ca.abort(nil)
		m := proto.CloneOf(m)
		m.GetSubscribe().Header.HeaderMac = bytes.Clone(newMacer(a).tag(f.Header()))
		b, err := proto.Marshal(m)
		if err == nil {
			err = ca.send([][]byte{b})
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := mustRecv(t, s).Header().RecvFrom; got != wire.Some(uint64(4)) {
			t.Errorf("recv_from = %v", got)
		}
	})
}

func TestPeerLinkHasNoMAC(t *testing.T) {
	cfg := ServerConfig{Config: Config{NodeID: "a", Deployment: "d"}, AllowPeer: true}
	overCarriers(t, cfg, func(t *testing.T, h *harness) {
		c, s := h.pair(DialConfig{Config: Config{NodeID: "b", Deployment: "d"}, Type: Peer})
		defer c.Close()
		if c.Secured() || s.Secured() || s.Type() != Peer {
			t.Errorf("secured %v %v, type %v", c.Secured(), s.Secured(), s.Type())
		}
		mustSend(t, c, publish(nil).With(wire.Patch{MAC: []byte("stale")}))
		if h := mustRecv(t, s).Header(); h.MAC.Present {
			t.Error("a stale tag went on")
		}
	})
}

func TestGarbageEndsTheLink(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		ca, _, s := h.rawLink(true)
		defer ca.abort(nil)
		if err := ca.send([][]byte{[]byte("no protobuf at all")}); err != nil {
			t.Fatal(err)
		}
		var e *Error
		if err := ends(t, s); !errors.Is(err, wire.ErrMalformed) || !errors.As(err, &e) {
			t.Errorf("acceptor: %v", err)
		}
		if _, err := ca.recv(); !errors.Is(err, io.EOF) { // gRPC: status OK
			t.Errorf("dialer: %v, want io.EOF", err)
		}
	})
}

// A bad first message, or none, ends the stream in silence.
func TestBadFirstMessage(t *testing.T) {
	link := func(p *pb.LinkNegotiationPayload) []byte {
		return frame(&pb.Message{MessageType: &pb.Message_Link{Link: &pb.Link{
			LinkType: &pb.Link_LinkNegotiation{LinkNegotiation: p},
		}}}).Bytes()
	}
	reply, noID := goodRequest(), goodRequest()
	reply.IsReply, noID.LinkId = true, ""
	for _, tc := range []struct {
		name string
		send []byte
	}{
		{"no link message", ack(1).Bytes()},
		{"empty message", []byte{}},
		{"garbage", []byte("hello")},
		{"a reply", link(reply)},
		{"no link id", link(noID)},
		{"nothing for 5 s", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
				start := time.Now()
				ca := h.raw()
				defer ca.abort(nil)
				if tc.send != nil {
					if err := ca.send([][]byte{tc.send}); err != nil {
						t.Fatal(err)
					}
				}
				if b, err := ca.recv(); !errors.Is(err, io.EOF) {
					t.Errorf("got %x, %v; want io.EOF", b, err)
				}
				if d := time.Since(start); tc.send == nil && d != DefaultNegotiationTimeout {
					t.Errorf("ended after %v", d)
				}
			})
		})
	}
}

func TestPeerClaimDenied(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		_, err := h.dial(DialConfig{Type: Peer})
		if !errors.Is(err, ErrDenied) {
			t.Errorf("Dial = %v, want ErrDenied", err)
		}
		if h.endpoint == carriers[0].endpoint && status.Code(err) != codes.PermissionDenied {
			t.Errorf("status %v", status.Code(err))
		}
	})
}

func TestRemoteClaimCountsAsEdge(t *testing.T) {
	overCarriers(t, ServerConfig{}, func(t *testing.T, h *harness) {
		c, s := h.pair(DialConfig{Type: Remote})
		defer c.Close()
		if c.Type() != Remote || s.Type() != Edge || !s.Secured() {
			t.Errorf("types %v, %v", c.Type(), s.Type())
		}
	})
}

func TestAuthorize(t *testing.T) {
	cfg := ServerConfig{Authorize: func(_ context.Context, h string) error {
		if h != "Bearer good" {
			return errors.New("no")
		}
		return nil
	}}
	overCarriers(t, cfg, func(t *testing.T, h *harness) {
		if _, err := h.dial(DialConfig{}); !errors.Is(err, ErrDenied) {
			t.Errorf("without a header: %v", err)
		}
		c, s := h.pair(DialConfig{Headers: func(context.Context) (map[string]string, error) {
			return map[string]string{"authorization": "Bearer good"}, nil
		}})
		c.Close()
		endsWithEOF(t, s)
	})
}

// Silent dialers take the few negotiating places until they time out; another
// dialer waits for its turn.
func TestNegotiatingLimit(t *testing.T) {
	overCarriers(t, ServerConfig{MaxNegotiating: 2}, func(t *testing.T, h *harness) {
		for range 2 {
			defer h.raw().abort(nil)
		}
		time.Sleep(time.Second)
		start := time.Now()
		c, _ := h.pair(DialConfig{})
		if d := time.Since(start); d != DefaultNegotiationTimeout-time.Second {
			t.Errorf("let in after %v", d)
		}
		c.Close()
	})
}

func TestLinkLimit(t *testing.T) {
	overCarriers(t, ServerConfig{MaxLinks: 2}, func(t *testing.T, h *harness) {
		a, sa := h.pair(DialConfig{})
		b, _ := h.pair(DialConfig{})
		defer b.Close()
		if _, err := h.dial(DialConfig{}); err == nil {
			t.Error("a third link was let in")
		}
		a.Close()
		endsWithEOF(t, sa)
		time.Sleep(time.Second)
		c, _ := h.pair(DialConfig{})
		c.Close()
	})
}

// The node reads more than a real peer may send on, so that one oversized
// message does not cost its sender the link; above that the link ends.
func TestReadLimits(t *testing.T) {
	big := publish(make([]byte, wire.MaxOriginated-1000))
	overCarriers(t, ServerConfig{Config: Config{AllowNoMAC: true}}, func(t *testing.T, h *harness) {
		ca, a, s := h.rawLink(true)
		defer ca.abort(nil)
		pad := make([]byte, 3<<20)
		over := append(signed(a, big), 0xfa, 0x03) // unknown field 63, length-delimited
		over = append(over, byte(len(pad)&0x7f|0x80), byte(len(pad)>>7&0x7f|0x80), byte(len(pad)>>14&0x7f|0x80), byte(len(pad)>>21))
		over = append(over, pad...)
		sendDone := make(chan error, 2)
		go func() {
			sendDone <- ca.send([][]byte{over})
			sendDone <- ca.send([][]byte{make([]byte, wire.MaxRead+1)})
		}()
		if f := mustRecv(t, s); f.Size() <= wire.MaxMessage {
			t.Errorf("size %d", f.Size())
		}
		if err := <-sendDone; err != nil {
			t.Fatal(err)
		}
		if err := ends(t, s); errors.Is(err, io.EOF) || err == nil {
			t.Errorf("link ended with %v", err)
		}
		ca.abort(nil)
		<-sendDone
	})
}
