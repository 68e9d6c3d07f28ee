package mls

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
)

// The shapes of SLIM: a token of about 230 bytes in every leaf, 500 bytes of
// authenticated data, one moderator who makes all commits.
const (
	benchToken = 230
	benchAAD   = 500
)

var benchTexts = []struct {
	name string
	size int
}{{"256B", 256}, {"64KiB", 64 << 10}}

// newTokenHolder is a person with a credential as long as a token.
func newTokenHolder(t testing.TB, name string) person {
	t.Helper()
	p := newPerson(t, P256, name)
	p.Credential = []byte(name + strings.Repeat(".", benchToken-len(name)))
	return p
}

// meeting is a group seen by its moderator and by the member who came last.
type meeting struct {
	moderator, last *Group
}

// newMeeting makes a group of n members, at least two, added one by one. It
// remembers no past epochs.
func newMeeting(t testing.TB, n int) meeting {
	t.Helper()
	g, err := Create(newTokenHolder(t, "moderator").Config, nil, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := meeting{moderator: g}
	for i := 1; i < n; i++ {
		p := newTokenHolder(t, fmt.Sprint("p", i))
		pack, pending := p.keyPackage(t)
		welcome := m.commit(t, Change{Add: [][]byte{pack}})
		if i == n-1 {
			m.last = join1(t, p, pending, welcome)
		}
	}
	g.ForgetBefore(g.Epoch())
	return m
}

func join1(t testing.TB, p person, pending *Pending, welcome []byte) *Group {
	t.Helper()
	g, err := Join(p.Config, pending, welcome)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// commit lets the moderator commit and returns the Welcome.
func (m meeting) commit(t testing.TB, ch Change) []byte {
	t.Helper()
	_, welcome, err := m.moderator.Commit(ch, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return welcome
}

// leave undoes the Add of the member that was added last.
func (m meeting) leave(t testing.TB) {
	t.Helper()
	all := m.moderator.Members()
	m.commit(t, Change{Remove: []uint32{all[len(all)-1].Leaf}})
}

func BenchmarkProtect(b *testing.B) {
	m, aad := newMeeting(b, 2), make([]byte, benchAAD)
	for _, text := range benchTexts {
		b.Run(text.name, func(b *testing.B) {
			plain := make([]byte, text.size)
			b.ReportAllocs()
			b.SetBytes(int64(text.size))
			for b.Loop() {
				if _, err := m.moderator.Protect(nil, plain, aad, rand.Reader); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkUnprotect(b *testing.B) {
	m, aad := newMeeting(b, 2), make([]byte, benchAAD)
	for _, text := range benchTexts {
		b.Run(text.name, func(b *testing.B) {
			plain := make([]byte, text.size)
			b.ReportAllocs()
			b.SetBytes(int64(text.size))
			var batch [][]byte
			for b.Loop() {
				if len(batch) == 0 {
					b.StopTimer()
					for range 100 {
						batch = append(batch, m.protect(b, plain, aad))
					}
					b.StartTimer()
				}
				if _, err := m.last.Unprotect(batch[0]); err != nil {
					b.Fatal(err)
				}
				batch = batch[1:]
			}
			for _, late := range batch { // leave no skipped keys behind
				if _, err := m.last.Unprotect(late); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func (m meeting) protect(t testing.TB, plain, aad []byte) []byte {
	t.Helper()
	blob, err := m.moderator.Protect(nil, plain, aad, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func BenchmarkKeyPackage(b *testing.B) {
	p := newTokenHolder(b, "somebody")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := NewKeyPackage(p.Config, testNow, rand.Reader); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAdd is a commit with its Welcome; the number is of the members
// before.
func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{1, 2, 10, 50, 99} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newMeeting(b, n)
			p := newTokenHolder(b, "newcomer")
			pack, _ := p.keyPackage(b)
			b.ReportAllocs()
			for b.Loop() {
				m.commit(b, Change{Add: [][]byte{pack}})
				b.StopTimer()
				m.leave(b)
				b.StartTimer()
			}
		})
	}
}

func BenchmarkPathCommit(b *testing.B) {
	for _, n := range []int{2, 9, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newMeeting(b, n)
			b.ReportAllocs()
			for b.Loop() {
				m.commit(b, Change{Path: true})
			}
		})
	}
}

func BenchmarkProcessPath(b *testing.B) {
	for _, n := range []int{2, 9, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newMeeting(b, n)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				commit, _, err := m.moderator.Commit(Change{Path: true}, testNow, rand.Reader)
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if _, err := m.last.Process(commit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkJoin counts the newcomer among the members.
func BenchmarkJoin(b *testing.B) {
	for _, n := range []int{2, 9, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newMeeting(b, n-1)
			p := newTokenHolder(b, "newcomer")
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				pack, pending := p.keyPackage(b)
				welcome := m.commit(b, Change{Add: [][]byte{pack}})
				b.StartTimer()
				join1(b, p, pending, welcome)
				b.StopTimer()
				m.leave(b)
				b.StartTimer()
			}
		})
	}
}

func BenchmarkSave(b *testing.B) {
	m := newMeeting(b, 100)
	b.ReportAllocs()
	var state []byte
	for b.Loop() {
		var err error
		if state, err = m.moderator.Save(nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(state)), "bytes")
}

func BenchmarkLoad(b *testing.B) {
	m := newMeeting(b, 100)
	state, err := m.moderator.Save(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(state, m.moderator.config); err != nil {
			b.Fatal(err)
		}
	}
}
