package arq

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// receiverAgain restores a receiver from its own state.
func receiverAgain(t *testing.T, r *Receiver[byte]) *Receiver[byte] {
	t.Helper()
	state := r.Save()
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	var read ReceiverState
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	content := maps.Collect(r.Held())
	restored, err := RestoreReceiver(r.cfg, read, func(seq uint64) (byte, int, bool) {
		msg, ok := content[seq]
		delete(content, seq)
		return msg, int(msg), ok
	})
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if len(content) > 0 {
		t.Fatalf("%d messages were held for nothing", len(content))
	}
	checkReceiver(t, restored)
	if other := restored.Save(); !reflect.DeepEqual(other, state) {
		t.Fatalf("restored %+v, saved %+v", other, state)
	}
	return restored
}

// TestReceiverGoesOn compares a receiver that was paused with one that was
// restored at that moment, in all that they do afterwards.
func TestReceiverGoesOn(t *testing.T) {
	for seed := range *seeds / 2 {
		twinReceivers(t, rand.New(rand.NewPCG(uint64(seed), 8)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func twinReceivers(t *testing.T, rnd *rand.Rand) {
	r, now := NewReceiver[byte](ReceiverConfig{
		Reliable: rnd.IntN(20) > 0, StartAtOne: rnd.IntN(2) == 0, MaxRetries: rnd.IntN(4), Hold: 1 + rnd.IntN(20), HoldBytes: 400,
	}), epoch
	var twin *Receiver[byte]
	for range 300 {
		if rnd.IntN(25) == 0 {
			twin = receiverAgain(t, r)
			r.Pause(now)
			r.far = 0 // the one thing that is not saved
		}
		op, a, wait := rnd.IntN(9), byte(rnd.IntN(256)), time.Duration(rnd.IntN(2000))*time.Millisecond
		if op == 0 {
			now = now.Add(wait)
		}
		id := idAt(r.last + uint64(a%25) - 2)
		did := stepReceiver(r, now, op, id, a)
		if twin == nil {
			continue
		}
		if other := stepReceiver(twin, now, op, id, a); fmt.Sprint(other) != fmt.Sprint(did) {
			t.Fatalf("restored: %+v, paused: %+v", other, did)
		}
		checkReceiver(t, twin)
		if x, y := due(r.NextTimeout(), now), due(twin.NextTimeout(), now); !x.Equal(y) {
			t.Fatalf("restored is due at %v, paused at %v", y, x)
		}
		if x, y := r.Save(), twin.Save(); !reflect.DeepEqual(x, y) {
			t.Fatalf("restored %+v, paused %+v", y, x)
		}
	}
}

// stepReceiver does one of the things a receiver can be asked for.
func stepReceiver(r *Receiver[byte], now time.Time, op int, id MessageID, a byte) Result[byte] {
	switch op {
	case 0:
		return r.Tick(now)
	case 1, 2, 3:
		return r.Message(now, id, a, int(a))
	case 4, 5:
		return r.Reply(now, id, a, int(a), a%8 == 0)
	case 6:
		if a > 200 {
			r.Pause(now)
		}
		if a < 5 {
			return r.Flush()
		}
	case 7:
		if a < 64 { // far ahead
			return r.Message(now, id+40&MaxID, a, int(a))
		}
	default:
		r.Resume(now)
	}
	return Result[byte]{}
}
