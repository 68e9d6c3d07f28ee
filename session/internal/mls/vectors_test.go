package mls

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	var err error
	*h, err = hex.DecodeString(s)
	return err
}

type vector struct {
	KeyPackage    hexBytes `json:"key_package"`
	Init          hexBytes `json:"init_private_key"`
	Encryption    hexBytes `json:"encryption_private_key"`
	Signature     hexBytes `json:"signature_private_key"`
	Welcome       hexBytes `json:"welcome"`
	GroupID       hexBytes `json:"group_id"`
	Epoch         uint64   `json:"epoch_after_welcome"`
	Authenticator hexBytes `json:"epoch_authenticator_after_welcome"`
	Steps         []struct {
		Kind          string   `json:"kind"`
		Hex           hexBytes `json:"hex"`
		EpochAfter    uint64   `json:"epoch_after"`
		Authenticator hexBytes `json:"epoch_authenticator"`
		Plaintext     string   `json:"plaintext"`
		AAD           hexBytes `json:"aad"`
		Sender        uint32   `json:"sender_leaf"`
		Epoch         uint64   `json:"epoch"`
	} `json:"steps"`
}

func readVector(t testing.TB, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

// config is the joiner's, with real token checks for SLIM's vectors.
func (v *vector) config(t testing.TB, slim bool) Config {
	t.Helper()
	s, err := NewSigner(P256, v.Signature)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Suite: P256, Signer: s, Credential: []byte("unused"),
		Verify:  func(Member, Reason) error { return nil },
		Subject: func(m Member) (string, error) { return string(m.Credential), nil },
	}
	if slim {
		c.Verify = verifyToken
		c.Subject = func(m Member) (string, error) {
			subject, _, _ := strings.Cut(string(m.Credential), ":")
			return subject, nil
		}
	}
	return c
}

func verifyToken(m Member, _ Reason) error {
	parts := strings.Split(string(m.Credential), ":")
	if len(parts) != 5 {
		return errors.New("no token")
	}
	mac := hmac.New(sha256.New, bytes.Repeat([]byte("x"), 40))
	mac.Write([]byte(strings.Join(parts[:4], ":")))
	if base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) != parts[4] {
		return errors.New("wrong MAC")
	}
	claims := `{"pubkey":"` + base64.StdEncoding.EncodeToString(m.SignatureKey) + `"}`
	if base64.RawURLEncoding.EncodeToString([]byte(claims)) != parts[3] {
		return errors.New("token of another key")
	}
	return nil
}

func (v *vector) pending(t testing.TB) *Pending {
	t.Helper()
	initKey, err := ecdh.P256().NewPrivateKey(v.Init)
	if err != nil {
		t.Fatal(err)
	}
	encKey, err := ecdh.P256().NewPrivateKey(v.Encryption)
	if err != nil {
		t.Fatal(err)
	}
	p, err := restorePending(v.KeyPackage[headerSize:], initKey, encKey)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// atCapture runs f in a bubble whose clock stands where the vectors are valid.
func atCapture(t *testing.T, f func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)))
		f(t)
	})
}

func (v *vector) replay(t *testing.T, slim, reload bool) {
	c := v.config(t, slim)
	g, err := Join(c, v.pending(t), v.Welcome)
	if err != nil {
		t.Fatalf("join: %v", err)
	}
	if g.Epoch() != v.Epoch || !bytes.Equal(g.Authenticator(), v.Authenticator) || !bytes.Equal(g.ID(), v.GroupID) {
		t.Fatal("other state after the welcome")
	}
	for i, s := range v.Steps {
		if reload {
			blob, err := g.Save(nil)
			if err != nil {
				t.Fatal(err)
			}
			if g, err = Load(blob, c); err != nil {
				t.Fatal(err)
			}
		}
		if s.Kind == "commit" {
			if _, err := g.Process(s.Hex); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			if g.Epoch() != s.EpochAfter || !bytes.Equal(g.Authenticator(), s.Authenticator) {
				t.Fatalf("step %d: other state", i)
			}
			continue
		}
		want := s.Plaintext
		if !slim {
			b, _ := hex.DecodeString(want)
			want = string(b)
		}
		m, err := g.Unprotect(s.Hex)
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if string(m.Plaintext) != want || !bytes.Equal(m.AAD, s.AAD) || m.Sender.Leaf != s.Sender || m.Epoch != s.Epoch {
			t.Errorf("step %d: %q of leaf %d, epoch %d", i, m.Plaintext, m.Sender.Leaf, m.Epoch)
		}
		if _, err := g.Unprotect(s.Hex); !errors.Is(err, ErrReplay) {
			t.Errorf("step %d again: %v", i, err)
		}
	}
}

func TestVectorsSLIM(t *testing.T) {
	for _, file := range []string{
		"mls-join-p2p.json", "mls-join-group.json", "mls-join-path-welcome.json", "mls-join-observe-rejoin.json",
	} {
		var v vector
		readVector(t, file, &v)
		t.Run(file, func(t *testing.T) { atCapture(t, func(t *testing.T) { v.replay(t, true, false) }) })
		t.Run(file+" with reloads", func(t *testing.T) { atCapture(t, func(t *testing.T) { v.replay(t, true, true) }) })
	}
}

func TestVectorsMLSRS(t *testing.T) {
	joiners := map[string]*vector{}
	readVector(t, "mls-rs-suite-2.json", &joiners)
	var refused vector
	readVector(t, "join-valid-tree-refused-by-mls-rs.json", &refused)
	joiners["ninth"] = &refused
	for name, v := range joiners {
		t.Run(name, func(t *testing.T) { atCapture(t, func(t *testing.T) { v.replay(t, false, name == "dave_rejoin") }) })
	}
}

func readHex(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	out, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestVectorKeyPackages(t *testing.T) {
	for _, file := range []string{"rust-keypackage.hex", "rust-keypackage-2.hex", "rust-rejoin-keypackage.hex"} {
		wire := readHex(t, file)
		m, l, err := ParseKeyPackage(wire)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if err := verifyToken(m, Adding); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if l.NotAfter-l.NotBefore != 31536000 {
			t.Errorf("%s: lifetime %d", file, l.NotAfter-l.NotBefore)
		}
	}
}

func TestVectorsParse(t *testing.T) {
	for _, file := range []string{"rust-welcome-first-member.hex", "rust-welcome-second-member.hex", "rust-rejoin-welcome.hex"} {
		r, err := open(readHex(t, file), formatWelcome)
		if err != nil {
			t.Fatal(err)
		}
		if w := r.welcome(); !r.done() || len(w.entries) != 1 || w.suite != 2 {
			t.Errorf("%s: not understood", file)
		}
	}
	tests := []struct {
		file          string
		adds, removes int
		path          bool
		epoch         uint64
	}{
		{file: "rust-commit-add.hex", adds: 1, epoch: 1},
		{file: "rust-commit-remove.hex", removes: 1, path: true, epoch: 2},
		{file: "rust-commit-rejoin.hex", adds: 1, removes: 1, path: true},
	}
	for _, tt := range tests {
		r, err := open(readHex(t, tt.file), formatPublic)
		if err != nil {
			t.Fatal(err)
		}
		c, err := r.commitMessage()
		if err != nil {
			t.Errorf("%s: %v", tt.file, err)
			continue
		}
		if len(c.adds) != tt.adds || len(c.removes) != tt.removes || (c.path != nil) != tt.path || tt.epoch != 0 && c.epoch != tt.epoch {
			t.Errorf("%s: %d adds, %d removes, epoch %d", tt.file, len(c.adds), len(c.removes), c.epoch)
		}
		for _, k := range c.adds {
			if err := k.check(); err != nil {
				t.Errorf("%s: %v", tt.file, err)
			}
		}
		if tt.file == "rust-commit-add.hex" && !bytes.Equal(c.adds[0].raw, readHex(t, "rust-keypackage-2.hex")[headerSize:]) {
			t.Error("the added key package is another")
		}
	}
	r, err := open(readHex(t, "rust-private-message.hex"), formatPrivate)
	if err != nil {
		t.Fatal(err)
	}
	if p := r.private(); !r.done() || p.epoch != 2 || p.content != contentApp {
		t.Error("private message is not understood")
	}
}
