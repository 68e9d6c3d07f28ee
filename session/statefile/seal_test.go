package statefile

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func testKeys(t *testing.T, key []byte, salt byte) *keys {
	t.Helper()
	k, err := deriveKeys(key, bytes.Repeat([]byte{salt}, saltSize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSealBinds: the sum over all records would notice an exchange, too, but
// each record must also stand for itself.
func TestSealBinds(t *testing.T) {
	k := testKeys(t, testKey, 1)
	s, err := k.newSealer()
	if err != nil {
		t.Fatal(err)
	}
	here := recordAAD(k.hashName("a"))
	sealed := s.seal(here, []byte("value"))
	altered := func(i int) []byte { b := bytes.Clone(sealed); b[i] ^= 1; return b }
	tests := []struct {
		name   string
		keys   *keys
		aad    []byte
		sealed []byte
		ok     bool
	}{
		{"control", k, here, sealed, true},
		{"same keys anew", testKeys(t, testKey, 1), here, sealed, true},
		{"place of another record", k, recordAAD(k.hashName("b")), sealed, false},
		{"place of the sum", k, stateAAD(), sealed, false},
		{"other key", testKeys(t, otherKey, 1), here, sealed, false},
		{"other file", testKeys(t, testKey, 2), here, sealed, false},
		{"altered salt", k, here, altered(0), false},
		{"altered counter", k, here, altered(prefixSize - 1), false},
		{"altered ciphertext", k, here, altered(prefixSize), false},
		{"altered tag", k, here, altered(len(sealed) - 1), false},
		{"without ciphertext", k, here, sealed[:prefixSize], false},
		{"too short", k, here, sealed[:overhead-1], false},
		{"empty", k, here, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plain, err := tt.keys.newOpener().open(tt.aad, tt.sealed)
			if tt.ok && (err != nil || string(plain) != "value") || !tt.ok && (plain != nil || !errors.Is(err, ErrDamaged)) {
				t.Errorf("got %q, %v", plain, err)
			}
		})
	}
	if bytes.Equal(stateAAD(), recordAAD(hashedName{})[:len(stateAAD())]) {
		t.Error("the sum could be taken for a record")
	}
}

// TestOpenerForgets opens what more runs have sealed than it remembers.
func TestOpenerForgets(t *testing.T) {
	k := testKeys(t, testKey, 1)
	o := k.newOpener()
	for range maxOpeners + 10 {
		s, err := k.newSealer()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.open(nil, s.seal(nil, []byte("value"))); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.bySalt) > maxOpeners {
		t.Errorf("remembers %d keys", len(o.bySalt))
	}
}

func TestNamesAreKeyed(t *testing.T) {
	one, two := mustOpen(t, filepath.Join(t.TempDir(), "1")), mustOpen(t, filepath.Join(t.TempDir(), "2"))
	if one.keys.hashName("a") == two.keys.hashName("a") {
		t.Error("a name looks alike in two files of one key")
	}
	if testKeys(t, testKey, 1).hashName("a") == testKeys(t, otherKey, 1).hashName("a") {
		t.Error("a name looks alike under two keys")
	}
}

func TestDecodeRecord(t *testing.T) {
	long := strings.Repeat("n", MaxName)
	for _, want := range [][2]string{{"", ""}, {"name", ""}, {"", "value"}, {"name", "value"}, {long, "value"}} {
		name, value, err := decodeRecord(encodeRecord(want[0], []byte(want[1])))
		if err != nil || name != want[0] || string(value) != want[1] {
			t.Errorf("%d and %d bytes: got %d and %d, %v", len(want[0]), len(want[1]), len(name), len(value), err)
		}
	}
	for _, plain := range []string{"", "\x00", "\x00\x01", "\x00\x05name", "\xff\xffname"} {
		if _, _, err := decodeRecord([]byte(plain)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", plain, err)
		}
	}
	for _, plain := range []int{0, 39, 41} {
		if _, err := decodeDigest(make([]byte, plain)); !errors.Is(err, ErrDamaged) {
			t.Errorf("sum of %d bytes: %v", plain, err)
		}
	}
}
