package mls

import "github.com/thomas-vilte/mls-go/secrettree"

// window tracks which generations of one sender were received.
type window struct {
	next    uint64              // all generations from here on are new
	missing map[uint32]struct{} // skipped ones before next, at most MaxAhead
}

// check says whether a generation may be received.
func (w *window) check(generation uint32) error {
	if at := uint64(generation); at >= w.next {
		if at-w.next > MaxAhead {
			return fail(ErrTooFar, "")
		}
		return nil
	}
	if _, ok := w.missing[generation]; !ok {
		return fail(ErrReplay, "")
	}
	return nil
}

// accept records a generation that check has allowed.
func (w *window) accept(generation uint32) {
	if uint64(generation) < w.next {
		delete(w.missing, generation)
		return
	}
	if w.missing == nil && uint64(generation) > w.next {
		w.missing = map[uint32]struct{}{}
	}
	for g := w.next; g < uint64(generation); g++ {
		w.missing[uint32(g)] = struct{}{}
	}
	w.next = uint64(generation) + 1
	for excess := len(w.missing) - MaxAhead; excess > 0; excess-- {
		w.dropOldest()
	}
}

func (w *window) dropOldest() {
	oldest := uint32(w.next)
	for g := range w.missing {
		oldest = min(oldest, g)
	}
	delete(w.missing, oldest)
}

// Ratchet steps after which the library's key cache is emptied: at the first
// bound if nothing is missing, at the second in any case. The library keeps
// 2048 past keys and then keeps no new ones, which would make every swapped
// message undecryptable from there on.
const (
	purgeEarly = 512
	purgeLate  = 2047
)

// reserve makes room for so many ratchet steps.
func (e *epoch) reserve(steps int) error {
	if e.used+steps <= purgeEarly || (e.used+steps <= purgeLate && e.gaps()) {
		return nil
	}
	return e.purge()
}

func (e *epoch) gaps() bool {
	for _, w := range e.windows {
		if len(w.missing) > 0 {
			return true
		}
	}
	return false
}

// purge replaces the library's key cache by a fresh one at the same place.
// Messages that were skipped and not received until now become replays.
func (e *epoch) purge() error {
	err := guard(ErrUnsupported, "secret tree", func() error {
		tree := e.lib.SecretTree()
		fresh, err := secrettree.UnmarshalFull(tree.MarshalFull(), suite)
		if err != nil {
			return err
		}
		*tree = *fresh
		return nil
	})
	if err != nil {
		return err
	}
	for _, w := range e.windows {
		w.missing = nil
	}
	e.used = 0
	return nil
}
