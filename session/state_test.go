package session

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/slimbridge/slimbridge/session/internal/control"
)

func TestRecordRoundTrip(t *testing.T) {
	for _, m := range []control.AppMessage{
		{},
		{Type: "msg", Payload: []byte("text")},
		{Type: "json", Payload: bytes.Repeat([]byte{0}, 300), Metadata: map[string]string{"a": "b", "ü": "\x01"}},
	} {
		b, err := messageRecord(&m)
		if err != nil {
			t.Fatal(err)
		}
		head, payload, err := parseRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		got := control.AppMessage{Type: head.Type, Metadata: head.Metadata, Payload: payload}
		if got.Type != m.Type || !bytes.Equal(got.Payload, m.Payload) || !reflect.DeepEqual(got.Metadata, m.Metadata) {
			t.Errorf("%+v came back as %+v", m, got)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	good, err := messageRecord(&control.AppMessage{Type: "msg", Payload: []byte("text"), Metadata: map[string]string{"a": "b"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		head, payload, err := parseRecord(b)
		if err == nil && len(payload)+len(head.Type) > len(b) {
			t.Error("longer than the record")
		}
	})
}
