package route

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// model is the table as a plain list, with every rule spelled out.
type model struct {
	types map[ConnID]LinkType
	subs  []sub
}

func (m *model) find(c ConnID, id SubscriptionID, k name.Key) int {
	return slices.IndexFunc(m.subs, func(s sub) bool { return s.c == c && s.id == id && s.key == k })
}

func (m *model) unsubscribe(c ConnID, id SubscriptionID, k name.Key) bool {
	i := m.find(c, id, k)
	if i < 0 {
		i = m.find(c, 0, k)
	}
	if i < 0 {
		return false
	}
	m.subs = slices.Delete(m.subs, i, i+1)
	return true
}

// candidates by link type.
func (m *model) candidates(dst name.Key, from ConnID) (all map[ConnID]bool, best map[ConnID]bool) {
	all, best = map[ConnID]bool{}, map[ConnID]bool{}
	top := linkTypes
	for _, s := range m.subs {
		if s.c != from && s.key.Prefix == dst.Prefix && (dst.ID == name.Any || dst.ID == s.key.ID) {
			all[s.c] = true
			top = min(top, m.types[s.c])
		}
	}
	for c := range all {
		if m.types[c] == top {
			best[c] = true
		}
	}
	return all, best
}

func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		tab, m := New(Limits{}), &model{types: map[ConnID]LinkType{}}
		next := ConnID(1)
		conn := func() ConnID { return ConnID(r.Uint64N(uint64(next) + 1)) } // 0 and unknown ones included
		key := func() name.Key {
			k := name.Key{Prefix: name.Prefix{1, 2, r.Uint64N(4)}, ID: name.ID{Lo: r.Uint64N(4)}}
			if k.ID.Lo == 0 {
				k.ID = name.Any
			}
			return k
		}
		for step := range 2000 {
			switch r.IntN(8) {
			case 0:
				if len(m.types) < 8 {
					m.types[next] = LinkType(r.IntN(int(linkTypes)))
					tab.AddConn(next, m.types[next])
					next++
				}
			case 1, 2, 3:
				c, id, k := conn(), SubscriptionID(r.IntN(4)), key()
				_, known := m.types[c]
				if err := tab.Subscribe(c, id, k); (err == nil) != known {
					t.Fatalf("seed %d step %d: Subscribe(%d): %v", seed, step, c, err)
				}
				if known && m.find(c, id, k) < 0 {
					m.subs = append(m.subs, sub{c, m.types[c], id, k})
				}
			case 4, 5:
				c, id, k := conn(), SubscriptionID(r.IntN(4)), key()
				if err := tab.Unsubscribe(c, id, k); (err == nil) != m.unsubscribe(c, id, k) {
					t.Fatalf("seed %d step %d: Unsubscribe(%d,%d): %v", seed, step, c, id, err)
				}
			case 6:
				c := conn()
				if r.IntN(4) == 0 {
					before := len(m.subs)
					m.subs = slices.DeleteFunc(m.subs, func(s sub) bool { return s.c == c })
					delete(m.types, c)
					if n := tab.DropConn(c); n != before-len(m.subs) {
						t.Fatalf("seed %d step %d: DropConn(%d) = %d", seed, step, c, n)
					}
				}
			case 7:
				compare(t, tab, m, key(), conn())
			}
			if tab.Len() != len(m.subs) {
				t.Fatalf("seed %d step %d: Len %d, want %d", seed, step, tab.Len(), len(m.subs))
			}
		}
		for c := range m.types {
			tab.DropConn(c)
		}
		if tab.Len()+len(tab.entries)+len(tab.conns) != 0 {
			t.Fatalf("seed %d: something left: %+v", seed, tab)
		}
	}
}

// compare checks the fan-out, and that every best candidate has one turn in as
// many anycasts as there are candidates.
func compare(t *testing.T, tab *Table, m *model, dst name.Key, from ConnID) {
	t.Helper()
	all, best := m.candidates(dst, from)
	got := tab.MatchAll(dst, from, nil)
	if want := slices.Sorted(maps.Keys(all)); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Fatalf("MatchAll = %v, want %v", got, want)
	}
	served := map[ConnID]bool{}
	for range best {
		c, ok := tab.MatchOne(dst, from)
		if !ok || !best[c] || served[c] {
			t.Fatalf("MatchOne = %d, %v after %v; candidates %v", c, ok, served, best)
		}
		served[c] = true
	}
	if len(best) == 0 {
		if c, ok := tab.MatchOne(dst, from); ok {
			t.Fatalf("MatchOne = %d, want none", c)
		}
	}
}
