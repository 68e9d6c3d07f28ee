package mls

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"
)

func TestOfficialSecretTree(t *testing.T) {
	type entry struct {
		Generation       uint32
		ApplicationKey   hexBytes `json:"application_key"`
		ApplicationNonce hexBytes `json:"application_nonce"`
		HandshakeKey     hexBytes `json:"handshake_key"`
		HandshakeNonce   hexBytes `json:"handshake_nonce"`
	}
	var vectors []struct {
		Encryption hexBytes `json:"encryption_secret"`
		SenderData struct {
			Secret     hexBytes `json:"sender_data_secret"`
			Ciphertext hexBytes
			Key, Nonce hexBytes
		} `json:"sender_data"`
		Leaves [][]entry
	}
	official(t, "secret-tree", &vectors)
	keys := 0
	for i, v := range vectors {
		s := secret(v.SenderData.Secret)
		key, nonce := senderDataKey(&s, v.SenderData.Ciphertext)
		if !bytes.Equal(key[:], v.SenderData.Key) || !bytes.Equal(nonce[:], v.SenderData.Nonce) {
			t.Errorf("vector %d: sender data key is %x, nonce %x", i, key, nonce)
		}
		encryption := secret(v.Encryption)
		tree := newSecretTree(&encryption, uint32(len(v.Leaves)))
		for leaf, entries := range v.Leaves {
			for _, e := range entries {
				for kind, want := range [ratchetKinds][2]hexBytes{
					handshakeRatchet:   {e.HandshakeKey, e.HandshakeNonce},
					applicationRatchet: {e.ApplicationKey, e.ApplicationNonce},
				} {
					k, step, err := tree.peekKind(ratchetKind(kind), uint32(leaf), e.Generation)
					if err != nil {
						t.Fatal(err)
					}
					if tree.commit(step); !bytes.Equal(k.key[:], want[0]) || !bytes.Equal(k.nonce[:], want[1]) ||
						k.generation != e.Generation {
						t.Errorf("vector %d, leaf %d, generation %d, kind %d: key %x, nonce %x",
							i, leaf, e.Generation, kind, k.key, k.nonce)
					}
					keys++
				}
			}
		}
		if len(tree.frontier) != 0 || len(tree.senders) != len(v.Leaves) {
			t.Errorf("vector %d: %d node secrets are left", i, len(tree.frontier))
		}
	}
	t.Logf("%d vectors, %d keys", len(vectors), keys)
}

func TestSenderDataShortSample(t *testing.T) {
	var s secret
	for _, n := range []int{0, 1, 31, 32} {
		key, _ := senderDataKey(&s, pattern(n))
		var want [16]byte
		if expandWithLabel(&s, "key", pattern(n), want[:]); key != want {
			t.Errorf("sample of %d bytes: %x, want %x", n, key, want)
		}
	}
}

func testTree(leaves uint32) *secretTree { return newSecretTree(&secret{9}, leaves) }

// receive peeks and commits, and checks that peek changes nothing.
func receive(t *testing.T, tree *secretTree, leaf, generation uint32) (messageKey, error) {
	t.Helper()
	before := tree.append(nil)
	k, step, err := tree.peek(leaf, generation)
	if !bytes.Equal(tree.append(nil), before) {
		t.Errorf("peek of leaf %d, generation %d changes the tree", leaf, generation)
	}
	if err == nil {
		if k.generation != generation {
			t.Errorf("key of generation %d, want %d", k.generation, generation)
		}
		tree.commit(step)
	}
	return k, err
}

func TestSecretTreeBothEnds(t *testing.T) {
	for _, leaves := range []uint32{1, 2, 8, 1024} {
		a, b := testTree(leaves), testTree(leaves)
		seen := map[[16]byte]bool{}
		for leaf := uint32(0); leaf < leaves; leaf += 1 + leaves/7 {
			for generation := range uint32(3) {
				sent, err := a.next(leaf)
				if err != nil {
					t.Fatal(err)
				}
				got, err := receive(t, b, leaf, generation)
				if err != nil || got != sent || seen[got.key] {
					t.Errorf("leaf %d, generation %d: %v, repeated %v", leaf, generation, err, seen[got.key])
				}
				seen[got.key] = true
			}
		}
	}
}

func TestSecretTreeOwnsItsSecret(t *testing.T) {
	encryption := secret{9}
	tree := newSecretTree(&encryption, 2)
	clear(encryption[:])
	got, _ := tree.next(1)
	if want, err := testTree(2).next(1); err != nil || got != want {
		t.Errorf("keys changed with the caller's secret: %v", err)
	}
}

func TestSecretTreeKinds(t *testing.T) {
	tree := testTree(2)
	app, _ := tree.next(0)
	hs, err := tree.nextKind(handshakeRatchet, 0)
	if err != nil || hs.key == app.key || hs.generation != 0 {
		t.Errorf("handshake key of generation %d: %v", hs.generation, err)
	}
}

func TestSecretTreeUnknownLeaf(t *testing.T) {
	tree := testTree(4)
	for _, leaf := range []uint32{4, 1 << 31, math.MaxUint32} {
		if _, err := receive(t, tree, leaf, 0); !errors.Is(err, ErrDecrypt) {
			t.Errorf("peek of leaf %d: %v", leaf, err)
		}
		if _, err := tree.next(leaf); !errors.Is(err, ErrDecrypt) {
			t.Errorf("next of leaf %d: %v", leaf, err)
		}
	}
}

// TestSecretTreeDeletes looks for every secret that must be gone in the saved
// form, and in the memory that held it.
func TestSecretTreeDeletes(t *testing.T) {
	tree := testTree(8)
	top := tree.frontier[root(8)]
	var gone [][]byte
	forget := func(b []byte) { gone = append(gone, bytes.Clone(b)) }

	// The way to leaf 5 goes right, left, right.
	forget(top[:])
	way := *top
	for _, isRight := range []bool{true, false, true} {
		way = childSecret(&way, isRight)
		forget(way[:])
	}
	used := newRatchet(&way, applicationRatchet)
	for range 3 {
		forget(used.secret[:])
		used.advance()
	}

	k, step, err := tree.peek(5, 2)
	if err != nil {
		t.Fatal(err)
	}
	fresh := step.head.skipped
	tree.commit(step)
	forget(k.key[:])
	late, step, err := tree.peek(5, 0)
	if err != nil {
		t.Fatal(err)
	}
	slot := &tree.senders[5][applicationRatchet].skipped[1]
	tree.commit(step)
	forget(late.key[:])
	if head := tree.senders[5][applicationRatchet].secret; head != used.secret {
		t.Fatal("looks for the wrong secrets")
	}
	forget(used.secret[:])
	sent, _ := tree.next(5)
	forget(sent.key[:])

	saved := tree.append(nil)
	for i, b := range gone {
		if bytes.Contains(saved, b) {
			t.Errorf("secret %d is still in the tree", i)
		}
	}
	if *top != (secret{}) || slices.ContainsFunc(fresh, func(k messageKey) bool { return k != messageKey{} }) ||
		*slot != (messageKey{}) {
		t.Error("memory of a used secret is not overwritten")
	}
	if n := len(tree.frontier); n != 3 {
		t.Errorf("%d nodes beside the path of leaf 5, want 3", n)
	}

	window := tree.senders[5][applicationRatchet].skipped
	receive(t, tree, 5, 9) // moves the window
	if window[0] != (messageKey{}) {
		t.Error("memory of the old window is not overwritten")
	}
	node, ratchets := tree.frontier[3], tree.senders[5]
	window = ratchets[applicationRatchet].skipped
	tree.wipe()
	if *node != (secret{}) || ratchets[0].secret != (secret{}) || ratchets[1].secret != (secret{}) || window[0] != (messageKey{}) {
		t.Error("wipe leaves secrets in memory")
	}
	for leaf := range uint32(8) {
		if _, err := tree.next(leaf); !errors.Is(err, ErrDecrypt) {
			t.Errorf("leaf %d has a key after wipe: %v", leaf, err)
		}
	}
}

func BenchmarkSecretTree(b *testing.B) {
	b.Run("first message of 256 senders", func(b *testing.B) {
		for b.Loop() {
			tree := testTree(256)
			for leaf := range uint32(256) {
				_, step, _ := tree.peek(leaf, 0)
				tree.commit(step)
			}
		}
	})
	b.Run("in order", func(b *testing.B) {
		tree := testTree(256)
		b.ReportAllocs()
		for g := uint32(0); b.Loop(); g++ {
			_, step, _ := tree.peek(7, g)
			tree.commit(step)
		}
	})
	b.Run("1024 ahead", func(b *testing.B) {
		tree := testTree(256)
		b.ReportAllocs()
		for b.Loop() {
			tree.peek(7, MaxAhead)
		}
	})
}
