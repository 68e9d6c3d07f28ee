package arq

import (
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
