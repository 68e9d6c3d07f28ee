package session

import (
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// tombstones remember ended sessions for a while, so that a farewell whose
// answer got lost is answered again. The oldest go first.
type tombstones struct {
	byKey map[sessionKey]tombstone
	order []sessionKey
}

type tombstone struct {
	local   name.Name
	subject string
	until   time.Time
}

const (
	maxTombstones = 256
	tombstoneLife = 30 * time.Second
)

func (t *tombstones) put(id ID, peer name.Key, stone tombstone, now time.Time) {
	k := sessionKey{id, peer}
	if t.byKey == nil {
		t.byKey = make(map[sessionKey]tombstone)
	}
	if _, ok := t.byKey[k]; !ok {
		if len(t.order) == maxTombstones {
			delete(t.byKey, t.order[0])
			t.order = t.order[1:]
		}
		t.order = append(t.order, k)
	}
	stone.until = now.Add(tombstoneLife)
	t.byKey[k] = stone
}

func (t *tombstones) has(id ID, peer name.Key) bool {
	_, ok := t.get(id, peer)
	return ok
}

func (t *tombstones) get(id ID, peer name.Key) (tombstone, bool) {
	s, ok := t.byKey[sessionKey{id, peer}]
	return s, ok && time.Now().Before(s.until)
}
