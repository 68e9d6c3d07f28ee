package session

import "sync"

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
}

type inItem struct {
	msg Message
	err error
}

func (q *inQueue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) >= maxUnread || q.bytes >= maxUnreadBytes
}

// push adds a message, or hands it to the request that waits.
func (q *inQueue) push(it inItem) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it.err == nil {
		switch {
		case q.owed > 0:
			q.owed--
			return
		case q.reply != nil:
			q.reply <- it.msg // has room for one, and is used once
			q.reply = nil
			return
		}
	}
	q.items = append(q.items, it)
	q.bytes += it.size()
	q.wake()
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

func (q *inQueue) pop() (Message, bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return Message{}, false, nil
	}
	it := q.items[0]
	q.items[0] = inItem{}
	q.items = q.items[1:]
	q.bytes -= it.size()
	if len(q.items) > 0 {
		q.wake() // for another reader
	}
	return it.msg, true, it.err
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
