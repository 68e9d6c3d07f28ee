package mls

import "math/bits"

// Array-based trees (RFC 9420 appendix C). Leaf i is node 2i; parents are the
// odd indices. "leaves" is the full width of the tree, a power of two.

// level is the height of a node above the leaves.
func level(x uint32) int { return bits.TrailingZeros32(^x) }

// nodeWidth is the number of nodes of a tree.
func nodeWidth(leaves uint32) uint32 { return 2*leaves - 1 }

func root(leaves uint32) uint32 { return leaves - 1 }

// left returns the left child of a parent node.
func left(x uint32) uint32 { return x ^ 1<<(level(x)-1) }

// right returns the right child of a parent node.
func right(x uint32) uint32 { return x ^ 3<<(level(x)-1) }

// parent returns the node above x. The root is its own parent.
func parent(x, leaves uint32) uint32 {
	if x == root(leaves) {
		return x
	}
	k := level(x)
	return (x | 1<<k) &^ (2 << k)
}

// sibling returns the other child of x's parent. The root has none.
func sibling(x, leaves uint32) uint32 {
	p := parent(x, leaves)
	if x < p {
		return right(p)
	}
	return left(p)
}

// directPath returns the nodes above x, from its parent to the root.
func directPath(x, leaves uint32) []uint32 {
	top := root(leaves)
	path := make([]uint32, 0, level(top)-level(x))
	for x != top {
		x = parent(x, leaves)
		path = append(path, x)
	}
	return path
}

// inSubtree reports whether x is node or below it.
func inSubtree(x, node uint32) bool {
	k := level(node)
	return level(x) <= k && x>>(k+1) == node>>(k+1)
}

// subtreeRange returns the numbers of the first and last leaf below node.
func subtreeRange(node uint32) (first, last uint32) {
	half := uint32(1)<<level(node) - 1
	return (node - half) / 2, (node + half) / 2
}
