package statefile

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

// TestSoundFilesPass is the other half of the damage tests: whatever bbolt
// leaves behind must be accepted, for who refuses a sound file loses it.
func TestSoundFilesPass(t *testing.T) {
	shapes := []struct {
		name              string
		names, value, ops int
	}{
		{"few records", 5, 100, 300},
		{"many small", 4000, 40, 300},
		{"some large", 60, 30_000, 150},
		{"mixed", 800, 3000, 300},
	}
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, uint64(shape.names)))
			path := filepath.Join(memoryDir(t), "state")
			f := mustOpen(t, path)
			f.db.NoSync, f.db.NoGrowSync = true, true
			want := contents{}
			for op := range shape.ops {
				changes := map[string][]byte{}
				deleting := op%100 > 60 // trees shrink, too, down to nothing
				for range 1 + random.IntN(1+shape.names/10) {
					name := fmt.Sprint("record ", random.IntN(shape.names))
					changes[name] = bytes.Repeat([]byte{byte(op)}, random.IntN(shape.value))
					if deleting || random.IntN(4) == 0 {
						changes[name] = nil
					}
				}
				if op%100 == 99 {
					for name := range want {
						changes[name] = nil
					}
				}
				mustWrite(t, f, changes)
				for name, value := range changes {
					want[name] = string(value)
					if value == nil {
						delete(want, name)
					}
				}
				file := mustRead(t, path)
				if err := checkLayout(bytes.NewReader(file), int64(len(file))); err != nil {
					t.Fatalf("after %d operations: %v", op, err)
				}
				if op%10 == 0 {
					f.Close()
					f = mustOpen(t, path)
					f.db.NoSync, f.db.NoGrowSync = true, true
					if got, err := read(f); err != nil || !maps.Equal(got, want) {
						t.Fatalf("after %d operations: %d records, want %d, %v", op, len(got), len(want), err)
					}
				}
			}
		})
	}
}

// parts of a sound file, as slices of it.
type parts struct {
	file         []byte
	newest, meta []byte // the meta in use, and the one before
	root         []byte // leaf with the buckets "file", inline, and "records"
	branch, leaf []byte // of the records, the leaf being the branch's first one
	free         []byte // list of free pages
}

func partsOf(t *testing.T, file []byte) parts {
	t.Helper()
	file = bytes.Clone(file)
	l := &layout{from: bytes.NewReader(file)}
	m, err := l.newest(uint64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	page := func(id uint64) []byte { return file[id*l.pageSize:] }
	p := parts{file: file, newest: page(m.transaction % 2)[pageHeader:], meta: page(1 - m.transaction%2)[pageHeader:], root: page(m.root), free: page(m.freelist)}
	p.branch = page(order.Uint64(p.bucket(1)))
	p.leaf = page(order.Uint64(element(p.branch, 0)[8:]))
	if order.Uint16(p.branch[8:]) != branchFlag || order.Uint16(p.leaf[8:]) != leafFlag || order.Uint16(p.leaf[10:]) < 2 || order.Uint16(p.free[10:]) == 0 {
		t.Fatal("sample is too small")
	}
	return p
}

// bucket is the value of the root's i-th element.
func (p parts) bucket(i int) []byte {
	pos, key, _ := leafSizes(element(p.root, i))
	return element(p.root, i)[pos+key:]
}

// key is that of the i-th element of a leaf.
func key(leaf []byte, i int) []byte {
	pos, size, _ := leafSizes(element(leaf, i))
	return element(leaf, i)[pos:][:size]
}

func TestLayoutRefuses(t *testing.T) {
	file, _ := sample(t, 12)
	u16, u32, u64 := order.PutUint16, order.PutUint32, order.PutUint64
	plus := func(b []byte, n uint64) { u64(b, order.Uint64(b)+n) }
	tests := []struct {
		name   string
		damage func(p parts)
		want   string
	}{
		{"version of bbolt", func(p parts) { u32(p.newest[4:], 3) }, "meta page"},
		{"page sizes differ", func(p parts) { u32(p.file[order.Uint32(p.meta[8:])+pageHeader+8:], 1<<15) }, "page size"},
		{"page size no power of two", func(p parts) { u32(p.newest[8:], 5000); u32(p.meta[8:], 5000) }, "page size"},
		{"meta pages too far apart", func(p parts) { plus(p.newest[48:], 2) }, "follow"},
		{"meta pages exchanged", func(p parts) { plus(p.newest[48:], 1); plus(p.meta[48:], 1) }, "another transaction"},
		{"more pages than file", func(p parts) { u64(p.newest[40:], 1<<40) }, "too short"},
		{"no pages", func(p parts) { u64(p.newest[40:], 0) }, "too short"},
		{"root outside", func(p parts) { u64(p.newest[16:], 1<<40) }, "page 1099511627776 of"},
		{"root is a meta page", func(p parts) { u64(p.newest[16:], 0) }, "used twice"},
		{"unused page", func(p parts) { u16(p.free[10:], order.Uint16(p.free[10:])-1) }, "neither used nor free"},
		{"kind of page", func(p parts) { u16(p.root[8:], 3) }, "kind of page"},
		{"page with id of another", func(p parts) { plus(p.root, 1) }, "header of page"},
		{"overflow outside", func(p parts) { u32(p.root[12:], 1<<20) }, "header of page"},
		{"too many elements", func(p parts) { u16(p.root[10:], 0xffff) }, "number of elements"},
		{"no elements in a leaf", func(p parts) { u16(p.leaf[10:], 0) }, "empty page"},
		{"no elements in a branch", func(p parts) { u16(p.branch[10:], 0) }, "without leaves"},
		{"flags of an element", func(p parts) { u32(element(p.root, 0), 2) }, "flags"},
		{"no key", func(p parts) { u32(element(p.root, 0)[8:], 0) }, "outside"},
		{"key in the elements", func(p parts) { u32(element(p.root, 0)[4:], 0) }, "outside"},
		{"key outside", func(p parts) { u32(element(p.root, 1)[4:], 1<<31) }, "outside"},
		{"long key", func(p parts) { u32(element(p.root, 1)[8:], 1<<32-1) }, "outside"},
		{"long value", func(p parts) { u32(element(p.root, 1)[12:], 1<<32-1) }, "outside"},
		{"key twice", func(p parts) { copy(key(p.leaf, 1), key(p.leaf, 0)) }, "order"},
		{"first key not that of the branch", func(p parts) { key(p.leaf, 0)[31]-- }, "order"},
		{"last key of the next leaf", func(p parts) {
			copy(key(p.leaf, int(order.Uint16(p.leaf[10:]))-1), bytes.Repeat([]byte{0xff}, 32))
		}, "order"},
		{"leaf twice", func(p parts) { copy(element(p.branch, 1)[8:16], element(p.branch, 0)[8:]) }, "used twice"},
		{"branch below itself", func(p parts) { copy(element(p.branch, 1)[8:16], p.branch) }, "used twice"},
		{"short bucket", func(p parts) { u32(element(p.root, 1)[12:], bucketHeader-1) }, "header of a bucket"},
		{"nothing inline", func(p parts) { u64(p.bucket(1), 0) }, "inside a page"},
		{"inline page with an id", func(p parts) { u64(p.bucket(0)[bucketHeader:], 5) }, "inside a page"},
		{"inline branch", func(p parts) { u16(p.bucket(0)[bucketHeader+8:], branchFlag) }, "inside a page"},
		{"inline page with overflow", func(p parts) { u32(p.bucket(0)[bucketHeader+12:], 1) }, "inside a page"},
		{"free pages of another kind", func(p parts) { u16(p.free[8:], leafFlag) }, "list of free"},
		{"too many free pages", func(p parts) { u16(p.free[10:], 0xfffe) }, "list of free"},
		{"far too many free pages", func(p parts) { u16(p.free[10:], 0xffff); u64(p.free[pageHeader:], 1<<60) }, "list of free"},
		{"free page in use", func(p parts) { copy(p.free[pageHeader:], p.root[:8]) }, "in use"},
		{"free page outside", func(p parts) { u64(p.free[pageHeader:], 1<<40) }, "in use"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := partsOf(t, file)
			tt.damage(p)
			resum(p.file)
			err := checkLayout(bytes.NewReader(p.file), int64(len(p.file)))
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if err := checkLayout(bytes.NewReader(file), int64(len(file))); err != nil {
		t.Errorf("control: %v", err)
	}
	checksum := partsOf(t, file)
	checksum.newest[metaSize-1] ^= 1
	if err := checkLayout(bytes.NewReader(checksum.file), int64(len(file))); !errors.Is(err, ErrDamaged) {
		t.Errorf("checksum: %v", err)
	}
}

// TestLayoutDepth hangs branches below each other.
func TestLayoutDepth(t *testing.T) {
	for depth, want := range map[int]error{maxDepth: nil, maxDepth + 1: ErrDamaged} {
		const size = minPage
		file := make([]byte, size*(4+depth))
		page := func(id int, flags uint16) []byte {
			p := file[id*size:]
			order.PutUint64(p, uint64(id))
			order.PutUint16(p[8:], flags)
			return p
		}
		for id := range 2 {
			m := page(id, metaFlag)[pageHeader:]
			order.PutUint32(m, metaMagic)
			order.PutUint32(m[4:], metaVersion)
			order.PutUint32(m[8:], size)
			order.PutUint64(m[16:], 3)
			order.PutUint64(m[32:], 2)
			order.PutUint64(m[40:], uint64(4+depth))
			order.PutUint64(m[48:], uint64(id))
			sum := fnv.New64a()
			sum.Write(m[:metaSize-8])
			order.PutUint64(m[metaSize-8:], sum.Sum64())
		}
		page(2, freelistFlag)
		for id := 3; id <= 3+depth; id++ {
			p := page(id, branchFlag)
			order.PutUint16(p[10:], 1)
			e := element(p, 0)
			copy(e[elementSize:], "k")
			if id < 3+depth {
				order.PutUint32(e, elementSize)
				order.PutUint32(e[4:], 1)
				order.PutUint64(e[8:], uint64(id+1))
				continue
			}
			order.PutUint16(p[8:], leafFlag)
			order.PutUint32(e[4:], elementSize)
			order.PutUint32(e[8:], 1)
		}
		if err := checkLayout(bytes.NewReader(file), int64(len(file))); !errors.Is(err, want) {
			t.Errorf("depth %d: %v", depth, err)
		}
	}
}
