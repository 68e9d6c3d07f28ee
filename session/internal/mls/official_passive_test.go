package mls

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// passiveClient is an entry of the passive-client-*.json files: a member that
// only joins and follows.
type passiveClient struct {
	CipherSuite  Suite `json:"cipher_suite"`
	ExternalPSKs []struct {
		ID  hexBytes `json:"psk_id"`
		PSK hexBytes `json:"psk"`
	} `json:"external_psks"`
	KeyPackage           hexBytes       `json:"key_package"`
	SignaturePriv        hexBytes       `json:"signature_priv"`
	EncryptionPriv       hexBytes       `json:"encryption_priv"`
	InitPriv             hexBytes       `json:"init_priv"`
	Welcome              hexBytes       `json:"welcome"`
	RatchetTree          hexBytes       `json:"ratchet_tree"`
	InitialAuthenticator hexBytes       `json:"initial_epoch_authenticator"`
	Epochs               []passiveEpoch `json:"epochs"`
}

type passiveEpoch struct {
	Proposals     []hexBytes `json:"proposals"`
	Commit        hexBytes   `json:"commit"`
	Authenticator hexBytes   `json:"epoch_authenticator"`
}

func (v *passiveClient) config(t testing.TB) Config {
	t.Helper()
	signer, err := NewSigner(v.CipherSuite, v.SignaturePriv)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Suite: v.CipherSuite, Signer: signer, Credential: []byte("unused"),
		Verify:  func(Member, Reason) error { return nil },
		Subject: func(m Member) (string, error) { return string(m.Credential), nil },
	}
}

func (v *passiveClient) pending(t testing.TB) *Pending {
	t.Helper()
	pack, err := parseKeyPackage(v.KeyPackage)
	if err != nil {
		t.Fatal(err)
	}
	if err := pack.check(suiteOf(v.CipherSuite)); err != nil {
		t.Fatal(err)
	}
	return &Pending{pack: pack, init: bytes.Clone(v.InitPriv), enc: bytes.Clone(v.EncryptionPriv)}
}

// groupSecretsOf decrypts the GroupSecrets of a Welcome that are for p.
func groupSecretsOf(t testing.TB, p *Pending, message []byte) []byte {
	t.Helper()
	w, err := readWelcome(message)
	if err != nil {
		t.Fatal(err)
	}
	ref := p.pack.ref()
	for _, e := range w.entries {
		if !bytes.Equal(e.ref, ref[:]) {
			continue
		}
		plain, err := suiteOf(Suite(w.suite)).open(p.init, "Welcome", w.info, e.secrets.enc, e.secrets.ciphertext)
		if err != nil {
			t.Fatal(err)
		}
		return plain
	}
	t.Fatal("welcome has no entry for us")
	return nil
}

// pskIDs returns the encoded PreSharedKeyIDs of GroupSecrets, and the ids of
// the external pre-shared keys that they name.
func pskIDs(t testing.TB, secrets []byte) (encoded, ids [][]byte) {
	t.Helper()
	r := &reader{b: secrets}
	r.vec(hashSize)
	if r.optional() {
		r.vec(hashSize)
	}
	r.each(16, func(r *reader) {
		start := r.b
		if r.u8() != 1 {
			t.Fatal("not an external pre-shared key")
		}
		ids = append(ids, r.vec(maxMessage))
		r.vec(maxMessage) // nonce
		encoded = append(encoded, start[:len(start)-len(r.b)])
	})
	if !r.done() {
		t.Fatal("group secrets are not understood")
	}
	return encoded, ids
}

// pskSecret is the psk_secret of a Welcome (RFC 9420 section 8.4).
func (v *passiveClient) pskSecret(t testing.TB, p *Pending) (out secret, used bool) {
	t.Helper()
	encoded, ids := pskIDs(t, groupSecretsOf(t, p, v.Welcome))
	for i, id := range ids {
		var key []byte
		for _, k := range v.ExternalPSKs {
			if bytes.Equal(k.ID, id) {
				key = k.PSK
			}
		}
		extracted := secret(mac(make([]byte, hashSize), key))
		label := binary.BigEndian.AppendUint16(bytes.Clone(encoded[i]), uint16(i))
		label = binary.BigEndian.AppendUint16(label, uint16(len(ids)))
		var input secret
		expandWithLabel(&extracted, "derived psk", label, input[:])
		out = extract(&input, &out)
	}
	return out, len(ids) > 0
}

// join joins with all hooks that the vector needs, after the plain Join has
// refused the vector if it needs any.
func (v *passiveClient) join(t testing.TB, updates bool) *Group {
	t.Helper()
	config, p := v.config(t), v.pending(t)
	how := joining{tree: v.RatchetTree, updates: updates}
	how.psk, how.hasPSKs = v.pskSecret(t, p)
	if how.hasPSKs || how.tree != nil {
		if _, err := Join(config, p, v.Welcome); !errors.Is(err, ErrUnsupported) {
			t.Fatalf("plain join: got %v", err)
		}
	}
	g, err := join(config, p, v.Welcome, how)
	if err != nil {
		t.Fatalf("join: %v", err)
	}
	if !bytes.Equal(g.Authenticator(), v.InitialAuthenticator) {
		t.Fatal("other authenticator after the welcome")
	}
	if err := g.consistent(); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestOfficialPassiveWelcome(t *testing.T) {
	var vectors []passiveClient
	official(t, "passive-client-welcome", &vectors)
	var plain, outOfBand, psk int
	for i := range vectors {
		v := &vectors[i]
		v.join(t, false)
		_, used := v.pskSecret(t, v.pending(t))
		switch {
		case used:
			psk++
		case v.RatchetTree != nil:
			outOfBand++
		default:
			plain++
		}
	}
	t.Logf("%d joined: %d plain, %d with the tree out of band, %d with a pre-shared key", len(vectors), plain, outOfBand, psk)
	if plain != 4 || outOfBand != 4 || psk != 8 {
		t.Error("other counts than expected")
	}
}

// proposalsOf verifies proposal messages of the current epoch and returns the
// lookup of them. ok is false if one is of a type that is not supported.
func (g *Group) proposalsOf(t testing.TB, messages []hexBytes) (find lookup, ok bool) {
	t.Helper()
	byRef := map[string]sent{}
	ok = true
	for _, message := range messages {
		f, err := readPublic(message)
		if errors.Is(err, ErrUnsupported) {
			ok = false
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := f.verify(&g.now.secrets.membership, g.now.raw, g.now.tree.leaf(f.sender).verifier); err != nil {
			t.Fatal(err)
		}
		content := binary.BigEndian.AppendUint16(nil, f.format)
		content = appendVec(append(content, f.raw...), f.signature)
		ref := refHash("MLS 1.0 Proposal Reference", content)
		byRef[string(ref[:])] = sent{proposal: f.proposal, by: f.sender}
	}
	return func(ref []byte) (sent, bool) {
		s, ok := byRef[string(ref)]
		return s, ok
	}, ok
}

func TestOfficialPassiveCommits(t *testing.T) {
	var vectors []passiveClient
	official(t, "passive-client-handling-commit", &vectors)
	var followed, byReference, refused int
	perSuite := map[Suite]int{}
	for i := range vectors {
		v := &vectors[i]
		n := perSuite[v.CipherSuite]
		perSuite[v.CipherSuite]++
		g := v.join(t, false)
		for k, e := range v.Epochs {
			find, known := g.proposalsOf(t, e.Proposals)
			before := stateOf(t, g)
			if len(e.Proposals) > 0 {
				if _, err := g.Process(e.Commit); !errors.Is(err, ErrUnsupported) {
					t.Errorf("entry %d commit %d without lookup: got %v", i, k, err)
				}
			}
			_, err := g.process(e.Commit, received{find: find})
			// Add, Remove inline; Add, Update, Remove by reference.
			if k == 0 || slices.Contains([]int{0, 1, 6, 7, 8}, n) {
				followed++
				if len(e.Proposals) > 0 {
					byReference++
				}
				if err != nil {
					t.Errorf("entry %d commit %d: %v", i, k, err)
				} else if !bytes.Equal(g.Authenticator(), e.Authenticator) {
					t.Errorf("entry %d commit %d: other authenticator", i, k)
				} else if err := g.consistent(); err != nil {
					t.Errorf("entry %d commit %d: %v", i, k, err)
				}
				continue
			}
			refused++
			want := ErrUnsupported // the type of a proposal
			if !known {
				want = ErrInvalidCommit // it refers to what we could not read
			}
			if !errors.Is(err, want) {
				t.Errorf("entry %d commit %d: got %v", i, k, err)
			}
			if !bytes.Equal(stateOf(t, g), before) {
				t.Errorf("entry %d commit %d: refused, but the group has changed", i, k)
			}
		}
	}
	t.Logf("%d clients, %d commits followed, %d of them by reference, %d refused", len(vectors), followed, byReference, refused)
	if len(vectors) != 26 || followed != 36 || byReference != 6 || refused != 16 {
		t.Error("other counts than expected")
	}
}

// TestOfficialPassiveRandom follows one group through 200 commits.
func TestOfficialPassiveRandom(t *testing.T) {
	var vectors []passiveClient
	official(t, "passive-client-random", &vectors)
	epochs, byReference, committers := 0, 0, map[uint32]bool{}
	for i := range vectors {
		v := &vectors[i]
		g := v.join(t, true)
		for k, e := range v.Epochs {
			find, _ := g.proposalsOf(t, e.Proposals)
			delta, err := g.process(e.Commit, received{find: find})
			if err != nil {
				t.Fatalf("epoch %d: %v", k, err)
			}
			if !bytes.Equal(g.Authenticator(), e.Authenticator) {
				t.Fatalf("epoch %d: other authenticator", k)
			}
			if k%10 == 9 { // each validates the whole tree
				if err := g.consistent(); err != nil {
					t.Fatalf("epoch %d: %v", k, err)
				}
				state := stateOf(t, g)
				g = twin(t, g)
				if !bytes.Equal(stateOf(t, g), state) {
					t.Fatalf("epoch %d: state does not survive", k)
				}
			}
			epochs++
			byReference += len(e.Proposals)
			committers[delta.Committer.Leaf] = true
		}
	}
	t.Logf("%d epochs, %d committers, %d proposals by reference", epochs, len(committers), byReference)
	if epochs != 200 || len(committers) != 51 {
		t.Error("other counts than expected")
	}
}
