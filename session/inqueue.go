package session

import (
	"maps"
	"slices"
	"sync"
)

const (
	// Bounds of what the application has not read yet. Beyond them messages
	// are neither taken nor acknowledged, so a reliable peer sends them
	// again; what was already in the reorder window still fits.
	maxUnread      = 1024
	maxUnreadBytes = 32 << 20
)

// inQueue holds messages for the application. It is safe for concurrent use.
type inQueue struct {
	ready chan struct{} // has a token while there may be something to pop

	mu    sync.Mutex
	items []inItem
	bytes int
	reply chan<- Message // of the request that waits; nil if none does
	owed  int            // replies of requests that gave up waiting

	// Where sessions are kept: the sizes of what is not confirmed, by mark, and
	// whether nothing will be added; settled: it was reported that then all was
	// confirmed.
	open      map[uint64]int
	openBytes int
	finished  bool
	settled   bool
}

type inItem struct {
	msg  Message
	err  error
	mark mark
}

// size is how many bytes the application has not read yet.
func (q *inQueue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// full reports whether no message may be taken from the peer. So many more, of
// so many bytes, are about to be added.
func (q *inQueue) full(more, bytes int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return max(len(q.items), len(q.open))+more >= maxUnread || max(q.bytes, q.openBytes)+bytes >= maxUnreadBytes
}

// push adds a message, or hands it to the request that waits. It returns false
// for one that nobody wants any more.
func (q *inQueue) push(it inItem) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it.err == nil {
		switch {
		case q.owed > 0:
			q.owed--
			return false
		case q.reply != nil:
			q.reply <- it.msg // has room for one, and is used once
			q.reply = nil
			return true
		}
	}
	q.items = append(q.items, it)
	q.bytes += it.size()
	q.wake()
	return true
}

// expectConfirmation notes a stored message of n bytes, before it is pushed.
func (q *inQueue) expectConfirmation(mark uint64, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open == nil {
		q.open = map[uint64]int{}
	}
	q.open[mark] = n
	q.openBytes += n
}

// unconfirmed reports whether a message is still to be confirmed.
func (q *inQueue) unconfirmed(mark uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, ok := q.open[mark]
	return ok
}

// confirm notes that a message is stored no more. It reports whether it was the
// last one of a session that is over.
func (q *inQueue) confirm(mark uint64) (last bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, ok := q.open[mark]
	if !ok {
		return false
	}
	delete(q.open, mark)
	q.openBytes -= n
	return q.settle()
}

// settle reports, once, that nothing will be added and all is confirmed. It is
// called with mu held.
func (q *inQueue) settle() bool {
	if !q.finished || len(q.open) > 0 || q.settled {
		return false
	}
	q.settled = true
	return true
}

// confirmed reports whether all is confirmed.
func (q *inQueue) confirmed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.open) == 0
}

// finish says that nothing will be added, and that the end of the session is
// stored: from then on the last confirmation drops what is left of it. It reports
// whether that was before.
func (q *inQueue) finish() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = true
	return q.settle()
}

// drop takes all that is not confirmed for confirmed and returns its marks.
func (q *inQueue) drop() []uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	marks := slices.Collect(maps.Keys(q.open))
	q.open, q.openBytes = nil, 0
	return marks
}

// size counts all that a peer can make long.
func (it inItem) size() int {
	n := len(it.msg.Payload) + len(it.msg.Type) + 64
	for k, v := range it.msg.Metadata {
		n += len(k) + len(v) + 64
	}
	return n
}

// wake is called with mu held.
func (q *inQueue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *inQueue) pop() (it inItem, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return it, false
	}
	it = q.items[0]
	q.items[0] = inItem{}
	q.items = q.items[1:]
	q.bytes -= it.size()
	if len(q.items) > 0 {
		q.wake() // for another reader
	}
	return it, true
}

// expect makes the next message the reply of a request. It is called when the
// request is published: what came before is no reply to it.
func (q *inQueue) expect(reply chan<- Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reply = reply
}

// unexpect ends the wait for reply; owed says that it may still come. A reply
// that came in the meantime is returned.
func (q *inQueue) unexpect(reply <-chan Message, owed bool) (Message, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case m := <-reply:
		return m, true
	default:
	}
	q.reply = nil
	if owed {
		q.owed++
	}
	return Message{}, false
}
