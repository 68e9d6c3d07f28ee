package mls

import (
	"encoding/binary"
	"slices"
)

// parentNode is a ParentNode (RFC 9420 section 7.1). Like a leaf it is never
// changed once it is in a tree.
type parentNode struct {
	encryptionKey, parentHash []byte
	unmerged                  []uint32 // leaves, ascending
}

func (p *parentNode) append(dst []byte) []byte {
	dst = appendVec(dst, p.encryptionKey)
	dst = appendVec(dst, p.parentHash)
	dst = appendLength(dst, 4*len(p.unmerged))
	for _, leaf := range p.unmerged {
		dst = binary.BigEndian.AppendUint32(dst, leaf)
	}
	return dst
}

// withUnmerged is a copy with one more unmerged leaf.
func (p *parentNode) withUnmerged(leaf uint32) *parentNode {
	c := *p
	at, _ := slices.BinarySearch(p.unmerged, leaf)
	c.unmerged = slices.Insert(slices.Clone(p.unmerged), at, leaf)
	return &c
}

// without is the copy that is hashed as if the leaves were not there.
func (p *parentNode) without(leaves []uint32) *parentNode {
	c := *p
	c.unmerged = slices.DeleteFunc(slices.Clone(p.unmerged), func(leaf uint32) bool {
		return slices.Contains(leaves, leaf)
	})
	return &c
}

// node is one place of a tree: a leaf at even indices, a parent at odd ones, or
// blank.
type node struct {
	leaf   *leafNode
	parent *parentNode
}

func (n node) blank() bool { return n.leaf == nil && n.parent == nil }

func (n node) encryptionKey() []byte {
	if n.leaf != nil {
		return n.leaf.encryptionKey
	}
	return n.parent.encryptionKey
}

// tree is a ratchet tree (RFC 9420 section 7) with room for a power of two of
// leaves. Copies share nodes and hashes, neither of which ever changes.
type tree struct {
	suite  *suite
	nodes  []node
	hashes []*[hashSize]byte // of subtrees; nil: not computed
}

func newTree(s *suite, first *leafNode) *tree {
	t := &tree{suite: s, nodes: make([]node, 1), hashes: make([]*[hashSize]byte, 1)}
	t.setLeaf(0, first)
	return t
}

func (t *tree) clone() *tree {
	return &tree{suite: t.suite, nodes: slices.Clone(t.nodes), hashes: slices.Clone(t.hashes)}
}

// width is the number of leaves there is room for.
func (t *tree) width() uint32 { return uint32(len(t.nodes)/2 + 1) }

// leaf returns the leaf with the given number, nil if blank or out of range.
func (t *tree) leaf(i uint32) *leafNode {
	if i >= t.width() {
		return nil
	}
	return t.nodes[2*i].leaf
}

// set replaces a node and forgets the hashes above it.
func (t *tree) set(x uint32, n node) {
	t.nodes[x], t.hashes[x] = n, nil
	for _, p := range directPath(x, t.width()) {
		t.hashes[p] = nil
	}
}

func (t *tree) setLeaf(i uint32, l *leafNode) { t.set(2*i, node{leaf: l}) }

// resize makes room for the given power of two of leaves.
func (t *tree) resize(width uint32) {
	n := int(2*width - 1)
	if n <= len(t.nodes) {
		t.nodes, t.hashes = slices.Clone(t.nodes[:n]), slices.Clone(t.hashes[:n])
		return
	}
	t.nodes = append(t.nodes, make([]node, n-len(t.nodes))...)
	t.hashes = append(t.hashes, make([]*[hashSize]byte, n-len(t.hashes))...)
}

// add puts a leaf at the leftmost blank place (RFC 9420 section 7.7) and
// returns its number.
func (t *tree) add(l *leafNode) (uint32, error) {
	i := uint32(0)
	for i < t.width() && t.nodes[2*i].leaf != nil {
		i++
	}
	if i == maxLeaves {
		return 0, fail(ErrInvalidCommit, "group is full")
	}
	if i == t.width() {
		t.resize(2 * t.width())
	}
	t.setLeaf(i, l)
	for _, x := range directPath(2*i, t.width()) {
		if p := t.nodes[x].parent; p != nil {
			t.nodes[x].parent = p.withUnmerged(i)
		}
	}
	return i, nil
}

// remove blanks a leaf and all above it (RFC 9420 section 12.1.3). shrink must
// follow.
func (t *tree) remove(i uint32) {
	t.set(2*i, node{})
	t.blankPath(i)
}

// replace puts a new leaf where one was and blanks all above it (RFC 9420
// section 12.1.2).
func (t *tree) replace(i uint32, l *leafNode) {
	t.setLeaf(i, l)
	t.blankPath(i)
}

// shrink gives up the right half of the tree while that is empty (RFC 9420
// section 7.7).
func (t *tree) shrink() {
	for t.width() > 1 && t.emptyFrom(t.width()/2) {
		t.resize(t.width() / 2)
	}
}

func (t *tree) emptyFrom(leaf uint32) bool {
	for ; leaf < t.width(); leaf++ {
		if t.nodes[2*leaf].leaf != nil {
			return false
		}
	}
	return true
}

// blankPath blanks everything above a leaf.
func (t *tree) blankPath(i uint32) {
	for _, x := range directPath(2*i, t.width()) {
		t.nodes[x], t.hashes[x] = node{}, nil
	}
}

// resolution appends the nodes that stand for the subtree at x (RFC 9420
// section 4.1.1). Its depth is that of the tree, ten at most.
func (t *tree) resolution(dst []uint32, x uint32) []uint32 {
	n := t.nodes[x]
	switch {
	case n.leaf != nil:
		return append(dst, x)
	case n.parent != nil:
		dst = append(dst, x)
		for _, leaf := range n.parent.unmerged {
			dst = append(dst, 2*leaf)
		}
		return dst
	case level(x) == 0:
		return dst
	}
	return t.resolution(t.resolution(dst, left(x)), right(x))
}

// empty reports whether no leaf is below x.
func (t *tree) empty(x uint32) bool {
	first, last := subtreeRange(x)
	for leaf := first; leaf <= last; leaf++ {
		if t.nodes[2*leaf].leaf != nil {
			return false
		}
	}
	return true
}

// pathStep is a node of a filtered direct path and its child off the path.
type pathStep struct{ node, copath uint32 }

// filteredPath is the path from a leaf to the root without the nodes whose
// other child is empty (RFC 9420 section 4.1.2).
func (t *tree) filteredPath(i uint32) []pathStep {
	var path []pathStep
	child := 2 * i
	for _, x := range directPath(child, t.width()) {
		if copath := sibling(child, t.width()); !t.empty(copath) {
			path = append(path, pathStep{node: x, copath: copath})
		}
		child = x
	}
	return path
}

// members calls f for each leaf that is not blank, ascending.
func (t *tree) members(f func(i uint32, l *leafNode)) {
	for x := 0; x < len(t.nodes); x += 2 {
		if l := t.nodes[x].leaf; l != nil {
			f(uint32(x/2), l)
		}
	}
}

// size is the number of members.
func (t *tree) size() int {
	n := 0
	t.members(func(uint32, *leafNode) { n++ })
	return n
}

// append writes the ratchet_tree extension (RFC 9420 section 12.4.3.3).
func (t *tree) append(dst []byte) []byte {
	end := len(t.nodes)
	for end > 0 && t.nodes[end-1].blank() {
		end--
	}
	size := 0
	for _, n := range t.nodes[:end] {
		size += n.size()
	}
	dst = appendLength(slices.Grow(dst, vecSize(size)), size)
	for _, n := range t.nodes[:end] {
		switch {
		case n.leaf != nil:
			dst = append(append(dst, 1, nodeLeaf), n.leaf.raw...)
		case n.parent != nil:
			dst = n.parent.append(append(dst, 1, nodeParent))
		default:
			dst = append(dst, 0)
		}
	}
	return dst
}

// size is how long the node is in a ratchet_tree, where a blank one is a byte.
func (n node) size() int {
	switch p := n.parent; {
	case n.leaf != nil:
		return 2 + len(n.leaf.raw)
	case p != nil:
		return 2 + vecSize(len(p.encryptionKey)) + vecSize(len(p.parentHash)) + vecSize(4*len(p.unmerged))
	default:
		return 1
	}
}

// Values of NodeType in a ratchet_tree.
const (
	nodeLeaf   = 1
	nodeParent = 2
)

// tree reads a ratchet_tree extension. Nothing of it is validated but its form:
// leaves at even places, parents at odd ones, no blank at the end.
func (r *reader) tree(s *suite) (*tree, error) {
	var nodes []node
	parity := true
	r.each(2*maxLeaves-1, func(r *reader) {
		var n node
		if r.optional() {
			switch kind := r.u8(); kind {
			case nodeLeaf:
				n.leaf = r.leaf()
			case nodeParent:
				n.parent = r.parent()
			default:
				r.fail()
			}
			parity = parity && (n.leaf != nil) == (len(nodes)%2 == 0)
		}
		nodes = append(nodes, n)
	})
	switch {
	case r.bad:
		return nil, fail(ErrMalformed, "ratchet tree")
	case !parity:
		return nil, fail(ErrInvalidTree, "leaf at the place of a parent, or the reverse")
	case len(nodes) == 0 || nodes[len(nodes)-1].blank():
		return nil, fail(ErrInvalidTree, "ends with a blank node")
	case len(nodes)%2 == 0:
		return nil, fail(ErrInvalidTree, "ends with a parent")
	}
	width := uint32(1)
	for int(2*width-1) < len(nodes) {
		width *= 2
	}
	t := &tree{suite: s, nodes: nodes, hashes: make([]*[hashSize]byte, len(nodes))}
	t.resize(width)
	return t, nil
}

func (r *reader) parent() *parentNode {
	p := &parentNode{encryptionKey: r.vec(maxMessage), parentHash: r.vec(maxMessage)}
	list := r.sub(4 * maxLeaves)
	for len(list.b) > 0 {
		p.unmerged = append(p.unmerged, list.u32())
	}
	if list.bad {
		r.fail()
	}
	if r.bad {
		return nil
	}
	return p
}
