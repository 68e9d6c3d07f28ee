package mlsdiff

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

var (
	first     = flag.Uint64("first", 0, "seed of the first short history")
	histories = flag.Uint64("histories", 0, "number of short histories (0: 300, or 50 with -short)")
)

// TestDifferential lets members of both implementations live through random
// changes, each by a random committer of either kind. After every change all
// are at the same epoch with the same authenticator and the same members, and
// read each other. The seed of a history is its test's name; it fixes all but
// the keys.
//
// What the library cannot do is left out or made up for:
//   - It starts groups from a key schedule of zeros: the driver puts a random
//     secret in.
//   - It refuses a commit that removes a leaf and adds the same signature key:
//     the driver hides the removed leaf's key from it, as committer and as
//     receiver.
//   - It tolerates no difference of clocks and looks at lifetimes as a receiver
//     too: all key packages here are valid from an hour ago.
//   - It cannot commit a path alone when nobody else is in the group.
//   - It changes its state before it refuses: it is given nothing to refuse.
//     That includes the commit that removes it, which the core recognises.
//   - It keeps five past epochs and loses them when it is saved; it also reads
//     what removed members send in them. Late messages here are up to four
//     epochs late, of members that stay, and not for members of the library
//     that were loaded since.
//   - It has no limit of skipped generations, and does not pad as mls-rs does:
//     lengths are not compared, generations are skipped only within one step.
func TestDifferential(t *testing.T) {
	n := *histories
	switch {
	case n > 0:
	case testing.Short():
		n = 50
	default:
		n = 300
	}
	t.Run("short", func(t *testing.T) {
		t.Parallel()
		for seed := *first; seed < *first+n; seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				h := newHistory(t, seed, 2+int(seed%9))
				for range 8 {
					h.step()
				}
				h.end()
			})
		}
	})
	t.Run("long", func(t *testing.T) {
		if testing.Short() {
			t.Skip("takes several seconds: run without -short, as CI does")
		}
		t.Parallel()
		h := newHistory(t, 1, 8)
		for range 60 {
			h.step()
		}
		h.end()
	})
	t.Run("100 members", func(t *testing.T) {
		if testing.Short() {
			t.Skip("takes several seconds: run without -short, as CI does")
		}
		t.Parallel()
		h := newHistory(t, 1, 100)
		for len(h.all) < h.limit {
			h.grow(min(15, h.limit-len(h.all)))
			h.talk()
		}
		for range 12 {
			h.step()
		}
		h.end()
	})
}

// history is a group and all its members.
type history struct {
	t      testing.TB
	rnd    *rand.Rand
	limit  int // of members
	all    []party
	serial int // of names and credentials
	late   []*lateMessage
}

func newHistory(t testing.TB, seed uint64, limit int) *history {
	h := &history{t: t, rnd: rand.New(rand.NewPCG(seed, 0)), limit: limit}
	creator := h.newcomer()
	h.must(creator, "creates", creator.create())
	h.all = []party{creator}
	h.grow(1)
	return h
}

func (h *history) must(p party, what string, err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("%s %s: %v", p.name(), what, err)
	}
}

// newcomer is of a random kind; the first two of a history are of different
// ones, so that none is among equals.
func (h *history) newcomer() party {
	h.serial++
	subject := fmt.Sprint("m", h.serial)
	library := h.rnd.IntN(2) == 0
	if len(h.all) == 1 {
		_, library = h.all[0].(*coreParty)
	}
	if library {
		p, err := newLibrary(subject)
		if err != nil {
			h.t.Fatal(err)
		}
		// The library's padding: to a multiple, not at all by default.
		return &paddingParty{p, h.rnd.IntN(3) * 100}
	}
	p, err := newCore(subject)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// paddingParty pads what it sends.
type paddingParty struct {
	*libraryParty
	multiple int
}

func (p *paddingParty) protect(text, aad []byte) ([]byte, error) {
	p.g.SetPaddingSize(p.multiple)
	return p.libraryParty.protect(text, aad)
}

func (h *history) pick() party { return h.all[h.rnd.IntN(len(h.all))] }

// others picks up to n members but one.
func (h *history) others(but party, n int) []party {
	list := slices.DeleteFunc(slices.Clone(h.all), func(p party) bool { return p == but })
	h.rnd.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
	return list[:min(n, len(list))]
}

// step makes one random change and checks that all is well.
func (h *history) step() {
	room := h.limit - len(h.all)
	switch n := 1 + h.rnd.IntN(3); h.rnd.IntN(7) {
	case 0, 1:
		if room > 0 {
			h.grow(min(n, room))
			break
		}
		fallthrough
	case 2:
		by := h.pick()
		h.commit(by, plan{leave: h.others(by, min(n, len(h.all)-1))})
	case 3:
		by := h.pick()
		h.commit(by, plan{back: h.others(by, min(n, len(h.all)-1))})
	case 4:
		h.commit(h.pick(), plan{})
	case 5:
		h.serial++
		by := h.pick()
		h.commit(by, plan{credential: token(by.owner(), h.serial)})
	case 6: // all at once
		by := h.pick()
		gone := h.others(by, min(2, len(h.all)-1))
		h.commit(by, plan{leave: gone[:len(gone)/2], back: gone[len(gone)/2:], come: 1})
	}
	if h.rnd.IntN(3) == 0 {
		p := h.pick()
		past, err := p.reload()
		h.must(p, "reloads", err)
		if !past {
			h.misses(p, func(m *lateMessage) bool { return m.age > 0 })
		}
	}
	h.talk()
}

func (h *history) grow(n int) { h.commit(h.pick(), plan{come: n}) }

// plan is a change in terms of parties.
type plan struct {
	leave, back []party // who is removed, who rejoins by a new key package
	come        int     // how many are new
	credential  []byte  // the committer's new one
}

// commit lets a member make a commit and everybody else follow.
func (h *history) commit(by party, p plan) {
	if len(h.all) == 1 && p.come == 0 {
		p = plan{come: 1}
	}
	h.speakLate()
	gone := slices.Concat(p.leave, p.back)
	ch := change{credential: p.credential}
	for _, m := range gone {
		ch.remove = append(ch.remove, m.view().self)
	}
	ch.replaced = ch.remove[len(p.leave):]
	joining := slices.Clone(p.back)
	for range p.come {
		joining = append(joining, h.newcomer())
	}
	for _, m := range joining {
		pack, err := m.keyPackage()
		h.must(m, "makes a key package", err)
		ch.add = append(ch.add, pack)
	}
	commit, welcome, err := by.commit(ch)
	h.must(by, fmt.Sprintf("commits %d removes and %d adds", len(ch.remove), len(ch.add)), err)
	h.all = slices.DeleteFunc(h.all, func(m party) bool { return slices.Contains(gone, m) })
	for _, m := range h.all {
		if m != by {
			h.must(m, "follows "+by.name(), m.process(commit, ch.replaced))
		}
	}
	h.removed(gone, commit)
	for _, m := range joining {
		h.must(m, "joins by "+by.name(), m.join(welcome))
	}
	h.readLate(gone)
	h.all = append(h.all, joining...)
	h.agree()
}

// removed shows a commit to those it removes: the core knows it for what it is.
func (h *history) removed(gone []party, commit []byte) {
	for _, m := range gone {
		if c, ok := m.(*coreParty); ok && !c.knowsRemoval(commit) {
			h.t.Fatalf("%s does not see that it is removed", c.name())
		}
	}
}

// lateMessage is under way for some epochs.
type lateMessage struct {
	spoken
	age, due int     // in epochs
	readers  []party // who can read it
}

// speakLate lets somebody say something that arrives up to four epochs later.
func (h *history) speakLate() {
	if len(h.all) == 1 {
		return
	}
	by := h.pick()
	h.late = append(h.late, &lateMessage{spoken: h.speaks(by, "late"), due: 1 + h.rnd.IntN(4), readers: h.others(by, len(h.all))})
}

// readLate delivers what is due, after a commit that some did not survive.
func (h *history) readLate(gone []party) {
	h.late = slices.DeleteFunc(h.late, func(m *lateMessage) bool { return slices.Contains(gone, m.by) })
	for _, p := range gone {
		h.misses(p, func(*lateMessage) bool { return true })
	}
	for _, m := range h.late {
		if m.age++; m.age == m.due {
			for _, p := range m.readers {
				h.reads(p, m.spoken)
			}
		}
	}
	h.late = slices.DeleteFunc(h.late, func(m *lateMessage) bool { return m.age == m.due })
}

// misses takes somebody off the readers of late messages.
func (h *history) misses(p party, of func(*lateMessage) bool) {
	for _, m := range h.late {
		if of(m) {
			m.readers = slices.DeleteFunc(m.readers, func(r party) bool { return r == p })
		}
	}
}

// spoken is a message under way.
type spoken struct {
	message []byte
	want    received
	by      party
}

func (h *history) speaks(p party, text string) spoken {
	s := spoken{by: p, want: received{
		text:   fmt.Appendf(nil, "%s from %s%s", text, p.name(), bytes.Repeat([]byte("."), h.rnd.IntN(600))),
		aad:    bytes.Repeat([]byte{'a'}, h.rnd.IntN(100)),
		sender: p.view().self,
	}}
	var err error
	s.message, err = p.protect(s.want.text, s.want.aad)
	h.must(p, "speaks", err)
	return s
}

func (h *history) reads(p party, s spoken) {
	h.t.Helper()
	got, err := p.unprotect(s.message)
	h.must(p, "reads "+s.by.name(), err)
	if !bytes.Equal(got.text, s.want.text) || !bytes.Equal(got.aad, s.want.aad) || got.sender != s.want.sender {
		h.t.Fatalf("%s reads another message of %s than was sent", p.name(), s.by.name())
	}
}

// agree compares what all members think of the group.
func (h *history) agree() {
	want := h.all[0].view()
	leaves := map[uint32]bool{}
	for _, p := range h.all {
		v := p.view()
		if v.epoch != want.epoch || v.authenticator != want.authenticator {
			h.t.Fatalf("%s is in epoch %d, %s in %d, same authenticator: %v", p.name(), v.epoch,
				h.all[0].name(), want.epoch, v.authenticator == want.authenticator)
		}
		if v.roster != want.roster || bytes.Count([]byte(v.roster), []byte("\n")) != len(h.all) {
			h.t.Fatalf("%s sees other members than %s", p.name(), h.all[0].name())
		}
		if leaves[v.self] {
			h.t.Fatalf("%s and another member think that they are leaf %d", p.name(), v.self)
		}
		leaves[v.self] = true
	}
}

// maxSpeakers bounds the talk after one step.
const maxSpeakers = 3

// talk lets a few members say two things each; everybody reads them in an
// order of its own.
func (h *history) talk() {
	h.exchange(h.others(nil, maxSpeakers), 2)
}

// end lets everybody hear everybody.
func (h *history) end() { h.exchange(h.all, 1) }

func (h *history) exchange(speakers []party, each int) {
	if len(h.all) == 1 {
		return
	}
	var all []spoken
	for _, p := range speakers {
		for n := range each {
			all = append(all, h.speaks(p, fmt.Sprint("message ", n)))
		}
	}
	for _, p := range h.all {
		h.rnd.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		for _, s := range all {
			if s.by != p {
				h.reads(p, s)
			}
		}
	}
}
