package slimnode

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

func TestAnycast(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *harness) {
		a, b1, b2 := h.app(alice), h.app(bob1), h.app(bob2)
		defer a.close()
		defer b1.close()
		defer b2.close()
		for range 8 {
			a.send(publish(bob))
		}
		wantCounts(t, "from a third", []int{0, 4, 4}, a, b1, b2)
		for range 8 {
			b1.send(publish(bob))
		}
		wantCounts(t, "from a subscriber", []int{0, 0, 8}, a, b1, b2)
		b2.close()
		synctest.Wait()
		b1.send(publish(bob))
		wantCounts(t, "from the only subscriber", []int{0, 0}, a, b1)
		if s := h.node.Stats(); s.DroppedNoMatch != 1 || s.Forwarded != 16 || s.Conns != 2 || s.Subscriptions != 2 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestFanoutAndIDs(t *testing.T) {
	null, other := bob, bob.WithID(name.ID{Hi: 9, Lo: 9})
	for _, tc := range []struct {
		name   string
		dst    name.Name
		fanout uint32
		want   []int // sender (bob1 too), bob1, bob1+bob2, null subscription
	}{
		{"specific, one", bob2, 1, []int{0, 0, 1, 0}},
		{"specific, 0 is all", bob1, 0, []int{0, 1, 1, 0}},
		{"specific, 2 is all", bob1, 2, []int{0, 1, 1, 0}},
		{"specific, 256 is all", bob1, 256, []int{0, 1, 1, 0}},
		{"null, 0 is all", null, 0, []int{0, 1, 1, 1}},
		{"null, 256 is all, once per link", null, 256, []int{0, 1, 1, 1}},
		{"unknown id", other, 256, []int{0, 0, 0, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, h *harness) {
				apps := []*app{h.app(bob1), h.app(bob1), h.app(bob1, bob2), h.app(null)}
				for _, a := range apps {
					defer a.close()
				}
				apps[0].send(publish(tc.dst, fanout(tc.fanout)))
				wantCounts(t, tc.name, tc.want, apps...)
			})
		})
	}
}

func TestTTL(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *harness) {
		a, b := h.app(alice), h.app(bob1)
		defer a.close()
		defer b.close()
		for sent, want := range map[uint32]int{8: 7, 2: 1, 1: -1, 0: -1, 1 << 31: 1<<31 - 1} {
			a.send(publish(bob1, ttl(sent)))
			got := b.take()
			switch {
			case want < 0 && len(got) != 0:
				t.Errorf("ttl %d was forwarded", sent)
			case want >= 0 && (len(got) != 1 || got[0].Header().TTL != uint32(want)):
				t.Errorf("ttl %d: got %d messages, want one with %d", sent, len(got), want)
			}
		}
		if s := h.node.Stats(); s.DroppedTTL != 2 {
			t.Errorf("stats %+v", s)
		}
	})
}

// Everything but ttl, incoming_conn and header_mac passes unchanged, unknown
// fields and their place included, between the two carriers as well.
func TestBytesUnchanged(t *testing.T) {
	m := message(bob1)
	h := m.GetPublish().GetHeader()
	h.E2EHeaderSig, h.Error = []byte{1, 2, 3}, proto.Bool(false)
	h.IncomingConn = proto.Uint64(77)
	h.HeaderMac = bytes.Repeat([]byte{9}, 32)
	m.Metadata = map[string]string{"b": "1", "a": "2", "traceparent": ""}
	unknown := func(n protowire.Number) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), "of a later version")
	}
	h.ProtoReflect().SetUnknown(unknown(99))
	m.GetPublish().ProtoReflect().SetUnknown(unknown(98))
	m.ProtoReflect().SetUnknown(unknown(97))
	sent := frame(m)

	inBubble(t, Config{}, func(t *testing.T, h *harness) {
		a := dialTo(t, "ws://node/", h.ws).listen()
		b := h.app(bob1)
		defer a.close()
		defer b.close()
		a.send(sent)
		got := b.take()
		if len(got) != 1 {
			t.Fatalf("got %d messages", len(got))
		}
		g := got[0].Header()
		if g.TTL != 7 || g.IncomingConn != wire.Some(uint64(1)) || len(g.MAC.Value) != wire.MACSize {
			t.Errorf("header %+v", g)
		}
		m, err := got[0].Message()
		if err != nil {
			t.Fatal(err)
		}
		want, err := sent.Message()
		if err != nil {
			t.Fatal(err)
		}
		wh := want.GetPublish().GetHeader()
		wh.Ttl, wh.IncomingConn, wh.HeaderMac = 7, proto.Uint64(1), g.MAC.Value
		if !proto.Equal(m, want) {
			t.Errorf("got %v\nwant %v", m, want)
		}
		exact := sent.With(wire.Patch{TTL: wire.Some(uint32(7)), IncomingConn: wire.Some(uint64(1)), MAC: g.MAC.Value})
		if !bytes.Equal(got[0].Bytes(), exact.Bytes()) {
			t.Errorf("bytes differ\n got %x\nwant %x", got[0].Bytes(), exact.Bytes())
		}
	})
}

// The limit is on what would be sent on, so that no receiver loses its link.
func TestTooLarge(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *harness) {
		a, b := h.app(alice), h.app(bob1)
		defer a.close()
		defer b.close()
		// The room a hop needs, measured rather than assumed.
		probe := publish(bob1, payload(make([]byte, wire.MaxMessage-1024)))
		hop := probe.With(wire.Patch{TTL: wire.Some(uint32(7)), IncomingConn: wire.Some(uint64(1))}).SignedSize()
		exact := wire.MaxMessage - 1024 + wire.MaxMessage - hop
		for _, tc := range []struct{ size, want int }{{exact, 1}, {exact + 1, 0}, {6 << 20, 0}, {8, 1}} {
			a.send(publish(bob1, payload(make([]byte, tc.size))))
			got := b.take()
			if len(got) != tc.want {
				t.Errorf("payload of %d bytes: got %d messages, want %d", tc.size, len(got), tc.want)
			}
			if tc.size == exact && len(got) == 1 && got[0].Size() != wire.MaxMessage {
				t.Errorf("largest message has %d bytes as received", got[0].Size())
			}
		}
		if s := h.node.Stats(); s.DroppedTooLarge != 2 || s.Conns != 2 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestTap(t *testing.T) {
	var held *wire.Frame
	tap := func(from, to ConnID, f *wire.Frame) []*wire.Frame {
		if from != 1 || to != 2 {
			panic(fmt.Sprintf("tap of %d to %d", from, to))
		}
		switch seq(f) {
		case 1:
			return []*wire.Frame{} // drop
		case 2:
			return []*wire.Frame{f, f}
		case 3:
			held = f
			return []*wire.Frame{}
		case 4:
			return []*wire.Frame{f, held}
		}
		return nil
	}
	inBubble(t, Config{Tap: tap}, func(t *testing.T, h *harness) {
		a, b := h.app(alice), h.app(bob1)
		defer a.close()
		defer b.close()
		for i := range 6 {
			a.send(numbered(bob1, i, 0))
		}
		var got []int
		for _, f := range b.take() {
			got = append(got, seq(f))
		}
		if want := "[0 2 2 4 3 5]"; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
	})
}
