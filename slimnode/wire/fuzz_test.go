package wire_test

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

func addSeeds(f *testing.F) {
	for _, file := range frameVectors {
		f.Add(loadVector(f, file).data)
	}
	for _, l := range loadTraces(f) {
		f.Add(l.data)
	}
	odd, _, _ := oddPublish(f, varField(7, 1))
	f.Add(odd)
	f.Add([]byte{})
}

func FuzzParse(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		fr, err := wire.Parse(bytes.Clone(in))
		if err != nil {
			var inv *wire.InvalidError
			if errors.Is(err, wire.ErrMalformed) == errors.As(err, &inv) {
				t.Fatalf("error of no class: %v", err)
			}
			if inv != nil && proto.Unmarshal(in, &pb.Message{}) != nil {
				t.Fatalf("%v, but the generated decoder refuses it: that is malformed", err)
			}
			return
		}
		if got := bytes.Join(fr.Segments(), nil); !bytes.Equal(got, in) {
			t.Fatalf("unpatched segments differ: %x", got)
		}
		m, err := fr.Message()
		if err != nil {
			t.Fatalf("accepted, but not decodable: %v", err)
		}
		if fr.Header() != nil {
			compareHeader(t, fr.Header(), m)
		}
		b := encode(t, m)
		again, err := wire.Parse(b)
		if err != nil {
			t.Fatalf("decoded and encoded again: %v", err)
		}
		m2, err := again.Message()
		if err != nil || !proto.Equal(m, m2) {
			t.Fatalf("decode, encode, decode:\n%v\n%v (%v)", m, m2, err)
		}
	})
}

func FuzzPatch(f *testing.F) {
	for _, l := range loadTraces(f)[:4] {
		f.Add(l.data, uint32(7), uint64(1), true)
	}
	odd, _, _ := oddPublish(f, varField(7, 1), varField(8, 1))
	f.Add(odd, uint32(0), uint64(1<<63), false)
	f.Fuzz(func(t *testing.T, in []byte, ttl uint32, conn uint64, sign bool) {
		fr, err := wire.Parse(in)
		if err != nil || fr.Header() == nil {
			return
		}
		p := wire.Patch{TTL: wire.Some(ttl), IncomingConn: wire.Some(conn)}
		if sign {
			p.MAC = make([]byte, wire.MACSize)
		}
		g := fr.With(p)
		out := g.Bytes()
		if len(out) != g.Size() || sign && len(out) != fr.With(wire.Patch{TTL: p.TTL, IncomingConn: p.IncomingConn}).SignedSize() {
			t.Fatalf("%d bytes, Size %d", len(out), g.Size())
		}
		again, err := wire.Parse(bytes.Clone(out))
		if err != nil {
			t.Fatalf("patched frame: %v", err)
		}
		want, err := fr.Message()
		if err != nil {
			t.Fatal(err)
		}
		got, err := again.Message()
		if err != nil {
			t.Fatal(err)
		}
		h := headerOf(want)
		h.Ttl, h.IncomingConn, h.RecvFrom, h.ForwardTo, h.HeaderMac = ttl, &conn, nil, nil, p.MAC
		if !proto.Equal(got, want) {
			t.Fatalf("patched\n got %v\nwant %v", got, want)
		}
	})
}

func headerOf(m *pb.Message) *pb.SLIMHeader {
	switch {
	case m.GetPublish() != nil:
		return m.GetPublish().GetHeader()
	case m.GetSubscribe() != nil:
		return m.GetSubscribe().GetHeader()
	}
	return m.GetUnsubscribe().GetHeader()
}
