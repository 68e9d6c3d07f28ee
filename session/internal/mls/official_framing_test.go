package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

// messageProtection is an entry of message-protection.json: leaf 1 of a group
// of two sends.
type messageProtection struct {
	CipherSuite     Suite    `json:"cipher_suite"`
	GroupID         hexBytes `json:"group_id"`
	Epoch           uint64   `json:"epoch"`
	TreeHash        hexBytes `json:"tree_hash"`
	Confirmed       hexBytes `json:"confirmed_transcript_hash"`
	SignaturePriv   hexBytes `json:"signature_priv"`
	SignaturePub    hexBytes `json:"signature_pub"`
	Encryption      hexBytes `json:"encryption_secret"`
	SenderData      hexBytes `json:"sender_data_secret"`
	MembershipKey   hexBytes `json:"membership_key"`
	Proposal        hexBytes `json:"proposal"`
	ProposalPriv    hexBytes `json:"proposal_priv"`
	ProposalPub     hexBytes `json:"proposal_pub"`
	Commit          hexBytes `json:"commit"`
	CommitPriv      hexBytes `json:"commit_priv"`
	CommitPub       hexBytes `json:"commit_pub"`
	Application     hexBytes `json:"application"`
	ApplicationPriv hexBytes `json:"application_priv"`
}

const protectionSender = 1

// group is the epoch of the vector as one of the two leaves sees it. Its tree
// has only what messages need.
func (v *messageProtection) group(t testing.TB, self uint32) *Group {
	t.Helper()
	s := suiteOf(v.CipherSuite)
	signer, err := NewSigner(v.CipherSuite, v.SignaturePriv)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(signer.Public(), v.SignaturePub) {
		t.Fatal("signature key is another")
	}
	tr := newTree(s, &leafNode{})
	tr.resize(2)
	verifier, err := s.parseVerifyKey(v.SignaturePub)
	if err != nil {
		t.Fatal(err)
	}
	tr.setLeaf(protectionSender, &leafNode{signatureKey: v.SignaturePub, verifier: verifier})
	e := &epoch{
		context: groupContext{suite: v.CipherSuite, groupID: v.GroupID, epoch: v.Epoch, treeHash: [hashSize]byte(v.TreeHash), confirmed: v.Confirmed},
		tree:    tr,
	}
	e.raw = e.context.encode()
	e.secrets.senderData, e.secrets.membership = secret(v.SenderData), secret(v.MembershipKey)
	encryption := secret(v.Encryption)
	e.messages = newSecretTree(&encryption, 2)
	return &Group{config: Config{Suite: v.CipherSuite, Signer: signer}, suite: s, self: self, now: e}
}

// The commits of the vectors hold a pre-shared key proposal, which the core
// refuses to read. Their framing is tested with the content left unread: its
// size is known.

// openPublic reads and verifies a PublicMessage with size bytes of content.
func (g *Group) openPublic(t testing.TB, message []byte, size int) (f *framed, content []byte) {
	t.Helper()
	r, err := open(message, formatPublic)
	if err != nil {
		t.Fatal(err)
	}
	start := r.b
	f = r.head(formatPublic)
	content = r.take(size)
	f.raw = start[:len(start)-len(r.b)]
	r.auth(f)
	f.membership = r.vec(hashSize)
	if !r.done() || f.sender != protectionSender {
		t.Fatal("public message is not understood")
	}
	if err := f.verify(&g.now.secrets.membership, g.now.raw, g.now.tree.leaf(f.sender).verifier); err != nil {
		t.Error(err)
	}
	return f, content
}

// openPrivate decrypts and verifies a proposal or commit sent as
// PrivateMessage, which the core never accepts.
func (g *Group) openPrivate(t testing.TB, message []byte, size int) (f *framed, content []byte) {
	t.Helper()
	if _, err := g.Unprotect(message); !errors.Is(err, ErrUnsupported) {
		t.Errorf("handshake in a private message: got %v", err)
	}
	p, err := readPrivate(message)
	if err != nil {
		t.Fatal(err)
	}
	leaf, generation, guard, ok := p.openSender(&g.now.secrets.senderData)
	if !ok || leaf != protectionSender {
		t.Fatal("sender data cannot be opened")
	}
	key, step, err := g.now.messages.peekKind(handshakeRatchet, leaf, generation)
	if err != nil {
		t.Fatal(err)
	}
	g.now.messages.commit(step)
	key.guard(guard)
	plain, ok := aeadOpen(nil, &key.key, &key.nonce, p.ciphertext, p.contentAAD)
	if !ok {
		t.Fatal("content cannot be opened")
	}
	f = &framed{format: formatPrivate, kind: p.kind}
	r := &reader{b: plain}
	content = r.take(size)
	f.raw = append(appendHead(nil, p.groupID, p.epoch, leaf, p.aad, p.kind), content...)
	r.auth(f)
	if r.bad || !onlyZeros(r.b) {
		t.Fatal("content is not understood")
	}
	if !g.now.tree.leaf(leaf).verifier.verify(f.signContent(nil, g.now.raw), f.signature) {
		t.Error("signature is wrong")
	}
	return f, content
}

// newFramed signs a handshake message of the vector's sender.
func (g *Group) newFramed(t testing.TB, format uint16, kind uint8, content []byte) *framed {
	t.Helper()
	f := &framed{format: format, kind: kind}
	f.raw = append(appendHead(nil, g.now.context.groupID, g.now.context.epoch, protectionSender, nil, kind), content...)
	var err error
	if f.signature, err = g.config.Signer.Sign(f.signContent(nil, g.now.raw)); err != nil {
		t.Fatal(err)
	}
	if kind == contentCommit {
		f.confirmation = bytes.Repeat([]byte{7}, hashSize)
	}
	return f
}

// sealHandshake encrypts a handshake message.
func (g *Group) sealHandshake(t testing.TB, f *framed, content []byte) []byte {
	t.Helper()
	o := outgoing{
		groupID: g.now.context.groupID, epoch: g.now.context.epoch, kind: f.kind, sender: protectionSender,
		content: [2][]byte{content}, signature: f.signature, tag: f.confirmation,
	}
	var err error
	if o.key, err = g.now.messages.nextKind(handshakeRatchet, protectionSender); err != nil {
		t.Fatal(err)
	}
	if _, err := rand.Read(o.guard[:]); err != nil {
		t.Fatal(err)
	}
	return o.append(nil, &g.now.secrets.senderData)
}

func (v *messageProtection) testHandshake(t *testing.T, kind uint8, want, public, private []byte) {
	g := v.group(t, 0)
	check := func(what string, f *framed, content []byte) {
		t.Helper()
		if f.kind != kind || !bytes.Equal(content, want) {
			t.Errorf("%s has another content", what)
		}
	}
	f, content := g.openPublic(t, public, len(want))
	check("public message", f, content)
	f, content = g.openPrivate(t, private, len(want))
	check("private message", f, content)

	sender := v.group(t, protectionSender)
	own := sender.newFramed(t, formatPublic, kind, want)
	f, content = g.openPublic(t, own.appendPublic(nil, &sender.now.secrets.membership, sender.now.raw), len(want))
	check("own public message", f, content)
	own = sender.newFramed(t, formatPrivate, kind, want)
	f, content = v.group(t, 0).openPrivate(t, sender.sealHandshake(t, own, want), len(want))
	check("own private message", f, content)
	if !bytes.Equal(f.confirmation, own.confirmation) {
		t.Error("own private message has another confirmation tag")
	}
}

func TestOfficialMessageProtection(t *testing.T) {
	var vectors []messageProtection
	official(t, "message-protection", &vectors)
	for i := range vectors {
		v := &vectors[i]
		v.testHandshake(t, contentProposal, v.Proposal, v.ProposalPub, v.ProposalPriv)
		if f, err := readPublic(v.ProposalPub); err != nil || !bytes.Equal(f.proposal.append(nil), v.Proposal) {
			t.Errorf("public proposal: %v", err)
		}
		v.testHandshake(t, contentCommit, v.Commit, v.CommitPub, v.CommitPriv)
		if _, err := readPublic(v.CommitPub); !errors.Is(err, ErrUnsupported) {
			t.Errorf("commit with a pre-shared key: got %v", err)
		}

		g := v.group(t, 0)
		m, err := g.Unprotect(v.ApplicationPriv)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Plaintext, v.Application) || m.Sender.Leaf != protectionSender || m.Epoch != v.Epoch {
			t.Error("application message has another content")
		}
		own, err := v.group(t, protectionSender).Protect(nil, v.Application, m.AAD, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := v.group(t, 0).Unprotect(own); err != nil || !bytes.Equal(m.Plaintext, v.Application) {
			t.Errorf("own application message: %v", err)
		}

		f := g.newFramed(t, formatPublic, contentApp, appendVec(nil, v.Application))
		if _, err := readPublic(f.appendPublic(nil, &g.now.secrets.membership, g.now.raw)); !errors.Is(err, ErrUnsupported) {
			t.Errorf("public application message: got %v", err)
		}
	}
	t.Logf("%d entries", len(vectors))
	if len(vectors) != 2 {
		t.Error("other count than expected")
	}
}

// TestOfficialWelcome opens Welcomes without knowing the tree.
func TestOfficialWelcome(t *testing.T) {
	var vectors []struct {
		CipherSuite Suite    `json:"cipher_suite"`
		InitPriv    hexBytes `json:"init_priv"`
		KeyPackage  hexBytes `json:"key_package"`
		SignerPub   hexBytes `json:"signer_pub"`
		Welcome     hexBytes `json:"welcome"`
	}
	official(t, "welcome", &vectors)
	for i, v := range vectors {
		s := suiteOf(v.CipherSuite)
		pack, err := parseKeyPackage(v.KeyPackage)
		if err != nil {
			t.Fatal(err)
		}
		j := joiner{suite: s, pending: &Pending{pack: pack, init: v.InitPriv}}
		if err := j.openInfo(v.Welcome); err != nil {
			t.Errorf("entry %d: %v", i, err)
			continue
		}
		signer, err := s.parseVerifyKey(v.SignerPub)
		if err != nil {
			t.Fatal(err)
		}
		if !signer.verifyLabel("GroupInfoTBS", j.info.signed, j.info.signature) {
			t.Errorf("entry %d: signature of the group info is wrong", i)
		}
		j.schedule.derive(&secret{}, &j.info.context)
		if !bytes.Equal(j.schedule.tag[:], j.info.confirmation) {
			t.Errorf("entry %d: other confirmation tag", i)
		}
	}
	t.Logf("%d entries", len(vectors))
	if len(vectors) != 2 {
		t.Error("other count than expected")
	}
}
