package mlsdiff

import (
	"fmt"
	"testing"
)

// The benchmarks do the same with either implementation, in groups of the shape
// of SLIM: a token in every leaf, one moderator who makes all commits, 500
// bytes of authenticated data. Both create keys of P-256; the core pads as
// mls-rs does, the library not at all.

const aadSize = 500

var sizes = []struct {
	name string
	size int
}{{"256B", 256}, {"64KiB", 64 << 10}}

// forBoth runs a benchmark with the core and with the library.
func forBoth(b *testing.B, f func(b *testing.B, k kind)) {
	b.Run("core", func(b *testing.B) {
		f(b, func(subject string) (party, error) { return newCore(subject) })
	})
	b.Run("library", func(b *testing.B) {
		f(b, func(subject string) (party, error) { return newLibrary(subject) })
	})
}

// kind makes a member of one implementation.
type kind func(subject string) (party, error)

func (k kind) make(b *testing.B, subject string) party {
	b.Helper()
	p, err := k(subject)
	check(b, err)
	return p
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// meeting is a group seen by its moderator and by the member who came last.
type meeting struct {
	b               *testing.B
	moderator, last party
	size            uint32 // members; they fill the leaves from the left
}

// newMeeting makes a group of n members, added one by one.
func newMeeting(b *testing.B, k kind, n int) *meeting {
	b.Helper()
	m := &meeting{b: b, moderator: k.make(b, "moderator"), size: 1}
	check(b, m.moderator.create())
	for i := 1; i < n; i++ {
		m.last = k.make(b, fmt.Sprint("p", i))
		welcome := m.add(m.pack(m.last))
		if i == n-1 {
			check(b, m.last.join(welcome))
		}
	}
	return m
}

func (m *meeting) pack(p party) []byte {
	m.b.Helper()
	pack, err := p.keyPackage()
	check(m.b, err)
	return pack
}

func (m *meeting) add(pack []byte) (welcome []byte) {
	m.b.Helper()
	_, welcome, err := m.moderator.commit(change{add: [][]byte{pack}})
	check(m.b, err)
	m.size++
	return welcome
}

// leave undoes the last add.
func (m *meeting) leave() {
	m.b.Helper()
	m.size--
	_, _, err := m.moderator.commit(change{remove: []uint32{m.size}})
	check(m.b, err)
}

func (m *meeting) path() (commit []byte) {
	m.b.Helper()
	commit, _, err := m.moderator.commit(change{})
	check(m.b, err)
	return commit
}

func BenchmarkProtect(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.name, func(b *testing.B) {
			forBoth(b, func(b *testing.B, k kind) {
				m, text, aad := newMeeting(b, k, 2), make([]byte, s.size), make([]byte, aadSize)
				b.ReportAllocs()
				b.SetBytes(int64(s.size))
				for b.Loop() {
					if _, err := m.moderator.protect(text, aad); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkUnprotect(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.name, func(b *testing.B) {
			forBoth(b, func(b *testing.B, k kind) {
				m, text, aad := newMeeting(b, k, 2), make([]byte, s.size), make([]byte, aadSize)
				b.ReportAllocs()
				b.SetBytes(int64(s.size))
				var batch [][]byte
				for b.Loop() {
					if len(batch) == 0 {
						b.StopTimer()
						for range 100 {
							blob, err := m.moderator.protect(text, aad)
							check(b, err)
							batch = append(batch, blob)
						}
						b.StartTimer()
					}
					if _, err := m.last.unprotect(batch[0]); err != nil {
						b.Fatal(err)
					}
					batch = batch[1:]
				}
			})
		})
	}
}

func BenchmarkKeyPackage(b *testing.B) {
	forBoth(b, func(b *testing.B, k kind) {
		p := k.make(b, "somebody")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.keyPackage(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// forSizes runs a benchmark at several sizes of group, with both.
func forSizes(b *testing.B, sizes []int, f func(b *testing.B, k kind, n int)) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			forBoth(b, func(b *testing.B, k kind) { f(b, k, n) })
		})
	}
}

// BenchmarkAdd is a commit with its Welcome; the number is of the members
// before. The library's commit has a path, but for the first.
func BenchmarkAdd(b *testing.B) {
	forSizes(b, []int{1, 2, 10, 50, 99}, func(b *testing.B, k kind, n int) {
		m := newMeeting(b, k, n)
		pack := m.pack(k.make(b, "newcomer"))
		b.ReportAllocs()
		for b.Loop() {
			m.add(pack)
			b.StopTimer()
			m.leave()
			b.StartTimer()
		}
	})
}

func BenchmarkPathCommit(b *testing.B) {
	forSizes(b, []int{2, 9, 100}, func(b *testing.B, k kind, n int) {
		m := newMeeting(b, k, n)
		b.ReportAllocs()
		for b.Loop() {
			m.path()
		}
	})
}

func BenchmarkProcessPath(b *testing.B) {
	forSizes(b, []int{2, 9, 100}, func(b *testing.B, k kind, n int) {
		m := newMeeting(b, k, n)
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			commit := m.path()
			b.StartTimer()
			check(b, m.last.process(commit, nil))
		}
	})
}

// BenchmarkJoin counts the newcomer among the members.
func BenchmarkJoin(b *testing.B) {
	forSizes(b, []int{2, 9, 100}, func(b *testing.B, k kind, n int) {
		m := newMeeting(b, k, n-1)
		p := k.make(b, "newcomer")
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			welcome := m.add(m.pack(p))
			b.StartTimer()
			check(b, p.join(welcome))
			b.StopTimer()
			m.leave()
			b.StartTimer()
		}
	})
}

// BenchmarkSave is of the newcomer, who has no past epochs yet: the library
// never saves them.
func BenchmarkSave(b *testing.B) {
	forSizes(b, []int{100}, func(b *testing.B, k kind, n int) {
		m := newMeeting(b, k, n)
		b.ReportAllocs()
		var state []byte
		for b.Loop() {
			var err error
			if state, err = m.last.save(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(state)), "bytes")
	})
}
