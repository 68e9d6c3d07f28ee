package route

import (
	"slices"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// MatchOne finds the one connection for a message with fanout 1: among the
// subscribers of exactly dst, or of any id under its prefix if dst.ID is
// [name.Any]. The best link type that has a candidate wins, and within it the
// connections take turns. from, where the message came in, is never the answer.
func (t *Table) MatchOne(dst name.Key, from ConnID) (ConnID, bool) {
	set := t.lookup(dst)
	if set == nil {
		return 0, false
	}
	for typ := range set {
		if c, ok := set[typ].take(from); ok {
			return c, true
		}
	}
	return 0, false
}

// MatchAll appends to into every connection for a message with another fanout,
// once each and from excluded, and returns the extended slice. The order is by
// link type, then by number.
func (t *Table) MatchAll(dst name.Key, from ConnID, into []ConnID) []ConnID {
	set := t.lookup(dst)
	if set == nil {
		return into
	}
	for typ := range set {
		for _, c := range set[typ].conns {
			if c != from {
				into = append(into, c)
			}
		}
	}
	return into
}

func (t *Table) lookup(dst name.Key) *targets {
	e, ok := t.entries[dst.Prefix]
	if !ok {
		return nil
	}
	if dst.ID == name.Any {
		return &e.all
	}
	return e.ids[dst.ID]
}

// targets are the subscribers of one name, by link type.
type targets [linkTypes]turns

func (s *targets) add(typ LinkType, c ConnID)    { s[typ].add(c) }
func (s *targets) remove(typ LinkType, c ConnID) { s[typ].remove(c) }

func (s *targets) empty() bool {
	for typ := range s {
		if len(s[typ].conns) > 0 {
			return false
		}
	}
	return true
}

// turns is a set of connections that are served in turn. The cursor is the
// number last served, not a position, so it survives removals.
type turns struct {
	conns []ConnID // ascending, no duplicates
	last  ConnID
}

func (s *turns) add(c ConnID) {
	if i, found := slices.BinarySearch(s.conns, c); !found {
		s.conns = slices.Insert(s.conns, i, c)
	}
}

func (s *turns) remove(c ConnID) {
	if i, found := slices.BinarySearch(s.conns, c); found {
		s.conns = slices.Delete(s.conns, i, i+1)
	}
}

// take returns the next connection in turn that is not the given one.
func (s *turns) take(not ConnID) (ConnID, bool) {
	n := len(s.conns)
	if n == 0 || n == 1 && s.conns[0] == not {
		return 0, false
	}
	i, found := slices.BinarySearch(s.conns, s.last)
	if found {
		i++
	}
	c := s.conns[i%n]
	if c == not {
		c = s.conns[(i+1)%n]
	}
	s.last = c
	return c, true
}
