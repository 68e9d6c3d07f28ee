package statefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
)

// memoryDir is a directory where nothing waits for a disk, if there is one:
// thousands of files are opened here.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "statefile")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// sample makes a file with everything that a file can have: inline buckets or
// trees, pages with overflow, free pages. It also returns all states that the
// file ever had, the last one first.
func sample(t testing.TB, records int) (file []byte, history []contents) {
	t.Helper()
	path := filepath.Join(memoryDir(t), "sample")
	f := mustOpen(t, path)
	now := contents{}
	for i := range records {
		name, value := fmt.Sprint("record ", i), bytes.Repeat([]byte{byte(i)}, i*397%6000)
		mustWrite(t, f, map[string][]byte{name: value, "old": value})
		now[name], now["old"] = string(value), string(value)
		history = append(history, maps.Clone(now))
	}
	mustWrite(t, f, map[string][]byte{"old": nil})
	delete(now, "old")
	history = append(history, now)
	slices.Reverse(history)
	f.Close()
	return mustRead(t, path), history
}

// probe opens what somebody damaged. It must give back one of the states, or an
// error.
func probe(t testing.TB, path string, file []byte, states ...contents) (err error) {
	t.Helper()
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path, testKey)
	if err != nil {
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
			t.Fatalf("Open: %v", err)
		}
		if _, ok := errors.AsType[*fault](err); ok {
			t.Fatalf("not noticed before it did harm: %v", err)
		}
		return err
	}
	defer f.Close()
	got, err := read(f)
	if err != nil {
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("Read: %v", err)
		}
		return err
	}
	if !slices.ContainsFunc(states, func(s contents) bool { return maps.Equal(got, s) }) {
		t.Fatalf("other records, and no error: %.300q", slices.Sorted(maps.Keys(got)))
	}
	// What is accepted must also be fit to be written.
	f.db.NoSync, f.db.NoGrowSync = true, true
	mustWrite(t, f, map[string][]byte{"record 0": []byte("again"), "big": make([]byte, 20_000)})
	mustWrite(t, f, map[string][]byte{"record 0": nil})
	after := maps.Clone(got)
	delete(after, "record 0")
	after["big"] = string(make([]byte, 20_000))
	wantContents(t, f, after)
	return nil
}

// logPlace says where the damage was, if the test failed there.
func logPlace(t *testing.T, format string, args ...any) {
	t.Helper()
	if t.Failed() {
		t.Logf(format, args...)
	}
}

// TestDamagedByte changes bytes of a file, one at a time: at the beginning of
// pages, where their structure is, every one, elsewhere some.
func TestDamagedByte(t *testing.T) {
	for _, records := range []int{1, 12} {
		t.Run(fmt.Sprint(records, " records"), func(t *testing.T) {
			file, history := sample(t, records)
			path := filepath.Join(memoryDir(t), "damaged")
			noticed, at := 0, 0
			defer func() { logPlace(t, "byte %#x", at) }()
			for i := range file {
				if i%os.Getpagesize() > 96 && i%61 != 0 {
					continue
				}
				at = i
				damaged := bytes.Clone(file)
				damaged[i] ^= 1 << (i % 8)
				if probe(t, path, damaged, history[0]) != nil {
					noticed++
				}
			}
			t.Logf("%d bytes, damage noticed %d times", len(file), noticed)
			if noticed < 200 {
				t.Errorf("damage noticed only %d times", noticed)
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	file, history := sample(t, 12)
	path := filepath.Join(memoryDir(t), "damaged")
	used := len(bytes.TrimRight(file, "\x00"))
	for n := 1; n < used; n += 509 {
		if probe(t, path, file[:n], history[0]) == nil {
			t.Errorf("%d of %d bytes accepted", n, used)
		}
	}
}

// rewrite changes a sound file with bbolt, as somebody who knows the format but
// not the key.
func rewrite(t *testing.T, file []byte, change func(file, records *bbolt.Bucket) error) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rewritten")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket(bucketFile), tx.Bucket(bucketRecords)) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return mustRead(t, path)
}

func TestTampered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := mustOpen(t, path)
	mustWrite(t, f, map[string][]byte{"a": []byte("a"), "b": []byte("b")})
	a, b := f.keys.hashName("a"), f.keys.hashName("b")
	older := mustRead(t, path)
	mustWrite(t, f, map[string][]byte{"a": []byte("A")})
	f.Close()
	file, want := mustRead(t, path), contents{"a": "A", "b": "b"}
	var oldA, oldState []byte
	rewrite(t, older, func(file, records *bbolt.Bucket) error {
		oldA, oldState = bytes.Clone(records.Get(a[:])), bytes.Clone(file.Get(keyState))
		return nil
	})

	tests := []struct {
		name   string
		change func(file, records *bbolt.Bucket) error
	}{
		{"record removed", func(_, r *bbolt.Bucket) error { return r.Delete(a[:]) }},
		{"all records removed", func(_, r *bbolt.Bucket) error { return errors.Join(r.Delete(a[:]), r.Delete(b[:])) }},
		{"older record", func(_, r *bbolt.Bucket) error { return r.Put(a[:], oldA) }},
		{"older sum", func(f, _ *bbolt.Bucket) error { return f.Put(keyState, oldState) }},
		{"no sum", func(f, _ *bbolt.Bucket) error { return f.Delete(keyState) }},
		{"record as sum", func(f, r *bbolt.Bucket) error { return f.Put(keyState, bytes.Clone(r.Get(a[:]))) }},
		{"sum as record", func(f, r *bbolt.Bucket) error { return r.Put(a[:], bytes.Clone(f.Get(keyState))) }},
		{"records exchanged", func(_, r *bbolt.Bucket) error {
			va, vb := bytes.Clone(r.Get(a[:])), bytes.Clone(r.Get(b[:]))
			return errors.Join(r.Put(a[:], vb), r.Put(b[:], va))
		}},
		{"record twice", func(_, r *bbolt.Bucket) error { return r.Put(bytes.Repeat([]byte{1}, 32), bytes.Clone(r.Get(a[:]))) }},
		{"short record", func(_, r *bbolt.Bucket) error { return r.Put(a[:], r.Get(a[:])[:overhead-1]) }},
		{"very short record", func(_, r *bbolt.Bucket) error { return r.Put(a[:], []byte("x")) }},
		{"empty record", func(_, r *bbolt.Bucket) error { return r.Put(a[:], nil) }},
		{"short name", func(_, r *bbolt.Bucket) error { return r.Put(a[:31], bytes.Clone(r.Get(a[:]))) }},
		{"bucket among records", func(_, r *bbolt.Bucket) error { _, err := r.CreateBucket([]byte("b")); return err }},
		{"salt of the file", func(f, _ *bbolt.Bucket) error {
			h := bytes.Clone(f.Get(keyHeader))
			h[len(magic)] ^= 1
			return f.Put(keyHeader, h)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := probe(t, filepath.Join(t.TempDir(), "damaged"), rewrite(t, file, tt.change), want)
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("control", func(t *testing.T) {
		unchanged := rewrite(t, file, func(f, _ *bbolt.Bucket) error { return f.Put(keyState, bytes.Clone(f.Get(keyState))) })
		if err := probe(t, filepath.Join(t.TempDir(), "same"), unchanged, want); err != nil {
			t.Error(err)
		}
	})
	// What nobody can notice, as the package documentation says.
	t.Run("whole file rolled back", func(t *testing.T) {
		if err := probe(t, filepath.Join(t.TempDir(), "older"), older, contents{"a": "a", "b": "b"}); err != nil {
			t.Error(err)
		}
	})
}

// TestReadNoticesAlone alters a ciphertext without its tag: the sum at Open does
// not cover that.
func TestReadNoticesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := mustOpen(t, path)
	mustWrite(t, f, map[string][]byte{"a": []byte("value")})
	a := f.keys.hashName("a")
	f.Close()
	file := rewrite(t, mustRead(t, path), func(_, r *bbolt.Bucket) error {
		sealed := bytes.Clone(r.Get(a[:]))
		sealed[prefixSize+4] ^= 1
		return r.Put(a[:], sealed)
	})
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	err := mustOpen(t, path).Read(func(string, []byte) error { t.Error("called"); return nil })
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

// TestTruncatedWhileOpen is a memory fault. Whoever meets it first, nobody may
// hang, and one can start anew afterwards.
func TestTruncatedWhileOpen(t *testing.T) {
	file, history := sample(t, 50)
	readIt := func(f *File) error { _, err := read(f); return err }
	writeIt := func(f *File) error { return f.Write(map[string][]byte{"record 7": nil, "record 8": {}}) }
	for name, uses := range map[string][]func(*File) error{"read first": {readIt, writeIt, readIt}, "write first": {writeIt, readIt, writeIt}} {
		for _, size := range []int64{4096, 8192, 12288, 16384} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "state")
				if err := os.WriteFile(path, file, 0o600); err != nil {
					t.Fatal(err)
				}
				f := mustOpen(t, path)
				wantContents(t, f, history[0])
				if err := os.Truncate(path, size); err != nil {
					if runtime.GOOS == "windows" {
						t.Skip("windows protects a file that is open")
					}
					t.Fatal(err)
				}
				for i, use := range uses {
					if err := use(f); !errors.Is(err, ErrDamaged) {
						t.Errorf("use %d: %v", i, err)
					}
				}
				if err := f.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				wantContents(t, mustOpen(t, path), contents{})
			})
		}
	}
}

// resum gives the meta pages right checksums again, for faults behind them.
func resum(file []byte) {
	pageSize := os.Getpagesize()
	for _, at := range []int{pageHeader, pageSize + pageHeader} {
		if at+metaSize <= len(file) {
			sum := fnv.New64a()
			sum.Write(file[at : at+metaSize-8])
			order.PutUint64(file[at+metaSize-8:], sum.Sum64())
		}
	}
}

// TestDamagedNumber sets every field in headers and elements to numbers that
// hurt: with right checksums, as somebody would who knows the format.
func TestDamagedNumber(t *testing.T) {
	file, history := sample(t, 12)
	path := filepath.Join(memoryDir(t), "damaged")
	pageSize := os.Getpagesize()
	numbers := []uint64{0, 1, 3, 5, 0xFFFF, 1<<31 - 1, 1 << 31, 1<<63 - 1, 1<<64 - 1}
	noticed, place := 0, ""
	defer func() { logPlace(t, "%s", place) }()
	for page := 0; page+pageSize <= len(file); page += pageSize {
		if bytes.Count(file[page:page+pageSize], []byte{0}) == pageSize {
			continue
		}
		for at := 0; at < 16*5; at += 4 {
			for _, n := range numbers {
				for size := 4; size <= 8; size *= 2 {
					place = fmt.Sprintf("page %d, byte %d, %d bytes of %#x", page/pageSize, at, size, n)
					damaged := bytes.Clone(file)
					var b [8]byte
					binary.NativeEndian.PutUint64(b[:], n)
					copy(damaged[page+at:], b[:size])
					resum(damaged)
					if probe(t, path, damaged, history...) != nil {
						noticed++
					}
				}
			}
		}
	}
	t.Logf("noticed %d times", noticed)
	if noticed < 1000 {
		t.Errorf("noticed only %d times", noticed)
	}
}

// FuzzOpen damages a sound file: edits are a position in three bytes and a mask.
func FuzzOpen(f *testing.F) {
	file, history := sample(f, 12)
	dir := memoryDir(f)
	f.Add([]byte{}, uint32(0), false)
	f.Add([]byte{0, 0, 24, 1}, uint32(0), false)
	f.Add([]byte{0, 0, 48, 0xff, 0, 16, 48, 0xff}, uint32(0), true)
	f.Add([]byte{0, 0x20, 10, 3}, uint32(5000), true)
	f.Fuzz(func(t *testing.T, edits []byte, cut uint32, sum bool) {
		damaged := bytes.Clone(file)
		for ; len(edits) >= 4; edits = edits[4:] {
			at := int(edits[0])<<16 | int(edits[1])<<8 | int(edits[2])
			damaged[at%len(damaged)] ^= edits[3]
		}
		damaged = damaged[:len(damaged)-int(cut)%len(damaged)]
		if sum {
			resum(damaged)
		}
		// With new checksums it may also be an older state.
		probe(t, filepath.Join(dir, fmt.Sprint(os.Getpid())), damaged, history...)
	})
}
