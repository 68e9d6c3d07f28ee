package route

import (
	"errors"
	"fmt"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// ConnID is the number of a connection. The owner of the table counts upward
// from 1 and never uses a number twice: a recycled number would inherit
// messages meant for its predecessor. 0 is no connection.
type ConnID uint64

// SubscriptionID is chosen by the subscriber. 0 means "none": a subscription
// that a client restored after a reconnect, known by its name alone.
type SubscriptionID uint64

// LinkType is the kind of a connection, in the order in which anycast prefers
// them: an app attached to this node (Edge) is the last choice.
type LinkType uint8

// Link types, best first (source: agntcy/slim crates/datapath/src/tables).
const (
	Local LinkType = iota
	Remote
	Peer
	Edge
	linkTypes
)

// Defaults of [Limits]. An app needs a handful of subscriptions and one or two
// for each of its sessions.
const (
	DefaultPerConn = 4096
	DefaultTotal   = 1 << 18
)

// Limits bound the memory a table can take.
type Limits struct {
	PerConn int // subscriptions of one connection; 0 = DefaultPerConn
	Total   int // subscriptions of all connections; 0 = DefaultTotal
}

// Classes of errors; the text of the error itself is made for the error field
// of a SubscriptionAck.
var (
	ErrLimit    = errors.New("too many subscriptions")
	ErrNotFound = errors.New("not found")
)

// Table maps names to connections. See the package comment.
type Table struct {
	limits  Limits
	total   int // subscriptions
	names   int // sets in all entries
	conns   map[ConnID]*conn
	entries map[name.Prefix]*entry
}

// conn is what one connection subscribed. Invariant: ids and prefixes hold
// the number of its subscriptions for each name+id and for each prefix, and it
// is a member of exactly the sets of these names.
type conn struct {
	typ      LinkType
	subs     map[subscription]struct{}
	ids      map[name.Key]int
	prefixes map[name.Prefix]int
}

// subscription identifies one among those of a connection. The name is part
// of it: that makes id 0 a key by name, and an id used for two names two
// subscriptions, as in SLIM 3.4.
type subscription struct {
	id  SubscriptionID
	key name.Key
}

// entry holds the connections of one prefix: by id, and the union of all ids.
type entry struct {
	ids map[name.ID]*targets
	all targets
}

// New returns an empty table.
func New(l Limits) *Table {
	if l.PerConn <= 0 {
		l.PerConn = DefaultPerConn
	}
	if l.Total <= 0 {
		l.Total = DefaultTotal
	}
	return &Table{limits: l, conns: map[ConnID]*conn{}, entries: map[name.Prefix]*entry{}}
}

// AddConn makes a connection known. It panics if the number is 0, or in use, or
// the type unknown: these are bugs of the caller.
func (t *Table) AddConn(c ConnID, typ LinkType) {
	if _, dup := t.conns[c]; dup || c == 0 || typ >= linkTypes {
		panic(fmt.Sprintf("route: AddConn(%d, %d)", c, typ))
	}
	t.conns[c] = &conn{
		typ:      typ,
		subs:     map[subscription]struct{}{},
		ids:      map[name.Key]int{},
		prefixes: map[name.Prefix]int{},
	}
}

// Subscribe adds a subscription. One that exists already is a success: clients
// repeat a Subscribe whose ack they missed. The error is an [ErrLimit], or an
// [ErrNotFound] for an unknown connection.
func (t *Table) Subscribe(c ConnID, id SubscriptionID, k name.Key) error {
	cn, ok := t.conns[c]
	if !ok {
		return &tableError{ErrNotFound, fmt.Sprintf("connection not found: %d", c)}
	}
	s := subscription{id, k}
	if _, known := cn.subs[s]; known {
		return nil
	}
	if len(cn.subs) >= t.limits.PerConn {
		return &tableError{ErrLimit, fmt.Sprintf("too many subscriptions on this connection: at most %d", t.limits.PerConn)}
	}
	if t.total >= t.limits.Total {
		return &tableError{ErrLimit, fmt.Sprintf("too many subscriptions on this node: at most %d", t.limits.Total)}
	}
	cn.subs[s] = struct{}{}
	t.total++
	t.attach(c, cn, k)
	return nil
}

// Unsubscribe removes the subscription of that id and name. If there is none,
// it removes the one of that name with id 0: a client that restored its
// subscriptions after a reconnect (without ids) still names the old id. The
// error is an [ErrNotFound].
func (t *Table) Unsubscribe(c ConnID, id SubscriptionID, k name.Key) error {
	cn, ok := t.conns[c]
	if !ok {
		return &tableError{ErrNotFound, fmt.Sprintf("connection not found: %d", c)}
	}
	s := subscription{id, k}
	if _, known := cn.subs[s]; !known {
		s.id = 0
	}
	if _, known := cn.subs[s]; !known {
		return t.notFound(id, k)
	}
	delete(cn.subs, s)
	t.total--
	t.detach(c, cn, k)
	return nil
}

// DropConn forgets a connection and everything it subscribed, and returns how
// many subscriptions that were. An unknown connection is no error.
func (t *Table) DropConn(c ConnID) int {
	cn, ok := t.conns[c]
	if !ok {
		return 0
	}
	for s := range cn.subs {
		t.detach(c, cn, s.key)
	}
	delete(t.conns, c)
	t.total -= len(cn.subs)
	return len(cn.subs)
}

// Len is the number of subscriptions.
func (t *Table) Len() int { return t.total }

// Names is the number of different name+id pairs that have a subscriber.
func (t *Table) Names() int { return t.names }

func (t *Table) attach(c ConnID, cn *conn, k name.Key) {
	e := t.entries[k.Prefix]
	if e == nil {
		e = &entry{ids: map[name.ID]*targets{}}
		t.entries[k.Prefix] = e
	}
	if cn.ids[k]++; cn.ids[k] == 1 {
		set := e.ids[k.ID]
		if set == nil {
			set = &targets{}
			e.ids[k.ID] = set
			t.names++
		}
		set.add(cn.typ, c)
	}
	if cn.prefixes[k.Prefix]++; cn.prefixes[k.Prefix] == 1 {
		e.all.add(cn.typ, c)
	}
}

func (t *Table) detach(c ConnID, cn *conn, k name.Key) {
	e := t.entries[k.Prefix]
	if cn.ids[k]--; cn.ids[k] == 0 {
		delete(cn.ids, k)
		set := e.ids[k.ID]
		if set.remove(cn.typ, c); set.empty() {
			delete(e.ids, k.ID)
			t.names--
		}
	}
	if cn.prefixes[k.Prefix]--; cn.prefixes[k.Prefix] == 0 {
		delete(cn.prefixes, k.Prefix)
		if e.all.remove(cn.typ, c); e.all.empty() {
			delete(t.entries, k.Prefix)
		}
	}
}

// notFound words the failure as SLIM 3.4 does.
func (t *Table) notFound(id SubscriptionID, k name.Key) error {
	e, ok := t.entries[k.Prefix]
	if !ok {
		return &tableError{ErrNotFound, "subscription not found"}
	}
	if _, ok := e.ids[k.ID]; !ok {
		return &tableError{ErrNotFound, "id not found: " + k.ID.String()}
	}
	return &tableError{ErrNotFound, fmt.Sprintf("subscription id not found: %d", id)}
}

// tableError has a text for the peer and a class for the caller.
type tableError struct {
	class error
	text  string
}

func (e *tableError) Error() string { return e.text }
func (e *tableError) Unwrap() error { return e.class }
