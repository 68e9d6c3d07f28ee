package arq

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

func BenchmarkPublishAck(b *testing.B) {
	for _, peers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			s := NewSender[int, *int](SenderConfig{Reliable: true, MaxRetries: 10})
			for p := range peers {
				s.Online(epoch, p)
			}
			now := epoch
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Microsecond)
				id, _ := s.Publish(now, nil, 100)
				for p := range peers {
					s.Ack(p, id)
				}
			}
		})
	}
}

// BenchmarkPipeline keeps a full window of unacknowledged messages.
func BenchmarkPipeline(b *testing.B) {
	s := NewSender[int, *int](SenderConfig{Reliable: true, MaxRetries: 10})
	s.Online(epoch, 0)
	now := epoch
	for s.CanPublish(100) {
		s.Publish(now, nil, 100)
	}
	oldest := MessageID(1)
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		s.Ack(0, oldest)
		oldest = Next(oldest)
		s.Publish(now, nil, 100)
		_ = s.NextTimeout()
	}
}

func BenchmarkReceiveInOrder(b *testing.B) {
	r := NewReceiver[*int](ReceiverConfig{Reliable: true, StartAtOne: true, MaxRetries: 10})
	id := MessageID(0)
	b.ReportAllocs()
	for b.Loop() {
		id = Next(id)
		r.Message(epoch, id, nil, 100)
	}
}

// BenchmarkReceiveSwapped opens and fills a gap with every second message.
func BenchmarkReceiveSwapped(b *testing.B) {
	r := NewReceiver[*int](ReceiverConfig{Reliable: true, StartAtOne: true, MaxRetries: 10})
	id := MessageID(1)
	b.ReportAllocs()
	for b.Loop() {
		r.Message(epoch, Next(id), nil, 100)
		r.Message(epoch, id, nil, 100)
		id = Next(Next(id))
	}
}

// BenchmarkTick resends a full window to ten silent peers.
func BenchmarkTick(b *testing.B) {
	s := NewSender[int, *int](SenderConfig{Reliable: true, MaxRetries: 1 << 30})
	for p := range 10 {
		s.Online(epoch, p)
	}
	for s.CanPublish(100) {
		s.Publish(epoch, nil, 100)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Tick(s.NextTimeout())
	}
}

// BenchmarkSave saves before every acknowledgement: with nothing open, with
// one message open, with a full window, and with a full ring kept for a peer
// that is offline.
func BenchmarkSave(b *testing.B) {
	for _, c := range []struct {
		name           string
		peers, publish int
		offline        bool
	}{
		{"idle/peers=1", 1, 0, false}, {"idle/peers=10", 10, 0, false}, {"open=1/peers=1", 1, 1, false},
		{"open=256/peers=1", 1, 256, false}, {"kept=512/peers=10", 10, 512, true},
	} {
		s := NewSender[name3, *int](SenderConfig{Reliable: true, MaxRetries: 10})
		for p := range c.peers {
			s.Online(epoch, name3{N: [4]uint64{1 << 63, uint64(p)}})
		}
		if c.offline {
			s.Offline(s.peers[0].id)
		}
		for i := range c.publish + 100 {
			id, _ := s.Publish(epoch, nil, 100)
			for _, p := range s.peers {
				if p.online && (i < 100 || c.offline) {
					s.Ack(p.id, id)
				}
			}
		}
		b.Run("state/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Save()
			}
		})
		b.Run("json/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				text, err := json.Marshal(s.Save())
				if err != nil {
					b.Fatal(err)
				}
				size = len(text)
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

// name3 is as large as the names of real peers.
type name3 struct{ N [4]uint64 }

func BenchmarkSaveReceiver(b *testing.B) {
	for _, gap := range []MessageID{0, 512} {
		r := NewReceiver[*int](ReceiverConfig{Reliable: true, StartAtOne: true, MaxRetries: 10})
		for id := MessageID(2); id <= gap; id++ {
			r.Message(epoch, id, nil, 100)
		}
		b.Run(fmt.Sprintf("gap=%d", gap), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Save()
			}
		})
	}
}
