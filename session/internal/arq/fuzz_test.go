package arq

import (
	"slices"
	"testing"
	"time"
)

var epoch = time.Unix(1_700_000_000, 0)

// FuzzSender makes any calls in any order, with a clock that may run back.
func FuzzSender(f *testing.F) {
	f.Add([]byte{0x00, 2, 1, 3, 1, 1, 0, 4, 0, 8, 30, 4, 0, 8, 90})
	f.Add([]byte{0x3f, 3, 0, 3, 1, 1, 5, 1, 5, 1, 5, 5, 0, 4, 9, 8, 200, 6, 1, 3, 1, 10, 0})
	f.Add([]byte{0x12, 1, 1, 1, 2, 3, 3, 0, 9, 0, 1, 1, 10, 0, 8, 1, 2, 2, 7, 1, 3, 1, 11, 0, 3, 1, 1, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		c := SenderConfig{
			Reliable: in[0]&0x80 == 0, Interval: time.Second, MaxRetries: int(in[0] & 3),
			Ring: 4 + 8*int(in[0]>>2&3), Window: 3 + 8*int(in[0]>>4&1), RingBytes: 400, WindowBytes: 300,
			Reach: 20 * int(in[0]>>5&1),
		}
		s, now := NewSender[byte, []byte](c), epoch
		if in[0]&0x40 != 0 {
			s.newest, s.firstOpen, s.firstKept = uint64(MaxID)-3, uint64(MaxID)-2, uint64(MaxID)-2
		}
		playSender(t, s, now, in[1:])
	})
}

// playSender makes the calls that in says, and at the end Fail.
func playSender(t *testing.T, s *Sender[byte, []byte], now time.Time, in []byte) {
	t.Helper()
	floors := map[*peer[byte]]uint64{}
	settled := map[MessageID]int{}
	count := func(list []Settled[byte]) {
		for _, one := range list {
			settled[one.ID]++
			if settled[one.ID] > 1 {
				t.Fatalf("message %d settled twice", one.ID)
			}
		}
	}
	for ; len(in) >= 2; in = in[2:] {
		a := in[1]
		id := idAt(s.newest - uint64(a>>2))
		switch in[0] % 14 {
		case 0, 1, 2:
			if s.CanPublish(int(a)) || a%16 == 15 { // sometimes against the rule
				s.Publish(now, []byte{a}, int(a))
			}
		case 3:
			s.Online(now, a&3)
		case 4:
			count(s.Ack(a&3, id))
		case 5:
			if s.CanAnswer(a & 3) {
				s.Count()
				_, _, list := s.Rtx(now, a&3, id)
				count(list)
			}
		case 6:
			count(s.Offline(a & 3))
		case 7:
			count(s.Remove(a & 3))
		case 8:
			now = now.Add(time.Duration(int8(a)) * 100 * time.Millisecond)
			_, list, lost := s.Tick(now)
			count(list)
			for _, p := range lost {
				if s.byID[p].online {
					t.Fatalf("lost peer %d is online", p)
				}
			}
		case 9:
			s.Pause(now)
		case 10:
			s.Resume(now)
		case 11:
			if a%8 == 7 {
				count(s.Fail())
			}
		case 13:
			for range a & 31 {
				s.Encrypted()
			}
			if a > 200 {
				s.NewEpoch()
			}
		case 12:
			count(s.Ack(a, MessageID(a)<<24|MessageID(a)))
		}
		checkSender(t, s)
		for _, p := range s.peers {
			if p.floor < floors[p] {
				t.Fatalf("floor of %d went back", p.id)
			}
			floors[p] = p.floor
		}
	}
	open := s.Pending()
	left := s.Fail()
	if len(left) < open || s.Pending() != 0 || s.CanPublish(0) {
		t.Fatalf("%d open, %d failed, %d still pending", open, len(left), s.Pending())
	}
	count(left)
	checkSender(t, s)
}

// FuzzReceiver plays a hostile source.
func FuzzReceiver(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 3, 0, 4, 2, 2, 4, 10})
	f.Add([]byte{0x0d, 0, 9, 0, 200, 4, 10, 0, 200, 3, 5, 2, 6, 4, 50, 5, 0, 0, 9, 6, 0, 4, 0, 7, 0})
	f.Add([]byte{0x33, 0, 1, 1, 255, 1, 254, 4, 99, 1, 255, 8, 4})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		c := ReceiverConfig{
			Reliable: in[0]&0x80 == 0, StartAtOne: in[0]&1 == 0, Interval: time.Second, MaxRetries: int(in[0] >> 1 & 3),
			Hold: 1 + 10*int(in[0]>>3&3), HoldBytes: 200,
		}
		r, now := NewReceiver[byte](c), epoch
		if in[0]&0x40 != 0 {
			r.started, r.last, r.newest = true, uint64(MaxID)-5, uint64(MaxID)-5
		}
		playReceiver(t, r, now, in[1:])
	})
}

// playReceiver makes the calls that in says.
func playReceiver(t *testing.T, r *Receiver[byte], now time.Time, in []byte) {
	t.Helper()
	for ; len(in) >= 2; in = in[2:] {
		a := in[1]
		before, started := r.last, r.started
		var out Result[byte]
		switch in[0] % 9 {
		case 0:
			out = r.Message(now, idAt(r.last+uint64(a)-4)&MaxID, a, int(a))
		case 1:
			out = r.Message(now, MessageID(a)*0x01010101, a, int(a))
		case 2:
			out = r.Reply(now, idAt(r.last+uint64(a)-4), a, int(a), false)
		case 3:
			out = r.Reply(now, idAt(r.last+uint64(a)-4), a, int(a), true)
		case 4:
			now = now.Add(time.Duration(int8(a)) * 100 * time.Millisecond)
			out = r.Tick(now)
		case 5:
			r.Pause(now)
		case 6:
			r.Resume(now)
		case 7:
			out = r.Flush()
		case 8:
			out = r.Reply(now, MessageID(a)*0x01010101, a, -int(a), a&1 == 0)
		}
		checkReceiver(t, r)
		if r.cfg.Reliable {
			checkRun(t, r, before, started, out)
		}
	}
}

// checkRun: what was delivered is exactly what lies between the two positions.
func checkRun(t *testing.T, r *Receiver[byte], before uint64, started bool, out Result[byte]) {
	t.Helper()
	if !started && r.started {
		before = r.last - 1 // the first message starts the stream
	}
	at := idAt(before)
	for _, item := range out.Deliver {
		if item.ID != Next(at) || !item.Lost && item.Through != item.ID {
			t.Fatalf("item %+v after %d", item, at)
		}
		at = item.Through
	}
	if at != r.Last() {
		t.Fatalf("delivered up to %d, last is %d", at, r.Last())
	}
	if len(out.Request) > r.cfg.Hold || out.Refused && (out.Ack || out.Duplicate) {
		t.Fatalf("result %+v", out)
	}
	if slices.Contains(out.Request, r.Last()) {
		t.Fatalf("asks for the delivered id %d", r.Last())
	}
}
