package mls

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
)

// secretTree gives every leaf of one epoch its message keys (RFC 9420 section
// 9) and deletes each secret once it is used or its children are derived
// (section 9.2). Every leaf either has its ratchets or is below exactly one
// node of the frontier.
type secretTree struct {
	leaves   uint32
	frontier map[uint32]*secret // by node: secrets that are not used yet
	senders  map[uint32]*sender // by leaf
}

// sender holds the ratchets of a leaf, by kind.
type sender [ratchetKinds]ratchet

// newSecretTree starts a tree from the encryption secret of its epoch.
func newSecretTree(encryption *secret, leaves uint32) *secretTree {
	top := *encryption
	return &secretTree{
		leaves:   leaves,
		frontier: map[uint32]*secret{root(leaves): &top},
		senders:  map[uint32]*sender{},
	}
}

// next uses up the next key of our own leaf for application messages.
func (t *secretTree) next(leaf uint32) (messageKey, error) {
	return t.nextKind(applicationRatchet, leaf)
}

func (t *secretTree) nextKind(kind ratchetKind, leaf uint32) (messageKey, error) {
	s, err := t.claim(leaf)
	if err != nil {
		return messageKey{}, err
	}
	if s[kind].next >= math.MaxUint32 {
		return messageKey{}, fail(ErrTooFar, "all generations are used")
	}
	return s[kind].advance(), nil
}

// peek finds the key of a received application message without changing t.
// The step is for commit, once the message has proven good and before anything
// else has changed t. A key that was used or evicted is ErrReplay, one more
// than MaxAhead generations ahead is ErrTooFar.
func (t *secretTree) peek(leaf, generation uint32) (found messageKey, step ratchetStep, err error) {
	return t.peekKind(applicationRatchet, leaf, generation)
}

func (t *secretTree) peekKind(kind ratchetKind, leaf, generation uint32) (found messageKey, step ratchetStep, err error) {
	if s := t.senders[leaf]; s != nil {
		found, step, err = s[kind].peek(generation)
	} else {
		var node uint32
		if node, err = t.above(leaf); err != nil {
			return messageKey{}, ratchetStep{}, err
		}
		leafSecret := t.descend(node, leaf, nil)
		scratch := newRatchet(&leafSecret, kind)
		found, step, err = scratch.peek(generation)
	}
	step.leaf, step.kind = leaf, kind
	return found, step, err
}

// commit uses up the key of a step of peek. It panics if t has changed since,
// because a key could become usable twice.
func (t *secretTree) commit(step ratchetStep) {
	s, err := t.claim(step.leaf)
	if err != nil {
		panic("mls: stale ratchet step")
	}
	s[step.kind].commit(&step)
}

// claim returns the ratchets of a leaf. The first time, it makes them and
// replaces the node above the leaf by the nodes beside its path.
func (t *secretTree) claim(leaf uint32) (*sender, error) {
	if s := t.senders[leaf]; s != nil {
		return s, nil
	}
	node, err := t.above(leaf)
	if err != nil {
		return nil, err
	}
	leafSecret := t.descend(node, leaf, t.frontier)
	clear(t.frontier[node][:])
	delete(t.frontier, node)
	s := new(sender)
	for kind := range ratchetKinds {
		s[kind] = newRatchet(&leafSecret, kind)
	}
	t.senders[leaf] = s
	return s, nil
}

// above finds the frontier node whose subtree has the leaf.
func (t *secretTree) above(leaf uint32) (uint32, error) {
	if leaf < t.leaves {
		for x := 2 * leaf; ; x = parent(x, t.leaves) {
			if t.frontier[x] != nil {
				return x, nil
			}
			if x == root(t.leaves) {
				break
			}
		}
	}
	return 0, fail(ErrDecrypt, "no secrets for this leaf")
}

// descend derives the secret of a leaf from that of a frontier node above it.
// The secrets of the nodes beside the way go to beside, unless that is nil.
func (t *secretTree) descend(node, leaf uint32, beside map[uint32]*secret) secret {
	s := *t.frontier[node]
	for node != 2*leaf {
		on, off := left(node), right(node)
		if 2*leaf > node {
			on, off = off, on
		}
		if beside != nil {
			other := childSecret(&s, off > node)
			beside[off] = &other
		}
		s = childSecret(&s, on > node)
		node = on
	}
	return s
}

func childSecret(parent *secret, isRight bool) (child secret) {
	side := "left"
	if isRight {
		side = "right"
	}
	expandWithLabel(parent, "tree", []byte(side), child[:])
	return child
}

// wipe deletes all secrets. The tree has no keys from then on.
func (t *secretTree) wipe() {
	for _, s := range t.frontier {
		clear(s[:])
	}
	for _, s := range t.senders {
		for kind := range s {
			s[kind].wipe()
		}
	}
	clear(t.frontier)
	clear(t.senders)
}

// append saves the tree, with secrets in clear: frontier and senders, each
// with its number and in ascending order. Equal trees give equal bytes.
func (t *secretTree) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(t.frontier)))
	for _, node := range slices.Sorted(maps.Keys(t.frontier)) {
		dst = binary.BigEndian.AppendUint32(dst, node)
		dst = append(dst, t.frontier[node][:]...)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(t.senders)))
	for _, leaf := range slices.Sorted(maps.Keys(t.senders)) {
		dst = binary.BigEndian.AppendUint32(dst, leaf)
		for kind := range ratchetKinds {
			dst = t.senders[leaf][kind].append(dst)
		}
	}
	return dst
}

// readSecretTree reads what append wrote for a tree of so many leaves. It
// returns nil and fails r if the bytes do not give every leaf exactly one
// source of keys.
func readSecretTree(r *reader, leaves uint32) *secretTree {
	if leaves == 0 || leaves > maxLeaves || leaves&(leaves-1) != 0 {
		r.fail()
		return nil
	}
	t := &secretTree{leaves: leaves, frontier: map[uint32]*secret{}, senders: map[uint32]*sender{}}
	covered := make([]bool, leaves)
	cover := func(node uint32) {
		for leaf, last := subtreeRange(node); leaf <= last; leaf++ {
			if covered[leaf] {
				r.fail()
			}
			covered[leaf] = true
		}
	}
	ascending(r, nodeWidth(leaves), func(node uint32) {
		cover(node)
		s := new(secret)
		copy(s[:], r.take(hashSize))
		t.frontier[node] = s
	})
	ascending(r, leaves, func(leaf uint32) {
		cover(2 * leaf)
		s := new(sender)
		for kind := range s {
			s[kind] = readRatchet(r)
		}
		t.senders[leaf] = s
	})
	if r.bad || slices.Contains(covered, false) {
		r.fail()
		return nil
	}
	return t
}

// ascending reads a counted list of entries that begin with ascending indices
// below bound.
func ascending(r *reader, bound uint32, entry func(index uint32)) {
	n := r.u32()
	for i, least := uint32(0), uint32(0); i < n && !r.bad; i++ {
		index := r.u32()
		if index < least || index >= bound {
			r.fail()
			return
		}
		least = index + 1
		entry(index)
	}
}

// senderDataKey protects the sender data of a private message (RFC 9420
// section 6.3.2).
func senderDataKey(senderData *secret, ciphertext []byte) (key [aeadKeySize]byte, nonce [aeadNonceSize]byte) {
	sample := ciphertext[:min(len(ciphertext), hashSize)]
	expandWithLabel(senderData, "key", sample, key[:])
	expandWithLabel(senderData, "nonce", sample, nonce[:])
	return key, nonce
}
