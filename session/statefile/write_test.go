package statefile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.etcd.io/bbolt"
)

func transactions(t testing.TB, f *File) (n int) {
	t.Helper()
	if err := f.db.View(func(tx *bbolt.Tx) error { n = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestConcurrentWritesShareSyncs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := mustOpen(t, path)
	before := transactions(t, f)
	want := contents{}
	for i := range 100 {
		want[fmt.Sprint(i)] = strings.Repeat("v", i)
		want[fmt.Sprint("second ", i)] = ""
	}
	f.committing.Lock() // as by a commit that takes its time
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if err := f.Write(map[string][]byte{fmt.Sprint(i): bytes.Repeat([]byte("v"), i), fmt.Sprint("second ", i): {}}); err != nil {
				t.Error(err)
			}
		})
	}
	for joined := 0; joined < 200; {
		f.mu.Lock()
		if f.forming != nil {
			joined = len(f.forming.changes)
		}
		f.mu.Unlock()
	}
	f.committing.Unlock()
	wg.Wait()
	if n := transactions(t, f) - before; n != 1 {
		t.Errorf("%d transactions for 100 Writes that waited together", n)
	}
	wantContents(t, f, want)
	f.Close()
	wantContents(t, mustOpen(t, path), want)
}

func TestConcurrentUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := mustOpen(t, path)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				// Both or none: readers check that.
				v := []byte(fmt.Sprint(w, i))
				if err := f.Write(map[string][]byte{fmt.Sprint("a", w): v, fmt.Sprint("b", w): v}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 20 {
				got, err := read(f)
				if err != nil {
					t.Error(err)
				}
				for w := range 8 {
					if a, b := got[fmt.Sprint("a", w)], got[fmt.Sprint("b", w)]; a != b {
						t.Errorf("half a Write: %q and %q", a, b)
					}
				}
			}
		})
	}
	wg.Wait()
	f.Close()
	got, err := read(mustOpen(t, path))
	if err != nil || len(got) != 16 || got["a7"] != "7 19" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestCloseWaitsForWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := mustOpen(t, path)
	var stored [8]atomic.Int64
	var wg sync.WaitGroup
	started := make(chan struct{}, len(stored))
	for w := range stored {
		wg.Go(func() {
			for i := int64(1); ; i++ {
				err := f.Write(map[string][]byte{fmt.Sprint(w): []byte(fmt.Sprint(i))})
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				stored[w].Store(i)
				if i == 1 {
					started <- struct{}{}
				}
			}
		})
	}
	for range stored {
		<-started
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	got, err := read(mustOpen(t, path))
	if err != nil {
		t.Fatal(err)
	}
	for w := range stored {
		if want := fmt.Sprint(stored[w].Load()); got[fmt.Sprint(w)] != want {
			t.Errorf("writer %d stored %s, file has %s", w, want, got[fmt.Sprint(w)])
		}
	}
}

// TestFailingDisk takes the disk away from bbolt: the descriptor it writes to is
// closed, or may only be read.
func TestFailingDisk(t *testing.T) {
	for _, large := range []bool{false, true} { // the large one fails when the file grows
		t.Run(fmt.Sprintf("large=%v", large), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			var disk *os.File
			f, err := open(path, testKey, func(path string, flag int, mode fs.FileMode) (_ *os.File, err error) {
				disk, err = os.OpenFile(path, flag, mode)
				return disk, err
			})
			if err != nil {
				t.Fatal(err)
			}
			mustWrite(t, f, map[string][]byte{"a": []byte("old"), "b": []byte("old")})
			value := []byte("new")
			if large {
				value = make([]byte, 1<<20)
			}
			disk.Close()
			err = f.Write(map[string][]byte{"a": value, "b": nil, "c": value})
			if err == nil {
				t.Errorf("got %v", err)
			}
			if again := f.Write(map[string][]byte{"d": value}); again == nil || again.Error() != err.Error() {
				t.Errorf("after a failure: %v", again)
			}
			f.Close() // its descriptor is gone, so it may complain
			again := mustOpen(t, copyOf(t, path))
			wantContents(t, again, contents{"a": "old", "b": "old"})
		})
	}
}

// TestFailureIsForWholeBatch: who waits for a batch that fails must hear of it.
func TestFailureIsForWholeBatch(t *testing.T) {
	f := mustOpen(t, filepath.Join(t.TempDir(), "state"))
	cause := errors.New("disk is gone")
	f.broken = cause
	f.committing.Lock()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if err := f.Write(map[string][]byte{fmt.Sprint(i): {}}); err != cause {
				t.Errorf("got %v", err)
			}
		})
	}
	for joined := 0; joined < 10; {
		f.mu.Lock()
		if f.forming != nil {
			joined = len(f.forming.changes)
		}
		f.mu.Unlock()
	}
	f.committing.Unlock()
	wg.Wait()
	wantContents(t, f, contents{})
}

// TestNoncesNeverRepeat looks at everything that was ever on the disk over
// several runs, crashes, failures and copies.
func TestNoncesNeverRepeat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	seen := map[string]string{} // salt and counter to ciphertext
	runs := map[string]bool{}
	look := func(f *File) {
		err := f.db.View(func(tx *bbolt.Tx) error {
			check := func(_, sealed []byte) error {
				nonce, rest := string(sealed[:prefixSize]), string(sealed[prefixSize:])
				if was, ok := seen[nonce]; ok && was != rest {
					t.Fatal("one nonce, two ciphertexts")
				}
				seen[nonce] = rest
				runs[string(sealed[:saltSize])] = true
				return nil
			}
			check(nil, tx.Bucket(bucketFile).Get(keyState))
			return tx.Bucket(bucketRecords).ForEach(check)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const opens, writes = 5, 10
	for range opens {
		crashed := copyIfThere(t, path)
		for _, p := range []string{crashed, path} { // both go on from one state
			f := mustOpen(t, p)
			for i := range writes {
				mustWrite(t, f, map[string][]byte{"same": []byte("same"), fmt.Sprint(i % 3): []byte(p)})
				look(f)
			}
			f.Close()
		}
	}
	if want := opens * 2 * writes * 3; len(seen) < want {
		t.Errorf("saw %d ciphertexts, want %d at least", len(seen), want)
	}
	if len(runs) != opens*2 {
		t.Errorf("%d salts in %d runs", len(runs), opens*2)
	}
}

// copyIfThere is copyOf of a file that need not be there.
func copyIfThere(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		return filepath.Join(t.TempDir(), "new")
	}
	return copyOf(t, path)
}

func BenchmarkWrite(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			f := mustOpen(b, filepath.Join(b.TempDir(), "state"))
			value := make([]byte, 2048)
			before := transactions(b, f)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for w := range writers {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if err := f.Write(map[string][]byte{fmt.Sprint(w): value}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
			b.ReportMetric(float64(b.N)/float64(transactions(b, f)-before), "writes/commit")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "state")
	f := mustOpen(b, path)
	changes := map[string][]byte{}
	for i := range 1000 {
		changes[fmt.Sprint(i)] = make([]byte, 4096)
	}
	mustWrite(b, f, changes)
	f.Close()
	for b.Loop() {
		f := mustOpen(b, path)
		if _, err := read(f); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
