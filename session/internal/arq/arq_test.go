package arq

import (
	"math"
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	for _, c := range []struct{ id, want MessageID }{{0, 1}, {1, 2}, {MaxID - 1, MaxID}, {MaxID, 0}} {
		if got := Next(c.id); got != c.want {
			t.Errorf("Next(%d) = %d, want %d", c.id, got, c.want)
		}
	}
}

func TestAfter(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b MessageID
		want bool
	}{
		{"same", 7, 7, false},
		{"next", 8, 7, true},
		{"previous", 7, 8, false},
		{"over the end", 0, MaxID, true},
		{"back over the end", MaxID, 0, false},
		{"half the space", 1 << 30, 0, true},
		{"one more", 1<<30 + 1, 0, false},
		{"half the space over the end", 1<<30 - 2, MaxID - 1, true},
		{"one more over the end", 1<<30 - 1, MaxID - 1, false},
	} {
		if got := After(c.a, c.b); got != c.want {
			t.Errorf("%s: After(%d, %d) = %v", c.name, c.a, c.b, got)
		}
	}
}

func TestSenderDefaults(t *testing.T) {
	for _, c := range []struct {
		name     string
		in, want SenderConfig
	}{
		{"zero", SenderConfig{}, SenderConfig{Interval: time.Second, Ring: 512, RingBytes: 64 << 20, Window: 256, WindowBytes: 16 << 20}},
		{"window at most the ring", SenderConfig{Ring: 8, Window: 9}, SenderConfig{Interval: time.Second, Ring: 8, RingBytes: 64 << 20, Window: 8, WindowBytes: 16 << 20}},
		{"ring holds the window", SenderConfig{RingBytes: 5, WindowBytes: 6, MaxRetries: -1}, SenderConfig{Interval: time.Second, Ring: 512, RingBytes: 6, Window: 256, WindowBytes: 6}},
	} {
		if got := c.in.withDefaults(); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestPatience(t *testing.T) {
	for _, c := range []struct {
		interval time.Duration
		retries  int
		want     time.Duration
	}{
		{time.Second, 0, time.Second},
		{time.Second, 10, 11 * time.Second},
		{time.Hour, math.MaxInt32, math.MaxInt64},
	} {
		if got := patience(c.interval, c.retries); got != c.want {
			t.Errorf("patience(%v, %d) = %v, want %v", c.interval, c.retries, got, c.want)
		}
	}
}

// TestScheduleIsUpstreams: 11 transmissions in the first 10 s, given up at 11 s.
func TestScheduleIsUpstreams(t *testing.T) {
	s := NewSender[string, int](SenderConfig{Reliable: true, MaxRetries: 10})
	s.Online(epoch, "bob")
	s.Publish(epoch, 1, 1)
	r := NewReceiver[int](ReceiverConfig{Reliable: true, StartAtOne: true, MaxRetries: 10})
	requests := len(r.Message(epoch, 2, 2, 1).Request)
	sends := 1
	for at := s.NextTimeout(); !at.IsZero(); at = s.NextTimeout() {
		if other := r.NextTimeout(); !other.Equal(at) {
			t.Fatalf("sender due at %v, receiver at %v", at.Sub(epoch), other.Sub(epoch))
		}
		resend, settled, lost := s.Tick(at)
		out := r.Tick(at)
		sends += len(resend)
		requests += len(out.Request)
		if over := at.Sub(epoch) == 11*time.Second; over != (len(settled) == 1) || over != (len(lost) == 1) || over != (len(out.Deliver) == 2) {
			t.Fatalf("at %v: settled %v, lost %v, delivered %v", at.Sub(epoch), settled, lost, out.Deliver)
		}
	}
	if sends != 11 || requests != 11 {
		t.Errorf("%d transmissions, %d requests, want 11", sends, requests)
	}
}

// TestPushedOut: a caller that ignores CanPublish stays bounded, and hears
// of what was pushed out.
func TestPushedOut(t *testing.T) {
	for _, c := range []struct {
		name   string
		online bool
	}{{"sent", true}, {"parked", false}} {
		t.Run(c.name, func(t *testing.T) {
			s := NewSender[string, int](SenderConfig{Reliable: true, Ring: 4})
			if c.online {
				s.Online(epoch, "bob")
			}
			for i := range 6 {
				s.Publish(epoch, i, 1)
				checkSender(t, s)
			}
			if s.Pending() != 4 || s.CanPublish(0) || !s.NextTimeout().Equal(epoch) {
				t.Fatalf("pending %d, next %v", s.Pending(), s.NextTimeout())
			}
			_, settled, _ := s.Tick(epoch)
			if len(settled) != 2 || settled[0].ID != 1 || settled[1].ID != 2 || (len(settled[0].Missing) == 1) != c.online {
				t.Errorf("settled %+v", settled)
			}
		})
	}
}

// TestMemoryIsReleased: what all have acknowledged is not kept, and a session
// that is answered promptly stays at its first slots.
func TestMemoryIsReleased(t *testing.T) {
	s := NewSender[string, []byte](SenderConfig{Reliable: true})
	s.Online(epoch, "ann")
	s.Online(epoch, "bob")
	for range 10_000 {
		id, _ := s.Publish(epoch, make([]byte, 100), 100)
		s.Ack("ann", id)
		s.Ack("bob", id)
	}
	if s.keptBytes != 0 || len(s.slots) != firstSlots {
		t.Errorf("keeps %d bytes in %d slots", s.keptBytes, len(s.slots))
	}
	// Bob leaves: the ring fills for him, up to its limits, until he is removed.
	s.Offline("bob")
	for range 10_000 {
		id, _ := s.Publish(epoch, make([]byte, 1<<20), 1<<20)
		s.Ack("ann", id)
	}
	if s.keptBytes > DefaultRingBytes || s.keptBytes < DefaultRingBytes/2 || len(s.slots) > DefaultRing {
		t.Errorf("keeps %d bytes in %d slots", s.keptBytes, len(s.slots))
	}
	s.Remove("bob")
	if s.keptBytes != 0 {
		t.Errorf("keeps %d bytes for a removed peer", s.keptBytes)
	}
	checkSender(t, s)
}

// TestHostileSource: whatever ids a source makes up, requests and memory stay
// within the window.
func TestHostileSource(t *testing.T) {
	r := NewReceiver[int](ReceiverConfig{Reliable: true, StartAtOne: true, Interval: time.Second})
	now, asked := epoch, 0
	for i := range 100_000 {
		id := MessageID(i*7_919_317) & MaxID
		asked += len(r.Message(now, id, i, 1<<20).Request)
		if r.heldBytes > DefaultHoldBytes || len(r.slots) > DefaultHold {
			t.Fatalf("holds %d bytes in %d slots", r.heldBytes, len(r.slots))
		}
		now = now.Add(time.Millisecond)
		r.Tick(now)
	}
	if asked != 0 {
		t.Errorf("asked for %d messages", asked)
	}
	checkReceiver(t, r)
}

// TestAllocations pins the steady state: nothing to publish, one result slice
// to settle and one to deliver.
func TestAllocations(t *testing.T) {
	s := NewSender[int, *int](SenderConfig{Reliable: true, MaxRetries: 10})
	r := NewReceiver[*int](ReceiverConfig{Reliable: true, StartAtOne: true, MaxRetries: 10})
	s.Online(epoch, 0)
	s.Online(epoch, 1)
	msg := new(int)
	var id MessageID
	s.Publish(epoch, msg, 8) // the first slots
	s.Ack(0, 1)
	s.Ack(1, 1)
	r.Message(epoch, 1, msg, 8)
	for _, c := range []struct {
		name string
		want float64
		do   func()
	}{
		{"publish, acknowledge, deliver", 2, func() {
			id, _ = s.Publish(epoch, msg, 8)
			if !r.Message(epoch, id, msg, 8).Ack {
				t.Fatal("not acknowledged")
			}
			s.Ack(0, id)
			if len(s.Ack(1, id)) != 1 {
				t.Fatal("not settled")
			}
		}},
		{"duplicate, repeated ack, next", 0, func() {
			r.Message(epoch, id, msg, 8)
			s.Ack(0, id)
			s.NextTimeout()
			r.NextTimeout()
		}},
	} {
		if got := testing.AllocsPerRun(1000, c.do); got != c.want {
			t.Errorf("%s: %v allocations, want %v", c.name, got, c.want)
		}
	}
}
