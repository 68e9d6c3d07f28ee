package statefile

import (
	"fmt"
	"runtime"

	"go.etcd.io/bbolt"
)

// Read calls each for every record, in an order that only changes with the
// records. They are those of one moment. each may keep value and may call
// Write; if it returns an error, Read stops and returns that. All records are in
// memory at once.
//
// The error wraps [ErrDamaged], before the first call of each, or is [ErrClosed].
func (f *File) Read(each func(name string, value []byte) error) error {
	all, err := f.readAll()
	if err != nil {
		return err
	}
	for _, r := range all {
		if err := each(r.name, r.value); err != nil {
			return err
		}
	}
	return nil
}

type record struct {
	name  string
	value []byte
}

func (f *File) readAll() (all []record, err error) {
	if err := f.enter(); err != nil {
		return nil, err
	}
	defer f.inflight.Done()
	o := f.keys.newOpener()
	err = f.use(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketRecords).ForEach(func(hashed, sealed []byte) error {
				plain, err := o.open(recordAAD(hashedName(hashed)), sealed)
				if err != nil {
					return err
				}
				name, value, err := decodeRecord(plain)
				all = append(all, record{name, value})
				return err
			})
		})
	})
	if err != nil {
		return nil, f.wrap(err)
	}
	return all, nil
}

// Write stores, replaces and deletes records: all of changes, or none. A nil
// value deletes, an empty one that is not nil stores an empty record. When Write
// returns nil, the change is on the disk.
//
// Names and values that are too long are refused, and nothing happens. Any other
// error but [ErrClosed] means that it is not known whether the change is on the
// disk, and every later Write fails too: when the cause is gone, close the File
// and open it again.
func (f *File) Write(changes map[string][]byte) error {
	if err := f.enter(); err != nil {
		return err
	}
	defer f.inflight.Done()
	if len(changes) == 0 {
		return nil
	}
	for name, value := range changes {
		if len(name) > MaxName || len(value) > MaxValue {
			return fmt.Errorf("statefile: record with a name of %d and a value of %d bytes: at most %d and %d are allowed", len(name), len(value), MaxName, MaxValue)
		}
	}
	sealed := make([]change, 0, len(changes))
	for name, value := range changes {
		c := change{name: f.keys.hashName(name)}
		if value != nil {
			plain := encodeRecord(name, value)
			c.sealed = f.run.seal(recordAAD(c.name), plain)
			clear(plain)
		}
		sealed = append(sealed, c)
	}
	return f.join(sealed)
}

// change of one record; without sealed it deletes.
type change struct {
	name   hashedName
	sealed []byte
}

// batch is one or more Writes that share a transaction.
type batch struct {
	changes []change
	done    chan struct{} // closed when err is set
	err     error
}

// join adds changes to the batch that forms while another one is committed. Who
// begins a batch commits it; no goroutine of the File's own is needed.
func (f *File) join(changes []change) error {
	f.mu.Lock()
	b := f.forming
	begins := b == nil
	if begins {
		b = &batch{done: make(chan struct{})}
		f.forming = b
	}
	b.changes = append(b.changes, changes...)
	f.mu.Unlock()
	if !begins {
		<-b.done
		return b.err
	}

	f.committing.Lock()
	defer f.committing.Unlock()
	runtime.Gosched() // to let those join whom the last commit has woken
	f.mu.Lock()
	f.forming = nil
	f.mu.Unlock()
	b.err = f.commit(b.changes)
	close(b.done)
	return b.err
}

// commit stores changes and the new digest in one transaction, with f.committing
// held. After a failure of the disk, pages in memory and on the disk may differ,
// so nothing is built on them.
func (f *File) commit(changes []change) error {
	if f.broken != nil {
		return f.broken
	}
	after := f.records
	err := f.use(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			if err := f.apply(tx.Bucket(bucketRecords), changes, &after); err != nil {
				return err
			}
			return tx.Bucket(bucketFile).Put(keyState, f.run.seal(stateAAD(), after.encode()))
		})
	})
	if err != nil {
		f.broken = fmt.Errorf("statefile: write failed, close the file and open it again: %w (file %s)", err, f.path)
		return f.broken
	}
	f.records = after
	return nil
}

func (f *File) apply(records *bbolt.Bucket, changes []change, d *digest) error {
	for _, c := range changes {
		if old := records.Get(c.name[:]); old != nil {
			d.remove(f.keys.set, c.name, old)
		}
		var err error
		if c.sealed == nil {
			err = records.Delete(c.name[:])
		} else {
			d.add(f.keys.set, c.name, c.sealed)
			err = records.Put(c.name[:], c.sealed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
