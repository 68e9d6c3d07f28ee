package mls

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"testing"
)

// commitDraft is a commit of a member that does not keep the rules: the change
// is applied to the tree without checks. Its group stays in its epoch.
//
// encode derives what is not set: raw from content, that from proposals and
// update, the signature, the confirmation tag over it, the membership tag over
// both.
type commitDraft struct {
	from *Group

	version, format uint16 // of the MLSMessage
	groupID         []byte
	epoch           uint64
	senderType      uint8
	sender          uint32
	aad             []byte
	kind            uint8
	proposals       []*proposal
	update          *updatePath
	content         []byte // encoded Commit
	raw             []byte // encoded FramedContent
	signature       []byte

	signer     Signer
	label      string
	signFormat uint16 // wire format and GroupContext that are signed
	signed     []byte

	tree         *tree // after the commit
	added        []uint32
	packs        []*keyPackage
	fresh        *freshPath // nil without a path
	commitSecret secret
	tag          []byte // nil: the right one
	noTag        bool   // no tag, not even an empty one

	membership        []byte  // nil: the right one
	membershipKey     *secret // nil: the epoch's
	membershipContext []byte
}

// draftCommit makes a valid commit out of a valid change, to be changed. bend,
// if not nil, changes the committer's new leaf before it is signed.
func draftCommit(t testing.TB, from *Group, ch Change, bend func(d *leafDraft)) *commitDraft {
	t.Helper()
	e := from.now
	d := &commitDraft{
		from: from, version: version10, format: formatPublic, groupID: e.context.groupID, epoch: e.context.epoch,
		senderType: senderMember, sender: from.self, kind: contentCommit,
		signer: from.config.Signer, label: "FramedContentTBS", signFormat: formatPublic, signed: e.raw,
		tree: e.tree.clone(), membershipContext: e.raw,
	}
	for _, i := range ch.Remove {
		if d.tree.leaf(i) != nil {
			d.tree.remove(i)
		}
	}
	d.tree.shrink()
	for _, wire := range ch.Add {
		k, err := parseKeyPackage(wire)
		if err != nil {
			t.Fatal(err)
		}
		i, err := d.tree.add(k.leaf.clone())
		if err != nil {
			t.Fatal(err)
		}
		d.added, d.packs = append(d.added, i), append(d.packs, k)
		d.proposals = append(d.proposals, &proposal{kind: proposalAdd, add: k})
	}
	for _, i := range ch.Remove {
		d.proposals = append(d.proposals, &proposal{kind: proposalRemove, remove: i})
	}
	if ch.Path {
		d.makePath(t, bend)
	}
	return d
}

func (d *commitDraft) makePath(t testing.TB, bend func(*leafDraft)) {
	t.Helper()
	g := d.from
	own := d.tree.leaf(g.self)
	n := newLeaf{credential: own.credential, source: sourceCommit, groupID: d.groupID, index: g.self}
	var err error
	if d.fresh, err = d.tree.freshPath(n, g.config.Signer, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if bend != nil {
		leaf := draftLeaf(d.fresh.leaf, g.config.Signer, d.groupID, g.self)
		bend(&leaf)
		d.fresh.leaf = leaf.leaf(t)
		d.tree.setLeaf(g.self, d.fresh.leaf)
	}
	d.commitSecret = d.fresh.commit
	d.seal(t, d.context())
}

// seal encrypts the path secrets anew.
func (d *commitDraft) seal(t testing.TB, context groupContext) {
	t.Helper()
	var err error
	if d.update, err = d.fresh.seal(d.tree, context.encode(), d.added); err != nil {
		t.Fatal(err)
	}
}

// context is the one that path secrets are encrypted with.
func (d *commitDraft) context() groupContext { return d.from.now.nextContext(d.tree) }

// head is the FramedContent without the content.
func (d *commitDraft) head() []byte {
	b := appendVec(nil, d.groupID)
	b = append(binary.BigEndian.AppendUint64(b, d.epoch), d.senderType)
	if d.senderType == senderMember || d.senderType == senderExternal {
		b = binary.BigEndian.AppendUint32(b, d.sender)
	}
	return append(appendVec(b, d.aad), d.kind)
}

// body is the encoded Commit.
func (d *commitDraft) body() []byte {
	c := commit{proposals: d.proposals, path: d.update}
	return c.append(nil)
}

func (d *commitDraft) encode(t testing.TB) []byte {
	t.Helper()
	message, _ := d.finish(t)
	return message
}

// finish also returns the schedule of the epoch that the commit leads to.
func (d *commitDraft) finish(t testing.TB) ([]byte, *schedule) {
	t.Helper()
	raw, signature := d.raw, d.signature
	if raw == nil {
		content := d.content
		if content == nil {
			content = d.body()
		}
		raw = slices.Concat(d.head(), content)
	}
	head := header(version10, d.signFormat)
	if signature == nil {
		signature = mustSign(t, d.signer, d.label, slices.Concat(head, raw, d.signed))
	}
	next := d.context()
	transcript := binary.BigEndian.AppendUint16(nil, formatPublic)
	transcript = appendVec(append(transcript, raw...), signature)
	confirmed := confirmedHash(d.from.now.interim[:], transcript)
	next.confirmed = confirmed[:]
	s := d.from.now.advance(&d.commitSecret, &secret{}, &next)

	auth := appendVec(nil, signature)
	switch {
	case d.noTag:
	case d.tag != nil:
		auth = appendVec(auth, d.tag)
	case d.kind == contentCommit:
		auth = appendVec(auth, s.tag[:])
	}
	membership := d.membership
	if membership == nil {
		key := d.membershipKey
		if key == nil {
			key = &d.from.now.secrets.membership
		}
		tag := mac(key[:], header(version10, formatPublic), raw, d.membershipContext, auth)
		membership = tag[:]
	}
	return slices.Concat(header(d.version, d.format), raw, auth, appendVec(nil, membership)), &s
}

// messageDraft is a PrivateMessage.
type messageDraft struct {
	version, format uint16
	groupID         []byte
	epoch           uint64
	kind            uint8
	aad             []byte

	head       []byte // instead of group id, epoch and kind, if not nil
	content    []byte // encoded content
	signature  []byte // nil: the right one
	tag        []byte // confirmation tag behind it, if not nil
	padding    []byte
	inner      []byte // instead of the three above, if not nil
	ciphertext []byte // instead of the encrypted inner, if not nil
	tail       []byte // behind the sender data
	senderData []byte // in clear, instead of what follows and tail, if not nil

	sender     uint32
	generation uint32
	key        messageKey
	guard      [4]byte
	senderKey  *secret

	signer     Signer
	label      string
	signFormat uint16
	signed     []byte // GroupContext
	signedAAD  []byte // nil: aad; likewise below
	sealedAAD  []byte // PrivateContentAAD
	senderAAD  []byte // SenderDataAAD
}

// draftMessage makes an application message of a member so many generations
// from now on. The member's group does not notice.
func draftMessage(t testing.TB, from *Group, text string, ahead uint32) *messageDraft {
	t.Helper()
	copied := twin(t, from)
	var key messageKey
	for range ahead + 1 {
		var err error
		if key, err = copied.now.messages.next(from.self); err != nil {
			t.Fatal(err)
		}
	}
	e := from.now
	return &messageDraft{
		version: version10, format: formatPrivate, groupID: e.context.groupID, epoch: e.context.epoch, kind: contentApp,
		aad: []byte("aad"), content: appendVec(nil, []byte(text)), padding: make([]byte, 16),
		sender: from.self, generation: key.generation, key: key, guard: [4]byte{1, 2, 3, 4}, senderKey: &e.secrets.senderData,
		signer: from.config.Signer, label: "FramedContentTBS", signFormat: formatPrivate, signed: e.raw,
	}
}

// senderHead is the SenderDataAAD that the message's head stands for.
func (d *messageDraft) senderHead() []byte {
	if d.head != nil {
		return d.head
	}
	b := binary.BigEndian.AppendUint64(appendVec(nil, d.groupID), d.epoch)
	return append(b, d.kind)
}

func or(b, otherwise []byte) []byte {
	if b == nil {
		return otherwise
	}
	return b
}

// tbs is the FramedContentTBS.
func (d *messageDraft) tbs() []byte {
	b := appendVec(header(version10, d.signFormat), d.groupID)
	b = append(binary.BigEndian.AppendUint64(b, d.epoch), senderMember)
	b = binary.BigEndian.AppendUint32(b, d.sender)
	b = append(appendVec(b, or(d.signedAAD, d.aad)), d.kind)
	return slices.Concat(b, d.content, d.signed)
}

func (d *messageDraft) encode(t testing.TB) []byte {
	t.Helper()
	head := d.senderHead()
	contentHead := appendVec(slices.Clone(head), d.aad)
	signature := d.signature
	if signature == nil {
		signature = mustSign(t, d.signer, d.label, d.tbs())
	}
	inner := d.inner
	if inner == nil {
		inner = appendVec(slices.Clone(d.content), signature)
		if d.tag != nil {
			inner = appendVec(inner, d.tag)
		}
		inner = append(inner, d.padding...)
	}
	key := d.key
	key.guard(d.guard)
	ciphertext := d.ciphertext
	if ciphertext == nil {
		ciphertext = aeadSeal(nil, &key.key, &key.nonce, inner, or(d.sealedAAD, contentHead))
	}
	plain := binary.BigEndian.AppendUint32(nil, d.sender)
	plain = binary.BigEndian.AppendUint32(plain, d.generation)
	plain = or(d.senderData, slices.Concat(plain, d.guard[:], d.tail))
	dataKey, dataNonce := senderDataKey(d.senderKey, ciphertext)
	senderData := aeadSeal(nil, &dataKey, &dataNonce, plain, or(d.senderAAD, head))
	return slices.Concat(header(d.version, d.format), contentHead, appendVec(nil, senderData), appendVec(nil, ciphertext))
}
