package mls

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

func TestSecretTreeWindow(t *testing.T) {
	t.Run("replay", func(t *testing.T) {
		tree := testTree(4)
		for _, g := range []uint32{0, 3, 1} {
			if _, err := receive(t, tree, 2, g); err != nil {
				t.Fatal(err)
			}
		}
		for _, g := range []uint32{0, 3, 1} {
			if _, err := receive(t, tree, 2, g); !errors.Is(err, ErrReplay) {
				t.Errorf("generation %d again: %v", g, err)
			}
		}
		if _, err := receive(t, tree, 2, 2); err != nil {
			t.Errorf("the one not used yet: %v", err)
		}
	})
	t.Run("ahead", func(t *testing.T) {
		tree := testTree(4)
		receive(t, tree, 2, 0)
		if _, err := receive(t, tree, 2, 1+MaxAhead+1); !errors.Is(err, ErrTooFar) {
			t.Errorf("1025 ahead: %v", err)
		}
		if _, err := receive(t, tree, 3, MaxAhead+1); !errors.Is(err, ErrTooFar) || tree.senders[3] != nil {
			t.Errorf("1025 ahead of a new sender: %v", err)
		}
		if _, err := receive(t, tree, 2, 1+MaxAhead); err != nil {
			t.Errorf("1024 ahead: %v", err)
		}
	})
	t.Run("skipped and evicted", func(t *testing.T) {
		sender, tree := testTree(4), testTree(4)
		sent := make([]messageKey, 1029)
		for i := range sent {
			sent[i], _ = sender.next(2)
		}
		for _, g := range []uint32{1024, 1028} { // skips 0..1023, then 1025..1027
			if k, err := receive(t, tree, 2, g); err != nil || k != sent[g] {
				t.Fatalf("generation %d: %v", g, err)
			}
		}
		if n := len(tree.senders[2][applicationRatchet].skipped); n != MaxAhead {
			t.Errorf("%d keys are kept", n)
		}
		for g := range uint32(1029) {
			k, err := receive(t, tree, 2, g)
			switch evicted := g < 3; {
			case evicted || g == 1024 || g == 1028:
				if !errors.Is(err, ErrReplay) {
					t.Errorf("generation %d, evicted or used: %v", g, err)
				}
			case err != nil || k != sent[g]:
				t.Errorf("generation %d, skipped: %v", g, err)
			}
		}
		if n := len(tree.senders[2][applicationRatchet].skipped); n != 0 {
			t.Errorf("%d keys are left", n)
		}
	})
	t.Run("senders are independent", func(t *testing.T) {
		tree := testTree(4)
		receive(t, tree, 2, 1000)
		for _, leaf := range []uint32{0, 1, 3} {
			if _, err := receive(t, tree, leaf, 0); err != nil {
				t.Errorf("leaf %d: %v", leaf, err)
			}
			if _, err := receive(t, tree, leaf, 1026); !errors.Is(err, ErrTooFar) {
				t.Errorf("leaf %d: %v", leaf, err)
			}
		}
	})
}

func TestSecretTreeLastGeneration(t *testing.T) {
	tree := testTree(2)
	tree.claim(0)
	r := &tree.senders[0][applicationRatchet]
	r.next = math.MaxUint32 - 1
	if k, err := tree.next(0); err != nil || k.generation != math.MaxUint32-1 {
		t.Errorf("generation %d: %v", k.generation, err)
	}
	before := tree.append(nil)
	if _, err := tree.next(0); !errors.Is(err, ErrTooFar) || !bytes.Equal(tree.append(nil), before) {
		t.Errorf("sending the last generation: %v", err)
	}
	if _, err := receive(t, tree, 0, math.MaxUint32); err != nil {
		t.Errorf("receiving the last generation: %v", err)
	}
	if _, err := receive(t, tree, 0, math.MaxUint32); !errors.Is(err, ErrReplay) || r.next != 1<<32 {
		t.Errorf("again: %v", err)
	}
	if _, err := tree.next(0); !errors.Is(err, ErrTooFar) {
		t.Errorf("sending after the last generation: %v", err)
	}
}

func TestStaleStepPanics(t *testing.T) {
	for name, steps := range map[string]func(*secretTree) []ratchetStep{
		"step of an error": func(tree *secretTree) []ratchetStep {
			_, step, _ := tree.peek(0, 5000)
			return []ratchetStep{step}
		},
		"same step twice": func(tree *secretTree) []ratchetStep {
			_, step, _ := tree.peek(0, 5)
			return []ratchetStep{step, step}
		},
		"two steps from one state": func(tree *secretTree) []ratchetStep {
			_, one, _ := tree.peek(0, 5)
			_, two, _ := tree.peek(0, 7)
			return []ratchetStep{one, two}
		},
		"late step twice": func(tree *secretTree) []ratchetStep {
			_, step, _ := tree.peek(0, 5)
			tree.commit(step)
			_, step, _ = tree.peek(0, 3)
			return []ratchetStep{step, step}
		},
		"no leaf": func(*secretTree) []ratchetStep { return []ratchetStep{{leaf: 9}} },
	} {
		t.Run(name, func(t *testing.T) {
			tree := testTree(2)
			list := steps(tree)
			for _, s := range list[:len(list)-1] {
				tree.commit(s)
			}
			defer func() {
				if recover() == nil {
					t.Error("a key could be used twice")
				}
			}()
			tree.commit(list[len(list)-1])
		})
	}
}

func TestPeekAllocations(t *testing.T) {
	tree := testTree(4)
	tree.claim(1)
	n := testing.AllocsPerRun(100, func() {
		_, step, err := tree.peek(1, uint32(tree.senders[1][applicationRatchet].next))
		if err != nil {
			t.Fatal(err)
		}
		tree.commit(step)
	})
	if n != 0 {
		t.Errorf("a message in order allocates %v times", n)
	}
}
