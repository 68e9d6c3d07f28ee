package mls

import (
	"bytes"
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
)

// captured is a member of a group of real peers: it joins and follows. See
// testdata/README.md.
type captured struct {
	CipherSuite    Suite          `json:"cipher_suite"` // absent: P256
	KeyPackage     hexBytes       `json:"key_package"`
	Init           hexBytes       `json:"init_private_key"`
	InitSeed       hexBytes       `json:"init_ikm"` // mls-rs only, as all seeds
	Encryption     hexBytes       `json:"encryption_private_key"`
	EncryptionSeed hexBytes       `json:"encryption_ikm"`
	Signature      hexBytes       `json:"signature_private_key"`
	SignatureKey   hexBytes       `json:"signature_public_key"`
	Welcome        hexBytes       `json:"welcome"`
	GroupID        hexBytes       `json:"group_id"`
	Epoch          uint64         `json:"epoch_after_welcome"`
	Authenticator  hexBytes       `json:"epoch_authenticator_after_welcome"`
	Steps          []capturedStep `json:"steps"`

	slim bool // credentials are tokens, plaintexts are text
}

type capturedStep struct {
	Kind          string   `json:"kind"`
	Hex           hexBytes `json:"hex"`
	EpochAfter    uint64   `json:"epoch_after"`
	Authenticator hexBytes `json:"epoch_authenticator"`
	Plaintext     string   `json:"plaintext"`
	AAD           hexBytes `json:"aad"`
	Sender        uint32   `json:"sender_leaf"`
	Epoch         uint64   `json:"epoch"`
}

func readCaptured(t testing.TB, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

// allCaptured reads every vector with private keys, by name.
func allCaptured(t testing.TB) map[string]*captured {
	t.Helper()
	all := map[string]*captured{}
	for _, file := range []string{"mls-join-p2p", "mls-join-group", "mls-join-path-welcome", "mls-join-observe-rejoin"} {
		v := &captured{slim: true}
		readCaptured(t, file+".json", v)
		all[file] = v
	}
	for _, file := range []string{"mls-rs-suite-1", "mls-rs-suite-2"} {
		joiners := map[string]*captured{}
		readCaptured(t, file+".json", &joiners)
		for name, v := range joiners {
			all[file+" "+name] = v
		}
	}
	ninth := &captured{}
	readCaptured(t, "join-valid-tree-refused-by-mls-rs.json", ninth)
	all["join-valid-tree-refused-by-mls-rs"] = ninth
	for _, v := range all {
		if v.CipherSuite == 0 {
			v.CipherSuite = P256
		}
	}
	return all
}

// config is the joiner's, with real token checks where there are tokens.
func (v *captured) config(t testing.TB) Config {
	t.Helper()
	signer, err := NewSigner(v.CipherSuite, v.Signature)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(signer.Public(), v.SignatureKey) {
		t.Fatal("signature key is another")
	}
	c := Config{
		Suite: v.CipherSuite, Signer: signer, Credential: []byte("unused"),
		Verify:  func(Member, Reason) error { return nil },
		Subject: func(m Member) (string, error) { return string(m.Credential), nil },
	}
	if v.slim {
		c.Verify = verifyToken
		c.Subject = func(m Member) (string, error) {
			subject, _, _ := strings.Cut(string(m.Credential), ":")
			return subject, nil
		}
	}
	return c
}

// verifyToken checks a token of the captured groups: its MAC and the key that
// it names, not its age.
func verifyToken(m Member, _ Reason) error {
	parts := strings.Split(string(m.Credential), ":")
	if len(parts) != 5 {
		return errors.New("no token")
	}
	h := hmac.New(sha256.New, bytes.Repeat([]byte("x"), 40))
	h.Write([]byte(strings.Join(parts[:4], ":")))
	if base64.RawURLEncoding.EncodeToString(h.Sum(nil)) != parts[4] {
		return errors.New("wrong MAC")
	}
	claims := `{"pubkey":"` + base64.StdEncoding.EncodeToString(m.SignatureKey) + `"}`
	if base64.RawURLEncoding.EncodeToString([]byte(claims)) != parts[3] {
		return errors.New("token of another key")
	}
	return nil
}

func (v *captured) pending(t testing.TB) *Pending {
	t.Helper()
	if _, _, err := ParseKeyPackage(v.KeyPackage); err != nil {
		t.Fatal(err)
	}
	pack, err := parseKeyPackage(v.KeyPackage)
	if err != nil {
		t.Fatal(err)
	}
	return &Pending{pack: pack, init: bytes.Clone(v.Init), enc: bytes.Clone(v.Encryption)}
}

// replay joins and goes through all steps. With reload the group is saved and
// loaded before each.
func (v *captured) replay(t testing.TB, reload bool) *Group {
	t.Helper()
	c, p := v.config(t), v.pending(t)
	g, err := Join(c, p, v.Welcome)
	if err != nil {
		t.Fatalf("join: %v", err)
	}
	if g.Epoch() != v.Epoch || !bytes.Equal(g.Authenticator(), v.Authenticator) || !bytes.Equal(g.ID(), v.GroupID) {
		t.Fatal("other state after the welcome")
	}
	if _, err := Join(c, p, v.Welcome); !errors.Is(err, ErrInvalidTree) {
		t.Errorf("second join: %v", err)
	}
	for i, s := range v.Steps {
		if reload {
			g = twin(t, g)
		}
		g.replayStep(t, i, s, v.slim)
		if err := g.consistent(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	return g
}

func (g *Group) replayStep(t testing.TB, i int, s capturedStep, slim bool) {
	t.Helper()
	if s.Kind == "commit" {
		if _, err := g.Process(s.Hex); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if g.Epoch() != s.EpochAfter || !bytes.Equal(g.Authenticator(), s.Authenticator) {
			t.Fatalf("step %d: other state", i)
		}
		if _, err := g.Process(s.Hex); !errors.Is(err, ErrWrongEpoch) {
			t.Errorf("step %d again: %v", i, err)
		}
		return
	}
	want := []byte(s.Plaintext)
	if !slim {
		var err error
		if want, err = hex.DecodeString(s.Plaintext); err != nil {
			t.Fatal(err)
		}
	}
	m, err := g.Unprotect(s.Hex)
	if err != nil {
		t.Fatalf("step %d: %v", i, err)
	}
	if !bytes.Equal(m.Plaintext, want) || !bytes.Equal(m.AAD, s.AAD) || m.Sender.Leaf != s.Sender || m.Epoch != s.Epoch {
		t.Errorf("step %d: %q of leaf %d, epoch %d", i, m.Plaintext, m.Sender.Leaf, m.Epoch)
	}
	if _, err := g.Unprotect(s.Hex); !errors.Is(err, ErrReplay) {
		t.Errorf("step %d again: %v", i, err)
	}
}

func TestCapturedGroups(t *testing.T) {
	all := allCaptured(t)
	commits, messages := 0, 0
	for name, v := range all {
		for _, s := range v.Steps {
			if s.Kind == "commit" {
				commits++
			} else {
				messages++
			}
		}
		t.Run(name, func(t *testing.T) {
			state := stateOf(t, v.replay(t, false))
			if !bytes.Equal(stateOf(t, v.replay(t, true)), state) {
				t.Error("reloading leads to another state")
			}
		})
	}
	t.Logf("%d joins, %d commits, %d messages, each with and without reloads", len(all), commits, messages)
	if len(all) != 9 || commits != 22 || messages != 30 {
		t.Error("other counts than expected")
	}
}

// TestCapturedMessages writes every captured message back from its fields.
func TestCapturedMessages(t *testing.T) {
	n := 0
	for name, v := range allCaptured(t) {
		t.Run(name, func(t *testing.T) {
			reencode(t, v.KeyPackage)
			reencode(t, v.Welcome)
			reencodeInside(t, suiteOf(v.CipherSuite), v.pending(t), v.Welcome)
			n += 2
			for _, s := range v.Steps {
				reencode(t, s.Hex)
				n++
			}
		})
	}
	for _, file := range []string{
		"rust-keypackage", "rust-keypackage-2", "rust-rejoin-keypackage", "rust-welcome-first-member",
		"rust-welcome-second-member", "rust-rejoin-welcome", "rust-commit-add", "rust-commit-remove",
		"rust-commit-rejoin", "rust-private-message",
	} {
		t.Run(file, func(t *testing.T) { reencode(t, readHex(t, file+".hex")) })
		n++
	}
	t.Logf("%d messages", n)
	if n != 80 {
		t.Error("other count than expected")
	}
}

// TestCapturedSeeds derives the HPKE keys of mls-rs from its seeds.
func TestCapturedSeeds(t *testing.T) {
	n := 0
	for name, v := range allCaptured(t) {
		for seed, want := range map[*hexBytes]hexBytes{&v.InitSeed: v.Init, &v.EncryptionSeed: v.Encryption} {
			if len(*seed) == 0 {
				continue
			}
			ikm := secret(*seed)
			_, public, err := suiteOf(v.CipherSuite).deriveKeyPair(&ikm)
			if err != nil {
				t.Fatal(err)
			}
			// mls-rs keeps X25519 keys with the bits set that Go sets in use.
			private, err := suiteOf(v.CipherSuite).parsePrivate(want)
			if err != nil || !bytes.Equal(private.PublicKey().Bytes(), public) {
				t.Errorf("%s: other private key, %v", name, err)
			}
			if !bytes.Contains(v.KeyPackage, public) {
				t.Errorf("%s: other public key", name)
			}
			n++
		}
	}
	t.Logf("%d key pairs", n)
	if n != 10 {
		t.Error("other count than expected")
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

func TestCapturedKeyPackages(t *testing.T) {
	for _, file := range []string{"rust-keypackage.hex", "rust-keypackage-2.hex", "rust-rejoin-keypackage.hex"} {
		m, l, err := ParseKeyPackage(readHex(t, file))
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

// TestCapturedSingleMessages reads messages whose keys we do not have, and
// verifies the signatures that need none.
func TestCapturedSingleMessages(t *testing.T) {
	for _, file := range []string{"rust-welcome-first-member.hex", "rust-welcome-second-member.hex", "rust-rejoin-welcome.hex"} {
		if w, err := readWelcome(readHex(t, file)); err != nil || len(w.entries) != 1 || w.suite != uint16(P256) {
			t.Errorf("%s: not understood: %v", file, err)
		}
	}
	tests := []struct {
		file          string
		adds, removes int
		path          bool
		epoch         uint64 // 0: not known
	}{
		{file: "rust-commit-add.hex", adds: 1, epoch: 1},
		{file: "rust-commit-remove.hex", removes: 1, path: true, epoch: 2},
		{file: "rust-commit-rejoin.hex", adds: 1, removes: 1, path: true},
	}
	for _, tt := range tests {
		f, err := readPublic(readHex(t, tt.file))
		if err != nil {
			t.Errorf("%s: %v", tt.file, err)
			continue
		}
		adds, removes := f.commit.count()
		if adds != tt.adds || removes != tt.removes || (f.commit.path != nil) != tt.path || tt.epoch != 0 && f.epoch != tt.epoch {
			t.Errorf("%s: %d adds, %d removes, epoch %d", tt.file, adds, removes, f.epoch)
		}
		for _, p := range f.commit.proposals {
			if p.kind != proposalAdd {
				continue
			}
			if err := p.add.check(suiteP256); err != nil {
				t.Errorf("%s: %v", tt.file, err)
			}
			if tt.file == "rust-commit-add.hex" && !bytes.Equal(p.add.raw, readHex(t, "rust-keypackage-2.hex")[headerSize:]) {
				t.Error("the added key package is another")
			}
		}
		if f.commit.path != nil {
			l := f.commit.path.leaf
			if err := l.check(suiteP256); err != nil || !l.verify(f.groupID, f.sender) || l.source != sourceCommit {
				t.Errorf("%s: leaf of the path: %v", tt.file, err)
			}
		}
	}
	p, err := readPrivate(readHex(t, "rust-private-message.hex"))
	if err != nil || p.epoch != 2 || p.kind != contentApp {
		t.Errorf("private message is not understood: %v", err)
	}
}
