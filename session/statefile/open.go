package statefile

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// magic begins the header, and the purpose of every derived key. Its last
	// character is the version.
	magic = family + "1"
	// family is the magic of all versions.
	family = "slimbridge statefile "

	// lockWait is how long each of two locks is waited for.
	lockWait = 500 * time.Millisecond
)

// The file has two buckets. The header is magic, salt of the file, key check,
// SHA-256 of all that; the state is the sealed digest of the records.
var (
	bucketFile    = []byte("file")
	bucketRecords = []byte("records")
	keyHeader     = []byte("header")
	keyState      = []byte("state")
)

const headerSize = len(magic) + saltSize + keySize + sha256.Size

// openFunc is [os.OpenFile]; tests put something between.
type openFunc func(path string, flag int, mode fs.FileMode) (*os.File, error)

// Open opens the file at path, or creates it with mode 0600; its directory must
// exist. key is secret and random, at least [MinKey] bytes: a password is not
// enough, since nothing slows down those who guess. Open keeps no reference to
// it.
//
// All of the file is checked before anything is changed, so the time it takes
// grows with the file. The error is one that wraps [ErrKey], [ErrDamaged],
// [ErrFormat], [ErrInUse] (after half a second), or one of the file system.
func Open(path string, key []byte) (*File, error) { return open(path, key, os.OpenFile) }

func open(path string, key []byte, openFile openFunc) (*File, error) {
	if len(key) < MinKey {
		return nil, fmt.Errorf("statefile: key has %d bytes, needs at least %d random ones", len(key), MinKey)
	}
	f := &File{path: path}
	exists, err := present(path)
	if err != nil {
		return nil, err
	}
	if exists {
		if err := inspect(path, openFile); err != nil {
			return nil, f.wrap(err)
		}
	}
	if f.db, f.disk, err = openDB(path, false, openFile); err != nil {
		return nil, f.wrap(err)
	}
	if err = f.use(func() error { return f.start(key) }); err == nil {
		err = syncDir(path)
	}
	if err != nil {
		return nil, errors.Join(f.wrap(err), f.release())
	}
	return f, nil
}

// present reports whether there is a file that is not empty.
func present(path string) (bool, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		dir := filepath.Dir(path)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("statefile: directory %s does not exist: make it first (mkdir -m 700): %w", dir, err)
		}
		return false, nil
	case err != nil:
		return false, fmt.Errorf("statefile: %w", err)
	case !info.Mode().IsRegular(): // to open a pipe would block
		return false, fmt.Errorf("statefile: %s is not a regular file", path)
	}
	return info.Size() > 0, nil
}

// inspect checks the structure of the file under a shared lock, which bbolt
// takes when it opens a file to read only. It then looks at nothing but the
// first two pages.
func inspect(path string, openFile openFunc) error {
	db, disk, err := openDB(path, true, openFile)
	if err != nil {
		return err
	}
	info, err := disk.Stat()
	if err == nil {
		err = checkLayout(disk, info.Size())
	}
	return errors.Join(err, guard(db.Close))
}

// openDB calls bbolt and says what its errors mean. disk is what db has open,
// and closes.
func openDB(path string, readOnly bool, openFile openFunc) (db *bbolt.DB, disk *os.File, err error) {
	options := bbolt.Options{Timeout: lockWait, ReadOnly: readOnly, NoStatistics: true}
	options.OpenFile = func(path string, flag int, mode fs.FileMode) (_ *os.File, err error) {
		disk, err = openFile(path, flag, mode)
		return disk, err
	}
	err = guard(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &options)
		return err
	})
	_, faulted := errors.AsType[*fault](err)
	switch {
	case err == nil:
		return db, disk, nil
	case faulted: // and so closed nothing
		if disk != nil {
			disk.Close()
		}
		return nil, nil, err
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, nil, ErrInUse
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, nil, ErrFormat
	case errors.Is(err, bolterrors.ErrChecksum):
		return nil, nil, ErrDamaged
	}
	if _, ok := errors.AsType[syscall.Errno](err); !ok { // such as a file that is too short
		return nil, nil, damaged("%v", err)
	}
	return nil, nil, fmt.Errorf("statefile: %w", err)
}

// start reads or makes the header, checks the records, and makes the key that
// this run seals with.
func (f *File) start(key []byte) (err error) {
	fresh := false
	err = f.db.View(func(tx *bbolt.Tx) error {
		if first, _ := tx.Cursor().First(); first == nil {
			fresh = true
			return nil
		}
		return f.load(tx, key)
	})
	if fresh {
		return f.db.Update(func(tx *bbolt.Tx) error { return f.create(tx, key) })
	}
	return err
}

// create fills an empty file.
func (f *File) create(tx *bbolt.Tx, key []byte) error {
	var salt [saltSize]byte
	rand.Read(salt[:])
	if err := f.derive(key, salt[:]); err != nil {
		return err
	}
	header := append(append([]byte(magic), salt[:]...), f.keys.check...)
	sum := sha256.Sum256(header)
	file, err := tx.CreateBucket(bucketFile)
	if err != nil {
		return err
	}
	if err := file.Put(keyHeader, append(header, sum[:]...)); err != nil {
		return err
	}
	if err := file.Put(keyState, f.run.seal(stateAAD(), f.records.encode())); err != nil {
		return err
	}
	_, err = tx.CreateBucket(bucketRecords)
	return err
}

func (f *File) derive(key, salt []byte) (err error) {
	if f.keys, err = deriveKeys(key, salt); err != nil {
		return fmt.Errorf("statefile: derive keys: %w", err)
	}
	if f.run, err = f.keys.newSealer(); err != nil {
		return fmt.Errorf("statefile: derive keys: %w", err)
	}
	return nil
}

// load checks that file and key belong together, and that no record is missing,
// old or foreign. It does not decrypt them.
func (f *File) load(tx *bbolt.Tx, key []byte) error {
	file, records := tx.Bucket(bucketFile), tx.Bucket(bucketRecords)
	if file == nil {
		return ErrFormat
	}
	header := file.Get(keyHeader)
	if bytes.HasPrefix(header, []byte(family)) && !bytes.HasPrefix(header, []byte(magic)) || header == nil {
		return ErrFormat
	}
	if len(header) != headerSize || records == nil {
		return ErrDamaged
	}
	body, sum := header[:headerSize-sha256.Size], header[headerSize-sha256.Size:]
	if want := sha256.Sum256(body); !bytes.Equal(sum, want[:]) {
		return ErrDamaged
	}
	salt, check := body[len(magic):len(magic)+saltSize], body[len(magic)+saltSize:]
	if err := f.derive(key, salt); err != nil {
		return err
	}
	if !hmac.Equal(check, f.keys.check) {
		return ErrKey
	}
	plain, err := f.keys.newOpener().open(stateAAD(), file.Get(keyState))
	if err != nil {
		return err
	}
	want, err := decodeDigest(plain)
	if err != nil {
		return err
	}
	err = records.ForEach(func(name, sealed []byte) error {
		if len(name) != len(hashedName{}) || len(sealed) < overhead {
			return ErrDamaged
		}
		f.records.add(f.keys.set, hashedName(name), sealed)
		return nil
	})
	if err == nil && f.records != want {
		err = ErrDamaged
	}
	return err
}

// syncDir makes the entry of a new file durable.
func syncDir(path string) error {
	if runtime.GOOS == "windows" { // which cannot, and needs not
		return nil
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("statefile: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("statefile: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("statefile: make the new file durable: %w", err)
	}
	return nil
}
