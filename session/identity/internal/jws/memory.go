package jws

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// Memory remembers verified tokens by their hash, the most recently used ones.
// It is safe for concurrent use.
type Memory[T any] struct {
	mu    sync.Mutex
	room  int
	order *list.List // of *remembered[T], the last used first
	byKey map[[sha256.Size]byte]*list.Element
}

type remembered[T any] struct {
	key   [sha256.Size]byte
	value T
}

// NewMemory makes room for n tokens.
func NewMemory[T any](n int) *Memory[T] {
	return &Memory[T]{room: n, order: list.New(), byKey: map[[sha256.Size]byte]*list.Element{}}
}

// Get returns what is remembered of a token.
func (m *Memory[T]) Get(token string) (value T, ok bool) {
	key := sha256.Sum256([]byte(token))
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byKey[key]
	if !ok {
		return value, false
	}
	m.order.MoveToFront(e)
	return e.Value.(*remembered[T]).value, true
}

// Put remembers, and forgets the token that was not used for longest.
func (m *Memory[T]) Put(token string, value T) {
	key := sha256.Sum256([]byte(token))
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.byKey[key]; ok {
		e.Value.(*remembered[T]).value = value
		m.order.MoveToFront(e)
		return
	}
	m.byKey[key] = m.order.PushFront(&remembered[T]{key, value})
	if len(m.byKey) > m.room {
		last := m.order.Back()
		m.order.Remove(last)
		delete(m.byKey, last.Value.(*remembered[T]).key)
	}
}
