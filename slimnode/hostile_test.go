package slimnode

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

const edge = pb.LinkConnectionType_LINK_CONNECTION_TYPE_EDGE

// What kills the reader of a real node must cost ours the one message, and
// bytes that are no message the one link.
func TestSurvives(t *testing.T) {
	strip := func(f func(*pb.Publish)) *pb.Message {
		m := message(bob1)
		f(m.GetPublish())
		return m
	}
	noStrings := header(alice, alice)
	noStrings.Destination.StrName = nil
	link := &pb.Message{MessageType: &pb.Message_Link{Link: &pb.Link{LinkType: &pb.Link_LinkNegotiation{
		LinkNegotiation: &pb.LinkNegotiationPayload{LinkId: "again", SlimVersion: "2.2.0"},
	}}}}
	bytesOf := func(m *pb.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tc := range []struct {
		name string
		b    []byte
		ends bool
		want Stats // the drop counters
	}{
		{"empty message", nil, false, Stats{DroppedInvalid: 1}},
		{"only metadata", bytesOf(&pb.Message{Metadata: map[string]string{"a": "b"}}), false, Stats{DroppedInvalid: 1}},
		{"subscribe without strings", bytesOf(&pb.Message{MessageType: &pb.Message_Subscribe{Subscribe: &pb.Subscribe{Header: noStrings, SubscriptionId: 4}}}), false, Stats{DroppedInvalid: 1}},
		{"no header", bytesOf(strip(func(p *pb.Publish) { p.Header = nil })), false, Stats{DroppedInvalid: 1}},
		{"no source", bytesOf(strip(func(p *pb.Publish) { p.Header.Source = nil })), false, Stats{DroppedInvalid: 1}},
		{"no destination name", bytesOf(strip(func(p *pb.Publish) { p.Header.Destination.Name = nil })), false, Stats{DroppedInvalid: 1}},
		{"no session", bytesOf(strip(func(p *pb.Publish) { p.Session = nil })), false, Stats{DroppedInvalid: 1}},
		{"link in mid-stream", bytesOf(link), false, Stats{Ignored: 1}},
		{"an ack", bytesOf(&pb.Message{MessageType: &pb.Message_SubscriptionAck{SubscriptionAck: &pb.SubscriptionAck{SubscriptionId: 1}}}), false, Stats{Ignored: 1}},
		{"a tag on a link without key", bytesOf(strip(func(p *pb.Publish) { p.Header.HeaderMac = make([]byte, 32) })), false, Stats{DroppedMAC: 1}},
		{"nobody there", bytesOf(message(name.MustParse("a/b/c"))), false, Stats{DroppedNoMatch: 1}},
		{"7 MiB", bytesOf(message(bob1, payload(make([]byte, 7<<20)))), false, Stats{DroppedTooLarge: 1}},
		{"9 MiB", bytesOf(message(bob1, payload(make([]byte, 9<<20)))), true, Stats{}},
		{"no protobuf", []byte{0xff, 0xff, 0xff}, true, Stats{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, h *harness) {
				b := h.app(bob1)
				defer b.close()
				r := h.raw().link(edge)
				defer r.Close()
				if err := r.WriteMessage(websocket.BinaryMessage, tc.b); err != nil && !tc.ends {
					t.Fatal(err)
				}
				synctest.Wait()
				if tc.ends {
					if _, _, err := r.ReadMessage(); err == nil {
						t.Error("the link lives")
					}
				} else {
					r.subscribe(9, alice, nil)
					r.message(message(bob1))
				}
				want := 1
				if tc.ends {
					want = 0
				}
				wantCounts(t, "afterwards", []int{want}, b)
				s := h.node.Stats()
				got := Stats{
					DroppedInvalid: s.DroppedInvalid, Ignored: s.Ignored, DroppedMAC: s.DroppedMAC,
					DroppedNoMatch: s.DroppedNoMatch, DroppedTooLarge: s.DroppedTooLarge, DroppedTTL: s.DroppedTTL,
				}
				if got != tc.want {
					t.Errorf("counters %+v, want %+v", got, tc.want)
				}
			})
		})
	}
}

func TestSilentDialer(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *harness) {
		r := h.raw()
		defer r.Close()
		start := time.Now()
		if _, _, err := r.ReadMessage(); err == nil {
			t.Error("an answer to nothing")
		}
		if d := time.Since(start); d < 5*time.Second || d > 7*time.Second {
			t.Errorf("ended after %v, want about 5 s", d)
		}
		if s := h.node.Stats(); s.Conns != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// recv_from and forward_to are instructions inside one process: over a link
// they would let anybody take or inject what belongs to others.
func TestLocalInstructionsIgnored(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *harness) {
		victim := h.app(bob1) // connection 1
		defer victim.close()
		r := h.raw().link(edge) // connection 2
		defer r.Close()
		r.subscribe(5, bob2, func(h *pb.SLIMHeader) { h.RecvFrom = proto.Uint64(1); h.ForwardTo = proto.Uint64(1) })
		a := h.app(alice)
		defer a.close()
		a.send(publish(bob2))
		if m := r.read(); m.GetPublish() == nil {
			t.Errorf("the subscriber got %v", m)
		}
		wantCounts(t, "subscribed by another", []int{0}, victim)

		forced := message(name.MustParse("a/b/c"))
		forced.GetPublish().Header.ForwardTo = proto.Uint64(1)
		r.message(forced)
		wantCounts(t, "forced", []int{0}, victim)
		plain := message(bob1)
		plain.GetPublish().Header.ForwardTo, plain.GetPublish().Header.RecvFrom = proto.Uint64(3), proto.Uint64(3)
		r.message(plain)
		got := victim.take()
		if len(got) != 1 || got[0].Header().ForwardTo.Present || got[0].Header().RecvFrom.Present {
			t.Errorf("got %d messages, want one without local fields", len(got))
		}
		wantCounts(t, "nobody else", []int{0}, a)
	})
}

// A client cannot make itself the preferred target by the type it claims.
func TestClaimedTypes(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *harness) {
		b, a := h.app(bob1), h.app(alice)
		defer b.close()
		defer a.close()
		remote := h.raw().link(pb.LinkConnectionType_LINK_CONNECTION_TYPE_REMOTE)
		defer remote.Close()
		remote.subscribe(1, bob2, nil)
		for range 4 {
			a.send(publish(bob))
		}
		wantCounts(t, "beside a claimed remote", []int{2}, b)

		peer := h.raw()
		defer peer.Close()
		peer.message(&pb.Message{MessageType: &pb.Message_Link{Link: &pb.Link{LinkType: &pb.Link_LinkNegotiation{
			LinkNegotiation: &pb.LinkNegotiationPayload{LinkId: "p", SlimVersion: "2.2.0", ConnectionType: pb.LinkConnectionType_LINK_CONNECTION_TYPE_PEER},
		}}}})
		if _, _, err := peer.ReadMessage(); err == nil {
			t.Error("a peer was accepted")
		}
	})
}

// Drops are logged once per reason and interval, without what is secret.
func TestDropLog(t *testing.T) {
	var out bytes.Buffer // written by one reader only
	inBubble(t, Config{Logger: zerolog.New(zerolog.SyncWriter(&out))}, func(t *testing.T, h *harness) {
		a := h.app(alice)
		defer a.close()
		lines := func() int {
			synctest.Wait()
			return strings.Count(out.String(), `"reason":"no subscriber"`)
		}
		for range 100 {
			a.send(publish(name.New("a", strings.Repeat("long", 100), "line\nbreak")))
		}
		if n := lines(); n != 1 {
			t.Errorf("%d lines for 100 drops", n)
		}
		time.Sleep(warnEvery)
		a.send(publish(bob))
		if n := lines(); n != 2 {
			t.Errorf("%d lines after the pause, want 2", n)
		}
		if s := out.String(); strings.Contains(s, "secret-token") || strings.Contains(s, "hello") {
			t.Errorf("a secret in the log:\n%s", s)
		}
		for _, l := range strings.Split(out.String(), "\n") {
			if len(l) > 1500 {
				t.Errorf("a line of %d bytes", len(l))
			}
		}
		if s := h.node.Stats(); s.DroppedNoMatch != 101 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestMaxConns(t *testing.T) {
	inBubble(t, Config{MaxConns: 2}, func(t *testing.T, h *harness) {
		a, b := h.app(alice), dialTo(t, "ws://node/", h.ws).listen()
		defer a.close()
		defer b.close()
		synctest.Wait()                                 // both are registered
		third := dialTo(t, "ws://node/", h.ws).listen() // negotiates, then ends
		third.done.Wait()
		third.close()
		if s := h.node.Stats(); s.Conns != 2 || s.RefusedConns != 1 {
			t.Errorf("stats %+v", s)
		}
		a.send(publish(bob, payload(make([]byte, wire.MaxMessage/2))))
	})
}
