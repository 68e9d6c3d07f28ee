package mls

import (
	"slices"
	"testing"
)

func TestOfficialTreeMath(t *testing.T) {
	var vectors []struct {
		Leaves  uint32    `json:"n_leaves"`
		Nodes   uint32    `json:"n_nodes"`
		Root    uint32    `json:"root"`
		Left    []*uint32 `json:"left"`
		Right   []*uint32 `json:"right"`
		Parent  []*uint32 `json:"parent"`
		Sibling []*uint32 `json:"sibling"`
	}
	official(t, "tree-math", &vectors)
	for _, v := range vectors {
		if nodeWidth(v.Leaves) != v.Nodes || root(v.Leaves) != v.Root {
			t.Errorf("%d leaves: %d nodes below %d", v.Leaves, nodeWidth(v.Leaves), root(v.Leaves))
		}
		for x := range v.Nodes {
			check := func(what string, want *uint32, got func() uint32) {
				if want != nil && got() != *want {
					t.Errorf("%d leaves: %s of %d is %d, want %d", v.Leaves, what, x, got(), *want)
				}
			}
			check("left", v.Left[x], func() uint32 { return left(x) })
			check("right", v.Right[x], func() uint32 { return right(x) })
			check("parent", v.Parent[x], func() uint32 { return parent(x, v.Leaves) })
			check("sibling", v.Sibling[x], func() uint32 { return sibling(x, v.Leaves) })
			if (v.Left[x] == nil) != (level(x) == 0) {
				t.Errorf("level of %d is %d", x, level(x))
			}
		}
	}
	t.Logf("%d vectors", len(vectors))
}

// TestTreePaths compares the functions that have no vectors with what follows
// from parent and sibling, which have.
func TestTreePaths(t *testing.T) {
	for leaves := uint32(1); leaves <= 64; leaves *= 2 {
		above := make([][]uint32, nodeWidth(leaves)) // each node and all above it
		for x := range nodeWidth(leaves) {
			above[x] = []uint32{x}
			var path []uint32
			for y := x; y != root(leaves); {
				y = parent(y, leaves)
				path = append(path, y)
			}
			above[x] = append(above[x], path...)
			if got := directPath(x, leaves); !slices.Equal(got, path) {
				t.Errorf("%d leaves: direct path of %d is %v, want %v", leaves, x, got, path)
			}
		}
		if top := root(leaves); parent(top, leaves) != top {
			t.Errorf("%d leaves: the root has parent %d", leaves, parent(top, leaves))
		}
		for x := range nodeWidth(leaves) {
			checkPairs(t, x, above)
		}
	}
}

func checkPairs(t *testing.T, x uint32, above [][]uint32) {
	first, last := subtreeRange(x)
	for y := range above {
		y := uint32(y)
		below := slices.Contains(above[y], x)
		if inSubtree(y, x) != below {
			t.Errorf("%d below %d: %v, want %v", y, x, !below, below)
		}
		if level(y) == 0 && (first <= y/2 && y/2 <= last) != below {
			t.Errorf("range of %d is %d..%d, leaf %d", x, first, last, y/2)
		}
	}
}
