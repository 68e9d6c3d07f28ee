package mls

import (
	"bytes"
	"slices"
	"testing"
)

func TestOfficialKeySchedule(t *testing.T) {
	var vectors []struct {
		Suite       Suite    `json:"cipher_suite"`
		GroupID     hexBytes `json:"group_id"`
		InitialInit hexBytes `json:"initial_init_secret"`
		Epochs      []struct {
			TreeHash      hexBytes `json:"tree_hash"`
			Confirmed     hexBytes `json:"confirmed_transcript_hash"`
			CommitSecret  hexBytes `json:"commit_secret"`
			PSK           hexBytes `json:"psk_secret"`
			Context       hexBytes `json:"group_context"`
			Joiner        hexBytes `json:"joiner_secret"`
			Welcome       hexBytes `json:"welcome_secret"`
			Init          hexBytes `json:"init_secret"`
			SenderData    hexBytes `json:"sender_data_secret"`
			Encryption    hexBytes `json:"encryption_secret"`
			Confirmation  hexBytes `json:"confirmation_key"`
			Membership    hexBytes `json:"membership_key"`
			Authenticator hexBytes `json:"epoch_authenticator"`
		}
	}
	official(t, "key-schedule", &vectors)
	epochs := 0
	for _, v := range vectors {
		init := secret(v.InitialInit)
		for i, e := range v.Epochs {
			c := groupContext{suite: v.Suite, groupID: v.GroupID, epoch: uint64(i),
				treeHash: secret(e.TreeHash), confirmed: e.Confirmed}
			context := c.encode()
			commit, psk := secret(e.CommitSecret), secret(e.PSK)
			joiner := joinerSecret(&init, &commit, context)
			member := memberSecret(&joiner, &psk)
			welcome := welcomeSecret(&member)
			epoch := epochSecret(&member, context)
			s := deriveEpoch(&epoch)
			for _, x := range []struct {
				name      string
				got, want []byte
			}{
				{"group context", context, e.Context},
				{"joiner", joiner[:], e.Joiner},
				{"welcome", welcome[:], e.Welcome},
				{"init", s.init[:], e.Init},
				{"sender data", s.senderData[:], e.SenderData},
				{"encryption", s.encryption[:], e.Encryption},
				{"confirmation", s.confirmation[:], e.Confirmation},
				{"membership", s.membership[:], e.Membership},
				{"authenticator", s.authenticator[:], e.Authenticator},
			} {
				if !bytes.Equal(x.got, x.want) {
					t.Errorf("suite %d, epoch %d: %s is %x, want %x", v.Suite, i, x.name, x.got, x.want)
				}
			}
			init = s.init
			epochs++
			if s.wipe(); s != (epochSecrets{}) {
				t.Error("wipe leaves secrets")
			}
		}
	}
	t.Logf("%d vectors, %d epochs", len(vectors), epochs)
}

func TestOfficialTranscriptHashes(t *testing.T) {
	var vectors []struct {
		Key           hexBytes `json:"confirmation_key"`
		Content       hexBytes `json:"authenticated_content"`
		InterimBefore hexBytes `json:"interim_transcript_hash_before"`
		Confirmed     hexBytes `json:"confirmed_transcript_hash_after"`
		InterimAfter  hexBytes `json:"interim_transcript_hash_after"`
	}
	official(t, "transcript-hashes", &vectors)
	for i, v := range vectors {
		// AuthenticatedContent ends with the tag, a vector of 32 bytes; what
		// is before it is the ConfirmedTranscriptHashInput.
		end := len(v.Content) - vecSize(hashSize)
		r := &reader{b: v.Content[end:]}
		tag, key := r.vec(hashSize), secret(v.Key)
		if !r.done() {
			t.Fatalf("vector %d: no tag at the end", i)
		}
		confirmed := confirmedHash(v.InterimBefore, v.Content[:end])
		if !bytes.Equal(confirmed[:], v.Confirmed) {
			t.Errorf("vector %d: confirmed is %x", i, confirmed)
		}
		if got := confirmationTag(&key, confirmed[:]); !bytes.Equal(got[:], tag) {
			t.Errorf("vector %d: tag is %x, want %x", i, got, tag)
		}
		if got := interimHash(confirmed[:], tag); !bytes.Equal(got[:], v.InterimAfter) {
			t.Errorf("vector %d: interim is %x", i, got)
		}
	}
	t.Logf("%d vectors", len(vectors))
}

// TestWelcomeKey spells the two KDFLabels out.
func TestWelcomeKey(t *testing.T) {
	welcome := secret(pattern(32))
	key, nonce := welcomeKey(&welcome)
	wantKey := mac(welcome[:], []byte("\x00\x10\x0bMLS 1.0 key\x00\x01"))
	wantNonce := mac(welcome[:], []byte("\x00\x0c\x0dMLS 1.0 nonce\x00\x01"))
	if !bytes.Equal(key[:], wantKey[:16]) || !bytes.Equal(nonce[:], wantNonce[:12]) {
		t.Errorf("key %x, nonce %x", key, nonce)
	}
}

func sampleContext() groupContext {
	return groupContext{suite: P256, groupID: []byte("group"), epoch: 7,
		treeHash: secret{1}, confirmed: make([]byte, 32)}
}

func TestGroupContextRefuses(t *testing.T) {
	c := sampleContext()
	good := c.encode()
	noID, longID, longHash := sampleContext(), sampleContext(), sampleContext()
	noID.groupID, longID.groupID = nil, make([]byte, maxGroupID+1)
	longHash.confirmed = make([]byte, 31)
	shortTree := slices.Replace(slices.Clone(good), 18, 18+33, append([]byte{31}, make([]byte, 31)...)...)
	for name, b := range map[string][]byte{
		"version":               append([]byte{0, 2}, good[2:]...),
		"no group ID":           noID.encode(),
		"long group ID":         longID.encode(),
		"confirmed of 31 bytes": longHash.encode(),
		"tree hash of 31 bytes": shortTree,
		"cut off":               good[:len(good)-1],
		"empty":                 nil,
	} {
		if r := (&reader{b: b}); readGroupContext(r).epoch > 7 || r.done() {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzGroupContext(f *testing.F) {
	c := sampleContext()
	f.Add(c.encode())
	c.confirmed, c.extensions = nil, []byte{0, 1, 0}
	f.Add(c.encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		r := &reader{b: in}
		c := readGroupContext(r)
		if r.done() && !bytes.Equal(c.encode(), in) {
			t.Errorf("%x is written as %x", in, c.encode())
		}
	})
}
