package mls

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/cryptotest"
)

// seeded is a random source that gives the same bytes every time.
func seeded(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

// common is what all members of an epoch must agree on, before any message.
func (e *epoch) common() []byte {
	b := e.tree.append(bytes.Clone(e.raw))
	b = append(b, e.interim[:]...)
	for _, s := range e.secrets.kept() {
		b = append(b, s[:]...)
	}
	return e.messages.append(b)
}

// TestEpochsAreEqual compares what the committer, the receivers and the joiner
// of a commit make of it, each in its own way.
func TestEpochsAreEqual(t *testing.T) {
	forSuites(t, func(t *testing.T, s Suite) {
		c := newClub(t, s, 5)
		equal := func(when string) {
			t.Helper()
			for i, g := range c.groups {
				if !bytes.Equal(g.now.common(), c.groups[0].now.common()) {
					t.Errorf("%s: member %d has another epoch", when, i)
				}
			}
		}
		equal("first adds")
		steps := []struct {
			name      string
			committer int
			change    func(pack []byte) Change
		}{
			{"path of the last", 4, func([]byte) Change { return Change{Path: true} }},
			{"new credential", 2, func([]byte) Change { return Change{Credential: []byte("p2")} }},
			{"add by another", 3, func(pack []byte) Change { return Change{Add: [][]byte{pack}} }},
			{"add with a path", 5, func(pack []byte) Change { return Change{Add: [][]byte{pack}, Path: true} }},
			{"replace", 0, func(pack []byte) Change { return Change{Add: [][]byte{pack}, Remove: []uint32{6}} }},
		}
		for n, step := range steps {
			p := newPerson(t, s, fmt.Sprint("new", n))
			pack, pending := p.keyPackage(t)
			change := step.change(pack)
			commit, welcome, err := c.groups[step.committer].Commit(change, testNow, seeded(byte(n)))
			if err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			if len(change.Remove) > 0 { // always the last
				c.groups, c.people = c.groups[:len(c.groups)-1], c.people[:len(c.people)-1]
			}
			c.process(t, step.committer, commit)
			if welcome != nil {
				g, err := Join(p.Config, pending, welcome)
				if err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				c.groups, c.people = append(c.groups, g), append(c.people, p)
			}
			equal(step.name)
		}
	})
}

// delivery is a message on its way to one member.
type delivery struct {
	commit bool
	wire   []byte
	text   string
}

// history makes commits and messages of everybody but the last member, who
// hears of nothing.
func (c *club) history(t testing.TB, rnd *rand.Rand) []delivery {
	t.Helper()
	var out []delivery
	last := len(c.groups) - 1
	for n := range 24 {
		from := rnd.IntN(last)
		if n%6 != 5 {
			text := fmt.Sprint("message ", n)
			wire, err := c.groups[from].Protect(nil, []byte(text), nil, seeded(byte(n)))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, delivery{wire: wire, text: text})
			continue
		}
		wire, _, err := c.groups[from].Commit(Change{Path: true}, testNow, seeded(byte(n)))
		if err != nil {
			t.Fatal(err)
		}
		for i, g := range c.groups[:last] {
			if i == from {
				continue
			}
			if _, err := g.Process(wire); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, delivery{commit: true, wire: wire})
	}
	return out
}

// reorder shuffles deliveries, but commits stay in order and no message comes
// before the commit that began its epoch.
func reorder(list []delivery, rnd *rand.Rand) []delivery {
	out := make([]delivery, 0, len(list))
	var waiting []delivery
	some := func(n int) {
		rnd.Shuffle(len(waiting), func(i, k int) { waiting[i], waiting[k] = waiting[k], waiting[i] })
		out, waiting = append(out, waiting[:n]...), waiting[n:]
	}
	for _, d := range list {
		if !d.commit {
			waiting = append(waiting, d)
			continue
		}
		some(rnd.IntN(len(waiting) + 1))
		out = append(out, d)
	}
	some(len(waiting))
	return out
}

// TestOrderDoesNotMatter delivers the same messages in many orders, also late
// into past epochs and across reloads: the state at the end is the same.
func TestOrderDoesNotMatter(t *testing.T) {
	forSuites(t, func(t *testing.T, s Suite) {
		c := newClub(t, s, 4)
		last := len(c.groups) - 1
		list := c.history(t, rand.New(rand.NewPCG(1, 2)))
		receive := func(g *Group, d delivery) {
			t.Helper()
			if d.commit {
				if _, err := g.Process(d.wire); err != nil {
					t.Fatal(err)
				}
			} else if m, err := g.Unprotect(d.wire); err != nil || string(m.Plaintext) != d.text {
				t.Fatalf("%s: %v", d.text, err)
			}
		}
		first := twin(t, c.groups[last])
		for _, d := range list {
			receive(first, d)
		}
		want := stateOf(t, first)
		if !bytes.Equal(first.Authenticator(), c.groups[0].Authenticator()) {
			t.Fatal("not where the others are")
		}
		late := 0
		for seed := range uint64(20) {
			rnd := rand.New(rand.NewPCG(seed, 3))
			g := twin(t, c.groups[last])
			for _, d := range reorder(list, rnd) {
				if rnd.IntN(8) == 0 {
					g = twin(t, g)
				}
				if p, err := readPrivate(d.wire); err == nil && p.epoch < g.Epoch() {
					late++
				}
				receive(g, d)
			}
			if !bytes.Equal(stateOf(t, g), want) {
				t.Errorf("order %d leads to another state", seed)
			}
		}
		t.Logf("20 orders of %d deliveries, %d late ones", len(list), late)
		if late < 50 {
			t.Error("hardly any message was late")
		}
	})
}

// TestSameRandomnessSameBytes runs everything that makes messages twice with
// the same random bytes. What takes them from elsewhere, or depends on the order
// of a map, shows.
func TestSameRandomnessSameBytes(t *testing.T) {
	forSuites(t, func(t *testing.T, s Suite) {
		c := newClub(t, s, 6)
		newcomer := newPerson(t, s, "newcomer")
		run := func(seed byte) (out [][]byte) {
			t.Run("run", func(t *testing.T) {
				cryptotest.SetGlobalRandom(t, uint64(seed)) // of ECDSA and HPKE
				rnd := seeded(seed)
				keep := func(b []byte, err error) {
					t.Helper()
					if err != nil {
						t.Fatal(err)
					}
					out = append(out, b)
				}
				g := twin(t, c.groups[1])
				pack, pending, err := NewKeyPackage(newcomer.Config, testNow, rnd)
				keep(pack, err)
				commit, welcome, err := g.Commit(Change{Add: [][]byte{pack}, Remove: []uint32{3, 0}}, testNow, rnd)
				keep(commit, err)
				keep(welcome, nil)
				keep(g.Protect(nil, []byte("text"), []byte("aad"), rnd))
				keep(g.Save(nil))
				joined, err := Join(newcomer.Config, pending, welcome)
				if err != nil {
					t.Fatal(err)
				}
				keep(joined.Save(nil))
				alone, err := Create(newcomer.Config, nil, testNow, rnd)
				if err != nil {
					t.Fatal(err)
				}
				keep(alone.Save(nil))
			})
			return out
		}
		one, two, other := run(1), run(1), run(2)
		names := []string{"key package", "commit", "welcome", "message", "committer", "joiner", "new group"}
		if len(one) != len(names) || len(two) != len(names) || len(other) != len(names) {
			t.Fatal("a run did not end")
		}
		for i, name := range names {
			if !bytes.Equal(one[i], two[i]) {
				t.Errorf("%s differs with equal randomness", name)
			}
			if bytes.Equal(one[i], other[i]) {
				t.Errorf("%s is equal with other randomness", name)
			}
		}
	})
}
