package arq

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// smallSender is what the fuzz tests restore with.
func smallSender(a byte) SenderConfig {
	return SenderConfig{
		Reliable: a&0x80 == 0, Interval: time.Second, MaxRetries: int(a & 3), Ring: 4 + 8*int(a>>2&3),
		Window: 3 + 8*int(a>>4&1), RingBytes: 400, WindowBytes: 300, Reach: 20 * int(a>>5&1),
	}
}

// goesOn restores a sender. If there is one it must be sound, give its state
// back, and carry out whatever comes.
func goesOn(t *testing.T, c SenderConfig, st SenderState[byte], calls []byte) error {
	t.Helper()
	s, err := RestoreSender(c, st, func(seq uint64) ([]byte, int, bool) { return []byte{byte(seq)}, int(seq%90) - 5, true })
	if err != nil {
		if s != nil || !strings.HasPrefix(err.Error(), "arq: saved state does not fit together: ") {
			t.Fatalf("restored %v with %v", s, err)
		}
		return err
	}
	checkSender(t, s)
	if !s.paused || !s.NextTimeout().IsZero() && len(s.early) == 0 {
		t.Fatalf("not paused, or due at %v", s.NextTimeout())
	}
	once := s.Save()
	s, err = RestoreSender(c, once, func(seq uint64) ([]byte, int, bool) { return nil, 10, true })
	if err != nil || !reflect.DeepEqual(s.Save(), once) {
		t.Fatalf("restored twice: %v, %+v, once: %+v", err, s, once)
	}
	for _, p := range s.peers {
		if p.allowed > s.cfg.Window {
			t.Fatalf("peer %d is allowed %d", p.id, p.allowed)
		}
	}
	before := fmt.Sprint(once)
	playSender(t, s, epoch, calls)
	if after := fmt.Sprint(once); after != before {
		t.Fatalf("the state it was restored from has changed from %s to %s", before, after)
	}
	return nil
}

func receiverGoesOn(t *testing.T, c ReceiverConfig, st ReceiverState, calls []byte) error {
	t.Helper()
	message := func(seq uint64) (byte, int, bool) { return byte(seq), int(seq%90) - 5, true }
	r, err := RestoreReceiver(c, st, message)
	if err != nil {
		if r != nil || !strings.HasPrefix(err.Error(), "arq: saved state does not fit together: ") {
			t.Fatalf("restored %v with %v", r, err)
		}
		return err
	}
	checkReceiver(t, r)
	if !r.paused || !r.NextTimeout().IsZero() {
		t.Fatalf("not paused, or due at %v", r.NextTimeout())
	}
	once := r.Save()
	r, err = RestoreReceiver(c, once, message)
	if err != nil || !reflect.DeepEqual(r.Save(), once) {
		t.Fatalf("restored twice: %v, %+v, once: %+v", err, r, once)
	}
	playReceiver(t, r, epoch, calls)
	return nil
}

// FuzzRestoreSender restores any state, and makes any calls afterwards.
func FuzzRestoreSender(f *testing.F) {
	for _, text := range []string{
		`{"Newest":0}`,
		`{"Newest":3,"Slots":16,"Unsent":1,"Sent":9,"Sealed":8,"Start":1,"Wake":true,"Peers":[{"ID":1,"Online":true,"Floor":0,"From":2,"Acked":[2],"Heard":4,"Allowed":1},{"ID":2,"Floor":1,"Asked":[2]}],"Messages":[{"Open":true,"Kept":true,"Attempt":1,"First":3,"Missing":[2,7],"Held":[0]},{"Kept":true,"First":4},{"Open":true,"Kept":true}]}`,
		`{"Newest":4611686018427387904,"Slots":4,"Sent":4611686018427387904,"Peers":[{"Floor":4611686018427387903}],"Messages":[{"Kept":true}],"Early":[{"ID":2147483640,"Missing":[3]}]}`,
		`{"Newest":9,"Closed":true,"Peers":[{"ID":3,"Floor":2,"Online":true}]}`,
	} {
		f.Add([]byte(text), []byte{0x21, 10, 0, 8, 20, 4, 0, 0, 9, 5, 1, 8, 90, 3, 1, 11, 7})
	}
	f.Fuzz(func(t *testing.T, text, in []byte) {
		var st SenderState[byte]
		if len(in) == 0 || json.Unmarshal(text, &st) != nil {
			return
		}
		_ = goesOn(t, smallSender(in[0]), st, in[1:])
	})
}

// FuzzRestoreReceiver restores any state, and plays a hostile source.
func FuzzRestoreReceiver(f *testing.F) {
	for _, text := range []string{
		`{}`,
		`{"Started":true,"Last":7,"Gap":[{"Asked":1},{"Held":true},{"Gone":true},{},{"Held":true}]}`,
		`{"Started":true,"Last":4611686018427387904,"Gap":[{"Asked":9223372036854775807}]}`,
	} {
		f.Add([]byte(text), []byte{0x18, 6, 0, 4, 20, 0, 5, 2, 6, 4, 90, 1, 3, 7, 0})
	}
	f.Fuzz(func(t *testing.T, text, in []byte) {
		var st ReceiverState
		if len(in) == 0 || json.Unmarshal(text, &st) != nil {
			return
		}
		c := ReceiverConfig{
			Reliable: in[0]&0x80 == 0, StartAtOne: in[0]&1 == 0, Interval: time.Second, MaxRetries: int(in[0] >> 1 & 3),
			Hold: 1 + 10*int(in[0]>>3&3), HoldBytes: 200,
		}
		_ = receiverGoesOn(t, c, st, in[1:])
	})
}

// TestBentStates alters every field of real states, one at a time.
func TestBentStates(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 9))
	calls := make([]byte, 60)
	accepted, refused := 0, 0
	count := func(err error) {
		if err == nil {
			accepted++
		} else {
			refused++
		}
	}
	for range 60 {
		for i := range calls {
			calls[i] = byte(rnd.IntN(256))
		}
		c := smallSender(byte(rnd.IntN(128)))
		s, now := NewSender[byte, byte](c), epoch
		r := NewReceiver[byte](ReceiverConfig{Reliable: true, Interval: time.Second, Hold: 20, HoldBytes: 1000})
		for range 80 {
			now = now.Add(time.Duration(rnd.IntN(200)) * time.Millisecond)
			stepSender(s, now, rnd.IntN(12), byte(rnd.IntN(255)))
			id := idAt(r.last + uint64(rnd.IntN(20)))
			stepReceiver(r, now, rnd.IntN(8), id, byte(rnd.IntN(200)))
		}
		sent, received := s.Save(), r.Save()
		bend(reflect.ValueOf(&sent).Elem(), func() { count(goesOn(t, c, sent, calls)) })
		bend(reflect.ValueOf(&received).Elem(), func() { count(receiverGoesOn(t, r.cfg, received, calls)) })
	}
	if accepted < 1000 || refused < 1000 {
		t.Errorf("%d accepted, %d refused", accepted, refused)
	}
}

// bend sets each number, flag and list in v to something else, calls do, and
// sets it back.
func bend(v reflect.Value, do func()) {
	was := reflect.New(v.Type()).Elem()
	was.Set(v)
	try := func(x any) {
		v.Set(reflect.ValueOf(x).Convert(v.Type()))
		do()
		v.Set(was)
	}
	switch v.Kind() {
	case reflect.Bool:
		try(!v.Bool())
	case reflect.Int:
		for _, x := range []int{-1, 0, 1, int(v.Int()) - 1, int(v.Int()) + 1, 1 << 62} {
			try(x)
		}
	case reflect.Uint64, reflect.Uint32, reflect.Uint8:
		for _, x := range []uint64{0, 1, v.Uint() - 1, v.Uint() + 1, v.Uint() + 64, 1 << 62, 1<<64 - 1} {
			try(x)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			bend(v.Field(i), do)
		}
	case reflect.Slice:
		v.Set(reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, 0), was)) // elements are altered in place
		for i := range v.Len() {
			bend(v.Index(i), do)
		}
		try(reflect.Append(v, reflect.Zero(v.Type().Elem())).Interface())
		if n := v.Len(); n > 0 {
			try(v.Slice(1, n).Interface())
			try(v.Slice(0, n-1).Interface())
			try(reflect.Append(v, v.Index(0)).Interface())
		}
		v.Set(was)
	}
}
