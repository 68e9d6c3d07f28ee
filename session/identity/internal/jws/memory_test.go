package jws

import "testing"

func TestMemoryForgetsTheLeastUsed(t *testing.T) {
	m := NewMemory[int](2)
	m.Put("a", 1)
	m.Put("b", 2)
	m.Get("a")
	m.Put("c", 3)
	if _, ok := m.Get("b"); ok {
		t.Error("b was used least and is remembered")
	}
	for token, want := range map[string]int{"a": 1, "c": 3} {
		if got, ok := m.Get(token); !ok || got != want {
			t.Errorf("%s = %d, %v", token, got, ok)
		}
	}
	m.Put("a", 4)
	if got, _ := m.Get("a"); got != 4 || len(m.byKey) != 2 || m.order.Len() != 2 {
		t.Errorf("a = %d, %d remembered", got, len(m.byKey))
	}
}
