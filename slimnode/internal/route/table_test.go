package route

import (
	"errors"
	"testing"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

func TestSubscribeLimits(t *testing.T) {
	tab := New(Limits{PerConn: 2, Total: 3})
	tab.AddConn(1, Edge)
	tab.AddConn(2, Edge)
	must := func(c ConnID, id SubscriptionID, k name.Key) {
		t.Helper()
		if err := tab.Subscribe(c, id, k); err != nil {
			t.Fatal(err)
		}
	}
	must(1, 1, bob1)
	must(1, 2, bob2)
	err := tab.Subscribe(1, 3, bob9)
	if !errors.Is(err, ErrLimit) || err.Error() != "too many subscriptions on this connection: at most 2" {
		t.Errorf("third of a connection: %v", err)
	}
	must(1, 2, bob2) // repeated: no new one
	must(2, 1, bob1)
	err = tab.Subscribe(2, 2, bob2)
	if !errors.Is(err, ErrLimit) || err.Error() != "too many subscriptions on this node: at most 3" {
		t.Errorf("fourth of the node: %v", err)
	}
	tab.DropConn(1)
	must(2, 2, bob2)
	if tab.Len() != 2 {
		t.Errorf("Len = %d, want 2", tab.Len())
	}
}

func TestUnknownConn(t *testing.T) {
	tab := New(Limits{})
	for what, err := range map[string]error{"subscribe": tab.Subscribe(4, 1, bob1), "unsubscribe": tab.Unsubscribe(4, 1, bob1)} {
		if !errors.Is(err, ErrNotFound) || err.Error() != "connection not found: 4" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := tab.DropConn(4); n != 0 {
		t.Errorf("DropConn = %d", n)
	}
}

func TestAddConnPanics(t *testing.T) {
	for what, f := range map[string]func(*Table){
		"number 0":     func(tab *Table) { tab.AddConn(0, Edge) },
		"twice":        func(tab *Table) { tab.AddConn(1, Edge); tab.AddConn(1, Edge) },
		"unknown type": func(tab *Table) { tab.AddConn(1, linkTypes) },
	} {
		t.Run(what, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f(New(Limits{}))
		})
	}
}
