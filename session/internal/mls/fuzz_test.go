package mls

import (
	"bytes"
	"testing"

	"github.com/thomas-vilte/mls-go/treesync"
)

func FuzzParseKeyPackage(f *testing.F) {
	for _, file := range []string{"rust-keypackage.hex", "rust-rejoin-keypackage.hex"} {
		f.Add(readHex(f, file))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, _, err := ParseKeyPackage(in)
		if err != nil {
			safe(t, err)
		} else if len(m.Credential) == 0 || len(m.SignatureKey) != keySize {
			t.Errorf("accepted %v", m)
		}
	})
}

func FuzzJoin(f *testing.F) {
	var v vector
	readVector(f, "mls-join-path-welcome.json", &v)
	c, p := v.config(f, true), v.pending(f)
	f.Add([]byte(v.Welcome))
	f.Add(readHex(f, "rust-welcome-first-member.hex"))
	f.Fuzz(func(t *testing.T, in []byte) {
		again := *p
		if _, err := Join(c, &again, in); err != nil {
			safe(t, err)
			if again.spent {
				t.Error("a refused Welcome used up the key package")
			}
		} else if !bytes.Equal(in, v.Welcome) {
			t.Error("another Welcome is accepted")
		}
	})
}

// FuzzProcess has a live group behind; only the genuine commit may pass.
func FuzzProcess(f *testing.F) {
	for _, name := range []string{"mls-join-group.json", "mls-join-observe-rejoin.json"} {
		var v vector
		readVector(f, name, &v)
		for _, s := range v.Steps {
			if s.Kind == "commit" {
				f.Add([]byte(s.Hex))
			}
		}
	}
	var v vector
	readVector(f, "mls-join-group.json", &v)
	c := v.config(f, true)
	g, err := Join(c, v.pending(f), v.Welcome)
	if err != nil {
		f.Fatal(err)
	}
	saved, err := g.Save(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		g, err := Load(saved, c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Process(in); err != nil {
			safe(t, err)
			if after, _ := g.Save(nil); !bytes.Equal(saved, after) {
				t.Error("a refused commit changed the state")
			}
		} else if !bytes.Equal(in, v.Steps[0].Hex) {
			t.Error("another commit is accepted")
		}
	})
}

func FuzzUnprotect(f *testing.F) {
	var v vector
	readVector(f, "mls-join-p2p.json", &v)
	for _, s := range v.Steps {
		f.Add([]byte(s.Hex))
	}
	f.Add(readHex(f, "rust-private-message.hex"))
	g, err := Join(v.config(f, true), v.pending(f), v.Welcome)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		_, err := g.Unprotect(in)
		if err != nil {
			safe(t, err)
			return
		}
		if !bytes.Equal(in, v.Steps[0].Hex) && !bytes.Equal(in, v.Steps[1].Hex) {
			t.Error("another message is accepted")
		}
	})
}

// FuzzTree: whatever passes our reader, the library reads without asking for
// more memory than the input is worth.
func FuzzTree(f *testing.F) {
	for _, file := range []string{"mls-join-group.json", "mls-join-path-welcome.json", "join-valid-tree-refused-by-mls-rs.json"} {
		var v vector
		readVector(f, file, &v)
		r, err := open(v.Welcome, formatWelcome)
		if err != nil {
			f.Fatal(err)
		}
		info, err := v.pending(f).decryptInfo(r.welcome())
		if err != nil {
			f.Fatal(err)
		}
		f.Add((&reader{b: info}).info().tree)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if !checkTree(in) {
			return
		}
		tree, err := treesync.UnmarshalTreeFromExtension(in, suite)
		if err == nil && (tree.NumLeaves > maxLeaves || len(tree.Nodes) > len(in)) {
			t.Errorf("%d bytes make %d nodes", len(in), len(tree.Nodes))
		}
	})
}

func FuzzLoad(f *testing.F) {
	var v vector
	readVector(f, "mls-join-p2p.json", &v)
	c := v.config(f, true)
	g, err := Join(c, v.pending(f), v.Welcome)
	if err != nil {
		f.Fatal(err)
	}
	saved, err := g.Save(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(saved)
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := Load(in, c); err == nil && !bytes.Equal(in, saved) {
			t.Error("another blob is accepted")
		}
	})
}
