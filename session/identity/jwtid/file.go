package jwtid

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// settled is how long after its last change a file's stamp is trusted: a change
// within the resolution of the file system's clock leaves the stamp as it is.
const settled = 2 * time.Second

// watched is what was parsed of a source. It is safe for concurrent use.
type watched[T any] struct {
	from  Source
	limit int64
	parse func([]byte) (T, error)

	mu     sync.Mutex
	value  T
	gen    uint64 // counts changes of value; 0: there is none yet
	fault  error  // of the last look
	stamp  os.FileInfo
	stable bool // stamp is old enough to be trusted
	sum    [sha256.Size]byte
}

// load returns the last good value, the number of that value, and what was
// wrong with a later content of the file, if anything.
func (w *watched[T]) load() (value T, gen uint64, fault error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.from.isZero():
		w.fault = errors.New("no file and no data given")
	case w.from.data == nil:
		w.look()
	case w.gen == 0:
		w.take(w.from.data())
	}
	return w.value, w.gen, w.fault
}

// look reads the file if it is another one, or changed.
func (w *watched[T]) look() {
	info, err := os.Stat(w.from.path)
	switch {
	case err != nil:
		w.stamp, w.fault = nil, err
		return
	case !info.Mode().IsRegular(): // to open a pipe would block
		w.stamp, w.fault = nil, fmt.Errorf("%s is not a regular file", w.from.path)
		return
	case w.stable && unchanged(w.stamp, info):
		return
	}
	now := time.Now()
	text, info, err := readBounded(w.from.path, w.limit)
	if err != nil {
		w.stamp, w.stable, w.fault = nil, false, err
		return
	}
	known := w.stamp != nil
	w.stamp, w.stable = info, now.Sub(info.ModTime()) > settled
	if sum := sha256.Sum256(text); !known || sum != w.sum {
		w.sum = sum
		w.take(text)
	}
}

func unchanged(old, now os.FileInfo) bool {
	return old != nil && os.SameFile(old, now) && old.Size() == now.Size() && old.ModTime().Equal(now.ModTime())
}

func (w *watched[T]) take(text []byte) {
	value, err := w.parse(text)
	if err != nil {
		w.fault = err
		if w.from.path != "" {
			w.fault = fmt.Errorf("%s: %w", w.from.path, err)
		}
		return
	}
	w.value, w.fault = value, nil
	w.gen++
}

func readBounded(path string, limit int64) ([]byte, os.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return text, info, err
}
