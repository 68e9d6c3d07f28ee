package mls

import "math"

// Skip uses up our next n keys for application messages of the current epoch
// without sending anything, so that a group loaded from a state older than
// what was sent uses no key twice: n is at least the number of messages sent
// since. Others decrypt what follows if, with what they missed before, they
// are not more than MaxAhead behind. One key is derived after the other, which
// takes about a microsecond each.
//
// If fewer than n keys are left, it is [ErrTooFar] and none is used up.
func (g *Group) Skip(n uint32) error {
	if g.now == nil {
		return errWiped
	}
	if n == 0 {
		return nil
	}
	s, err := g.now.messages.claim(g.self)
	if err != nil {
		return err
	}
	r := &s[applicationRatchet]
	if r.next+uint64(n) > math.MaxUint32 {
		return fail(ErrTooFar, "all generations are used")
	}
	for range n {
		r.advance()
	}
	return nil
}
