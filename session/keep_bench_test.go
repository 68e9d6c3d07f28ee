package session_test

import (
	"path/filepath"
	"testing"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/statefile"
)

// BenchmarkKept compares sessions whose two ends forget with sessions whose two
// ends are kept in memory and in files: one message and its answer, and a stream
// of messages one way. Two ends write: a message costs each of them a save, as
// does its answer.
func BenchmarkKept(b *testing.B) {
	file := func(b *testing.B, path string) session.State {
		f, err := statefile.Open(filepath.Join(b.TempDir(), path), make([]byte, 32))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = f.Close() })
		return f
	}
	for _, how := range []struct {
		name string
		keep func(b *testing.B, path string) session.State
	}{
		{"forgotten", func(*testing.B, string) session.State { return nil }},
		{"in memory", func(*testing.B, string) session.State { return newMemory() }},
		{"in a file", file},
	} {
		b.Run(how.name+"/round trip 256B", func(b *testing.B) {
			a, c := keptPair(b, how.keep)
			for b.Loop() {
				hand(b, a, c)
				hand(b, c, a)
			}
		})
		b.Run(how.name+"/stream 256B", func(b *testing.B) {
			a, c := keptPair(b, how.keep)
			go func() {
				for range b.N {
					if _, err := a.Publish(b.Context(), session.Message{Payload: make([]byte, 256)}); err != nil {
						return
					}
				}
			}()
			b.ResetTimer()
			for range b.N {
				receive(b, c)
			}
		})
	}
}

func keptPair(b *testing.B, keep func(*testing.B, string) session.State) (alice, bob *session.Session) {
	b.Helper()
	nw := testnet.New(b, testnet.Options{})
	app := func(path string) *session.App {
		return nw.App("org/ns/"+path, func(c *session.Config) { c.State = keep(b, path) })
	}
	a, c := app("alice"), app("bob")
	l, err := c.Listen(session.ListenOptions{})
	if err != nil {
		b.Fatal(err)
	}
	if alice, err = a.Open(b.Context(), c.Name(), session.Options{}); err != nil {
		b.Fatal(err)
	}
	if bob, err = l.Accept(b.Context()); err != nil {
		b.Fatal(err)
	}
	return alice, bob
}

// hand sends one message and takes it.
func hand(b *testing.B, from, to *session.Session) {
	if _, err := from.Publish(b.Context(), session.Message{Payload: make([]byte, 256)}); err != nil {
		b.Fatal(err)
	}
	receive(b, to)
}

func receive(b *testing.B, s *session.Session) {
	m, err := s.Receive(b.Context())
	if err == nil {
		err = s.Confirm(m)
	}
	if err != nil {
		b.Fatal(err)
	}
}
