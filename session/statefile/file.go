package statefile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
)

// Limits.
const (
	// MinKey is the fewest bytes of a key.
	MinKey = 32
	// MaxName and MaxValue are the most bytes of a record's name and value.
	MaxName  = 1<<16 - 1
	MaxValue = 64 << 20
)

var (
	// ErrKey is about a key that is not the file's.
	ErrKey = errors.New("statefile: wrong key: give the one that the file was made with, or another file")
	// ErrDamaged is about a file that was damaged or tampered with. It is of no
	// use any more: what is in it can be neither trusted nor repaired.
	ErrDamaged = errors.New("statefile: file is damaged: delete it and start anew")
	// ErrFormat is about a file of another program, or of another version of
	// this package.
	ErrFormat = errors.New("statefile: not a state file of this version: use another file; if the very first Open was interrupted, delete it")
	// ErrInUse is about a file that somebody has open.
	ErrInUse = errors.New("statefile: file is in use, and only one process at a time may have it open: end the other one (fuser and lsof tell which), or use another file")
	// ErrClosed is about a File after its Close.
	ErrClosed = errors.New("statefile: file is closed")
)

// File is an open state file. It is safe for concurrent use.
type File struct {
	path string
	db   *bbolt.DB
	disk *os.File // what db has open
	keys *keys
	run  *sealer

	mu       sync.Mutex
	closed   bool
	forming  *batch         // joined by Writes while another is committed
	inflight sync.WaitGroup // Reads and Writes; grows only while not closed

	committing sync.Mutex // held while a batch is committed; never taken with mu held
	records    digest     // of what is in the file
	broken     error      // of the first commit that failed; no other follows it

	faulted atomic.Pointer[fault] // the first one

	closing  sync.Once
	closeErr error
}

// enter registers a Read or a Write, which Close waits for.
func (f *File) enter() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	f.inflight.Add(1)
	return nil
}

// Close waits for Reads and Writes that have begun, releases the file for
// others, and overwrites the keys. It may be called again.
func (f *File) Close() error {
	f.closing.Do(func() {
		f.mu.Lock()
		f.closed = true
		f.mu.Unlock()
		f.inflight.Wait()
		if err := f.release(); err != nil {
			f.closeErr = f.wrap(err)
		}
		f.keys.clear()
		f.keys, f.run = nil, nil
	})
	return f.closeErr
}

// Format writes the path for every verb, never a key.
func (f *File) Format(s fmt.State, _ rune) { io.WriteString(s, "state file "+f.path) }

func (f *File) wrap(err error) error { return fmt.Errorf("%w (file %s)", err, f.path) }

// fault is a panic or a memory fault inside bbolt, which a file causes that
// changes or cannot be read any more. bbolt may hold its locks ever after.
type fault struct{ reason any }

func (e *fault) Error() string { return fmt.Sprintf("%v: %v", ErrDamaged, e.reason) }

func (e *fault) Unwrap() error { return ErrDamaged }

// guard runs what uses the mapped memory of the file.
func guard(use func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = &fault{p}
		}
	}()
	return use()
}

// use guards a transaction. After a fault there is no other.
func (f *File) use(transact func() error) error {
	if e := f.faulted.Load(); e != nil {
		return e
	}
	err := guard(transact)
	if e, ok := errors.AsType[*fault](err); ok {
		f.faulted.Store(e)
	}
	return err
}

// release closes the database. One that has faulted might not return from that,
// so then only its descriptor is closed; where the memory that is mapped keeps the
// lock, that lasts until the process ends, and the file is of no use anyhow.
func (f *File) release() error {
	if f.faulted.Load() != nil {
		return f.disk.Close()
	}
	return guard(f.db.Close)
}
