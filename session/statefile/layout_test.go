package statefile

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
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
