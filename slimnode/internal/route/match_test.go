package route

import (
	"slices"
	"testing"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

var (
	bob   = name.MustParse("org/ns/bob")
	bob1  = bob.WithID(name.ID{Hi: 1, Lo: 1}).Key()
	bob2  = bob.WithID(name.ID{Hi: 2, Lo: 2}).Key()
	bob9  = bob.WithID(name.ID{Hi: 9, Lo: 9}).Key()
	bobs  = bob.Key()
	alice = name.MustParse("org/ns/alice").WithID(name.ID{Lo: 7}).Key()
)

type sub struct {
	c   ConnID
	typ LinkType
	id  SubscriptionID
	key name.Key
}

func build(t testing.TB, subs ...sub) *Table {
	t.Helper()
	tab := New(Limits{})
	for _, s := range subs {
		if _, known := tab.conns[s.c]; !known {
			tab.AddConn(s.c, s.typ)
		}
		if s.key == (name.Key{}) {
			continue // a connection without subscriptions
		}
		if err := tab.Subscribe(s.c, s.id, s.key); err != nil {
			t.Fatal(err)
		}
	}
	return tab
}

// The rows of the matching rules, each observed at a real node.
func TestMatchOne(t *testing.T) {
	two := []sub{{1, Edge, 1, bob1}, {2, Edge, 1, bob2}, {3, Edge, 1, alice}}
	for _, tc := range []struct {
		name string
		subs []sub
		dst  name.Key
		from ConnID
		want []ConnID // of consecutive calls
	}{
		{"anycast splits evenly", two, bobs, 3, []ConnID{1, 2, 1, 2, 1, 2, 1, 2}},
		{"anycast from a subscriber goes to the other", two, bobs, 1, []ConnID{2, 2, 2}},
		{"anycast only from the only subscriber", []sub{{1, Edge, 1, bob1}}, bobs, 1, []ConnID{0, 0}},
		{"anycast reaches a NULL subscription", []sub{{1, Edge, 1, bobs}}, bobs, 3, []ConnID{1}},
		{"one turn per connection, however many ids", []sub{{1, Edge, 1, bob1}, {1, Edge, 2, bob9}, {2, Edge, 1, bob2}}, bobs, 3, []ConnID{1, 2, 1, 2}},
		{"two ids of one name count once", []sub{{1, Edge, 1, bob1}, {1, Edge, 2, bob1}, {2, Edge, 3, bob1}}, bob1, 3, []ConnID{1, 2, 1, 2}},
		{"specific id", two, bob2, 3, []ConnID{2, 2}},
		{"specific id takes turns", []sub{{1, Edge, 1, bob1}, {2, Edge, 1, bob1}}, bob1, 3, []ConnID{1, 2, 1}},
		{"specific id is not for a NULL subscription", []sub{{1, Edge, 1, bobs}}, bob1, 3, []ConnID{0}},
		{"unknown id reaches nobody", two, bob9, 3, []ConnID{0}},
		{"unknown name reaches nobody", []sub{{1, Edge, 1, alice}}, bobs, 3, []ConnID{0}},
		{"peer before edge", []sub{{1, Edge, 1, bob1}, {2, Peer, 1, bob2}}, bobs, 3, []ConnID{2, 2}},
		{"remote before peer", []sub{{1, Edge, 1, bob1}, {2, Peer, 1, bob2}, {3, Remote, 1, bob9}}, bobs, 4, []ConnID{3, 3}},
		{"local before remote", []sub{{3, Remote, 1, bob9}, {4, Local, 1, bob1}}, bobs, 5, []ConnID{4, 4}},
		{"next type if the best is where it came from", []sub{{1, Edge, 1, bob1}, {2, Peer, 1, bob2}}, bobs, 2, []ConnID{1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tab := build(t, tc.subs...)
			var got []ConnID
			for range tc.want {
				c, ok := tab.MatchOne(tc.dst, tc.from)
				if ok != (c != 0) {
					t.Fatalf("MatchOne = %d, %v", c, ok)
				}
				got = append(got, c)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestMatchAll(t *testing.T) {
	subs := []sub{{1, Edge, 1, bob1}, {1, Edge, 2, bob9}, {2, Edge, 1, bob2}, {3, Remote, 1, bob1}, {4, Peer, 1, bobs}, {5, Edge, 1, alice}}
	for _, tc := range []struct {
		name string
		dst  name.Key
		from ConnID
		want []ConnID
	}{
		{"NULL: every id, once each, all types", bobs, 5, []ConnID{3, 4, 1, 2}},
		{"NULL: not back", bobs, 3, []ConnID{4, 1, 2}},
		{"specific: exactly that id", bob1, 5, []ConnID{3, 1}},
		{"specific: not back", bob2, 2, nil},
		{"unknown id", bob.WithID(name.ID{Lo: 3}).Key(), 5, nil},
		{"unknown name", name.MustParse("a/b/c").Key(), 5, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := build(t, subs...).MatchAll(tc.dst, tc.from, nil)
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestTurnsSurviveRemoval(t *testing.T) {
	tab := build(t, sub{1, Edge, 1, bob1}, sub{2, Edge, 1, bob1}, sub{3, Edge, 1, bob1})
	take := func() ConnID { c, _ := tab.MatchOne(bob1, 9); return c }
	if a, b := take(), take(); a != 1 || b != 2 {
		t.Fatal(a, b)
	}
	tab.DropConn(2) // the one last served
	if c := take(); c != 3 {
		t.Errorf("after removal: %d, want 3", c)
	}
	tab.AddConn(4, Edge)
	if err := tab.Subscribe(4, 1, bob1); err != nil {
		t.Fatal(err)
	}
	if c := take(); c != 4 {
		t.Errorf("after addition: %d, want 4", c)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	tab := build(t, sub{1, Edge, 1, bob1}, sub{2, Edge, 1, bob1}, sub{3, Remote, 1, bob2})
	buf := make([]ConnID, 0, 8)
	if n := testing.AllocsPerRun(100, func() {
		tab.MatchOne(bob1, 1)
		tab.MatchOne(bobs, 1)
		tab.MatchOne(alice, 1)
		buf = tab.MatchAll(bobs, 1, buf[:0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMatchOne(b *testing.B) {
	tab := New(Limits{})
	for c := range ConnID(1000) {
		tab.AddConn(c+1, Edge)
		for id := range SubscriptionID(10) {
			if err := tab.Subscribe(c+1, id+1, name.Key{Prefix: name.Prefix{1, 2, uint64(id)}, ID: name.ID{Lo: uint64(c)}}); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("specific", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			tab.MatchOne(name.Key{Prefix: name.Prefix{1, 2, 3}, ID: name.ID{Lo: 500}}, 1)
		}
	})
	b.Run("anycast of 1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			tab.MatchOne(name.Key{Prefix: name.Prefix{1, 2, 3}, ID: name.Any}, 1)
		}
	})
	b.Run("all of 1000", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]ConnID, 0, 1000)
		for b.Loop() {
			buf = tab.MatchAll(name.Key{Prefix: name.Prefix{1, 2, 3}, ID: name.Any}, 1, buf[:0])
		}
	})
}

func BenchmarkSubscribeDrop(b *testing.B) {
	tab := New(Limits{})
	b.ReportAllocs()
	for c := ConnID(1); b.Loop(); c++ {
		tab.AddConn(c, Edge)
		if err := tab.Subscribe(c, 1, bob1); err != nil {
			b.Fatal(err)
		}
		tab.DropConn(c)
	}
}
