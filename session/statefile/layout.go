package statefile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
)

// The layout of a bbolt file, numbers in the byte order of the machine (source:
// go.etcd.io/bbolt internal/common):
//
//	page    id 8, flags 2, count 2, overflow 4 (further pages that belong to it),
//	        elements
//	meta    magic 4, version 4, page size 4, flags 4, root 8, sequence 8,
//	        freelist 8, pages 8, transaction 8, FNV-1a of all that 8
//	branch  position 4, key length 4, page 8
//	leaf    flags 4, position 4, key length 4, value length 4
//
// Positions count from the element. The value of a leaf element with flag 1 is a
// bucket: root 8, sequence 8, and if root is 0, a leaf page inline.
const (
	pageHeader   = 16
	elementSize  = 16
	bucketHeader = 16
	metaSize     = 64

	metaMagic   = 0xED0CDAED
	metaVersion = 2

	branchFlag   = 0x01
	leafFlag     = 0x02
	metaFlag     = 0x04
	freelistFlag = 0x10
	bucketFlag   = 0x01

	minPage, maxPage = 1 << 10, 1 << 16 // what operating systems have
	maxDepth         = 64               // of pages below each other
	noPage           = 0xFFFF           // count of a freelist whose count is an element
)

var order = binary.NativeEndian

type meta struct{ root, freelist, pages, transaction uint64 }

// layout is a walk over all pages that the newest transaction can reach.
type layout struct {
	from     io.ReaderAt
	pageSize uint64
	pages    uint64 // one more than the last page in use
	seen     []bool // by page
}

// checkLayout refuses every file that could make bbolt read outside of it, go
// round in circles, or allocate without limit. Unlike bbolt it does not fall back
// on the transaction before the last if one of the two meta pages is bad: they
// fit in one sector each, so that is no interrupted write, and a state that comes
// back by itself is worse than none. The error wraps [ErrDamaged], unless the file
// cannot be read.
func checkLayout(from io.ReaderAt, size int64) error {
	l := &layout{from: from}
	m, err := l.newest(uint64(size))
	if err != nil {
		return err
	}
	l.pages = m.pages
	l.seen = make([]bool, m.pages)
	l.seen[0], l.seen[1] = true, true
	if err := l.tree(m.root, nil, nil, 0); err != nil {
		return err
	}
	if err := l.freelist(m.freelist); err != nil {
		return err
	}
	if i := slices.Index(l.seen, false); i >= 0 {
		return damaged("page %d is neither used nor free", i)
	}
	return nil
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// newest checks both meta pages and sets the page size.
func (l *layout) newest(size uint64) (meta, error) {
	first, err := l.meta(0)
	if err != nil {
		return meta{}, err
	}
	second, err := l.meta(1)
	if err != nil {
		return meta{}, err
	}
	m, before := first, second
	if second.transaction > first.transaction {
		m, before = second, first
	}
	switch {
	case m.transaction != before.transaction+1:
		return meta{}, damaged("meta pages do not follow each other")
	case m.pages < 4 || m.pages > size/l.pageSize:
		return meta{}, damaged("file of %d bytes is too short for %d pages", size, m.pages)
	}
	return m, nil
}

func (l *layout) meta(id uint64) (meta, error) {
	var page [pageHeader + metaSize]byte
	if _, err := l.from.ReadAt(page[:], int64(id*l.pageSize)); err == io.EOF {
		return meta{}, damaged("file is too short")
	} else if err != nil {
		return meta{}, fmt.Errorf("statefile: %w", err)
	}
	m := page[pageHeader:]
	sum := fnv.New64a()
	sum.Write(m[:metaSize-8])
	pageSize := uint64(order.Uint32(m[8:]))
	parsed := meta{root: order.Uint64(m[16:]), freelist: order.Uint64(m[32:]), pages: order.Uint64(m[40:]), transaction: order.Uint64(m[48:])}
	switch {
	case order.Uint64(page[:]) != id || order.Uint16(page[8:]) != metaFlag:
		return meta{}, damaged("page %d is not a meta page", id)
	case order.Uint32(m) != metaMagic || order.Uint32(m[4:]) != metaVersion || order.Uint64(m[metaSize-8:]) != sum.Sum64():
		return meta{}, damaged("meta page %d", id)
	case pageSize < minPage || pageSize > maxPage || pageSize&(pageSize-1) != 0 || id == 1 && pageSize != l.pageSize:
		return meta{}, damaged("page size %d", pageSize)
	case parsed.transaction%2 != id:
		return meta{}, damaged("meta page %d of another transaction", id)
	}
	l.pageSize = pageSize
	return parsed, nil
}

// take reads a page with its overflow. Each may be taken once.
func (l *layout) take(id uint64) ([]byte, error) {
	if id >= l.pages {
		return nil, damaged("page %d of %d", id, l.pages)
	}
	var header [pageHeader]byte
	if _, err := l.from.ReadAt(header[:], int64(id*l.pageSize)); err != nil {
		return nil, fmt.Errorf("statefile: %w", err)
	}
	n := 1 + uint64(order.Uint32(header[12:]))
	if order.Uint64(header[:]) != id || n > l.pages-id {
		return nil, damaged("header of page %d", id)
	}
	for i := id; i < id+n; i++ {
		if l.seen[i] {
			return nil, damaged("page %d is used twice", i)
		}
		l.seen[i] = true
	}
	page := make([]byte, n*l.pageSize)
	if _, err := l.from.ReadAt(page, int64(id*l.pageSize)); err != nil {
		return nil, fmt.Errorf("statefile: %w", err)
	}
	return page, nil
}

// tree walks over a page and those below it. Its keys begin with first and are
// below high; nil is no bound. bbolt counts on a branch naming the very first key
// of each page below: it looks entries up by it when it writes.
func (l *layout) tree(id uint64, first, high []byte, depth int) error {
	if depth > maxDepth {
		return damaged("tree is too deep")
	}
	page, err := l.take(id)
	if err != nil {
		return err
	}
	switch order.Uint16(page[8:]) {
	case branchFlag:
		return l.branch(page, first, high, depth)
	case leafFlag:
		return l.leaf(page, first, high, depth)
	}
	return damaged("kind of page %d", id)
}

func (l *layout) branch(page, first, high []byte, depth int) error {
	keys, err := keysOf(page, first, high, func(e []byte) (pos, key, value uint32) { return order.Uint32(e), order.Uint32(e[4:]), 0 })
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return damaged("branch without leaves")
	}
	for i, key := range keys {
		end := high
		if i+1 < len(keys) {
			end = keys[i+1]
		}
		if err := l.tree(order.Uint64(element(page, i)[8:]), key, end, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (l *layout) leaf(page, first, high []byte, depth int) error {
	keys, err := keysOf(page, first, high, leafSizes)
	if err != nil {
		return err
	}
	for i, key := range keys {
		e := element(page, i)
		switch pos, _, size := leafSizes(e); order.Uint32(e) {
		case 0:
		case bucketFlag:
			if err := l.bucket(e[int(pos)+len(key):][:size], depth); err != nil {
				return err
			}
		default:
			return damaged("flags of an element")
		}
	}
	return nil
}

func leafSizes(e []byte) (pos, key, value uint32) {
	return order.Uint32(e[4:]), order.Uint32(e[8:]), order.Uint32(e[12:])
}

func (l *layout) bucket(value []byte, depth int) error {
	if len(value) < bucketHeader {
		return damaged("header of a bucket")
	}
	if root := order.Uint64(value); root != 0 {
		return l.tree(root, nil, nil, depth+1)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || order.Uint64(inline) != 0 || order.Uint16(inline[8:]) != leafFlag || order.Uint32(inline[12:]) != 0 || depth > maxDepth {
		return damaged("bucket inside a page")
	}
	return l.leaf(inline, nil, nil, depth+1)
}

// element is the page from its i-th element on.
func element(page []byte, i int) []byte { return page[pageHeader+i*elementSize:] }

// keysOf checks that all elements lie inside the page, and that their keys are
// in order, from first on and below high. They share the page's memory.
func keysOf(page, first, high []byte, sizes func(element []byte) (pos, key, value uint32)) ([][]byte, error) {
	count := int(order.Uint16(page[10:]))
	if pageHeader+count*elementSize > len(page) {
		return nil, damaged("number of elements")
	}
	if count == 0 && first != nil {
		return nil, damaged("empty page")
	}
	keys := make([][]byte, count)
	for i := range keys {
		e := element(page, i)
		pos, key, value := sizes(e)
		if key == 0 || uint64(pos) < uint64((count-i)*elementSize) || uint64(pos)+uint64(key)+uint64(value) > uint64(len(e)) {
			return nil, damaged("element outside of its page")
		}
		keys[i] = e[pos:][:key]
		if i > 0 && bytes.Compare(keys[i-1], keys[i]) >= 0 || i == 0 && first != nil && !bytes.Equal(keys[0], first) || high != nil && bytes.Compare(keys[i], high) >= 0 {
			return nil, damaged("order of elements")
		}
	}
	return keys, nil
}

func (l *layout) freelist(id uint64) error {
	page, err := l.take(id)
	if err != nil {
		return err
	}
	count, ids := uint64(order.Uint16(page[10:])), page[pageHeader:]
	if count == noPage {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if order.Uint16(page[8:]) != freelistFlag || count > uint64(len(ids)/8) {
		return damaged("list of free pages")
	}
	for ; count > 0; count, ids = count-1, ids[8:] {
		free := order.Uint64(ids)
		if free >= l.pages || l.seen[free] {
			return damaged("free page %d is in use", free)
		}
		l.seen[free] = true
	}
	return nil
}
