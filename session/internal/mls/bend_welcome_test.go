package mls

import (
	"encoding/binary"
	"slices"
	"testing"
)

// welcomeDraft is a Welcome for one key package, with the GroupInfo and the
// GroupSecrets inside. Every member's secrets are unknown to the joiner, so the
// draft may take any joiner secret, epoch and transcript.
type welcomeDraft struct {
	version, format uint16 // of the MLSMessage
	suite           uint16
	ref             []byte
	pack            *keyPackage

	joiner      secret
	joinerBytes []byte // instead of joiner, if not nil
	path        []byte // nil: absent
	psks        []byte // content of the list
	secrets     []byte // instead of the four above, if not nil
	info        []byte // instead of all below, if not nil

	contextVersion uint16
	context        groupContext // without the tree hash
	rawContext     []byte       // instead of its encoding, if not nil
	treeHash       []byte       // nil: the right one
	tree           *tree
	list           []byte // ratchet_tree instead of the tree, if not nil
	noTree         bool
	extensions     []extension // beside ratchet_tree
	extensionTail  []byte      // behind the last one, in the vector
	tag            []byte      // nil: the right one
	signer         uint32
	signerKey      Signer
	label          string
	signature      []byte // nil: the right one
	sealed         func(s *sealed)
}

// draftWelcome makes a valid Welcome of a group without parent nodes whose
// leaves are those of the people, made of fresh key packages, and at the end the
// joiner's. The first signs it.
func draftWelcome(t testing.TB, people []person, pack []byte) *welcomeDraft {
	t.Helper()
	k, err := parseKeyPackage(pack)
	if err != nil {
		t.Fatal(err)
	}
	s := suiteOf(Suite(k.suite))
	var first *leafNode
	var others []*leafNode
	for i := range people {
		wire, _ := people[i].keyPackage(t)
		other, err := parseKeyPackage(wire)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = other.leaf
		} else {
			others = append(others, other.leaf)
		}
	}
	list := newTree(s, first)
	for _, l := range append(others, k.leaf) {
		if _, err := list.add(l); err != nil {
			t.Fatal(err)
		}
	}
	ref := k.ref()
	confirmed := hashOf([]byte("some transcript"))
	return &welcomeDraft{
		version: version10, format: formatWelcome, suite: k.suite, ref: ref[:], pack: k,
		joiner: hashOf([]byte("some joiner secret")), contextVersion: version10,
		context: groupContext{suite: s.id, groupID: []byte("some group"), epoch: 7, confirmed: confirmed[:]},
		tree:    list, signerKey: people[0].Signer, label: "GroupInfoTBS",
	}
}

// setLeaf replaces a leaf of the tree by a draft of it.
func (d *welcomeDraft) setLeaf(t testing.TB, index uint32, leaf leafDraft) {
	t.Helper()
	d.tree.setLeaf(index, leaf.leaf(t))
}

// encodeContext is the GroupContext.
func (d *welcomeDraft) encodeContext() []byte {
	c := d.context
	hash := d.tree.rootHash()
	treeHash := hash[:]
	if d.treeHash != nil {
		treeHash = d.treeHash
	}
	b := binary.BigEndian.AppendUint16(nil, d.contextVersion)
	b = appendVec(binary.BigEndian.AppendUint16(b, uint16(c.suite)), c.groupID)
	b = appendVec(binary.BigEndian.AppendUint64(b, c.epoch), treeHash)
	return appendVec(appendVec(b, c.confirmed), c.extensions)
}

// groupInfo is the GroupInfo in clear.
func (d *welcomeDraft) groupInfo(t testing.TB) []byte {
	t.Helper()
	context := d.encodeContext()
	tag := d.tag
	if tag == nil {
		member := memberSecret(&d.joiner, &secret{})
		top := epochSecret(&member, context)
		secrets := deriveEpoch(&top)
		right := confirmationTag(&secrets.confirmation, d.context.confirmed)
		tag = right[:]
	}
	list := d.list
	if list == nil {
		list = d.tree.append(nil)
	}
	extensions := slices.Clone(d.extensions)
	if !d.noTree {
		extensions = append(extensions, extension{kind: extRatchetTree, data: list})
	}
	if d.rawContext != nil {
		context = d.rawContext
	}
	b := appendVec(context, append(encodeExtensionList(extensions), d.extensionTail...))
	b = binary.BigEndian.AppendUint32(appendVec(b, tag), d.signer)
	signature := d.signature
	if signature == nil {
		signature = mustSign(t, d.signerKey, d.label, b)
	}
	return appendVec(b, signature)
}

func (d *welcomeDraft) groupSecrets() []byte {
	b := appendVec(nil, d.joiner[:])
	if d.joinerBytes != nil {
		b = appendVec(nil, d.joinerBytes)
	}
	if d.path == nil {
		b = append(b, 0)
	} else {
		b = appendVec(append(b, 1), d.path)
	}
	return appendVec(b, d.psks)
}

// sealedInfo is the encrypted GroupInfo.
func (d *welcomeDraft) sealedInfo(t testing.TB) []byte {
	t.Helper()
	info := d.info
	if info == nil {
		info = d.groupInfo(t)
	}
	member := memberSecret(&d.joiner, &secret{})
	top := welcomeSecret(&member)
	key, nonce := welcomeKey(&top)
	return aeadSeal(nil, &key, &nonce, info, nil)
}

// entry is the EncryptedGroupSecrets.
func (d *welcomeDraft) entry(t testing.TB, sealedInfo []byte) []byte {
	t.Helper()
	secrets := d.secrets
	if secrets == nil {
		secrets = d.groupSecrets()
	}
	s := suiteOf(Suite(d.pack.suite))
	public, err := s.parsePublic(d.pack.initKey)
	if err != nil {
		t.Fatal(err)
	}
	var to sealed
	if to.enc, to.ciphertext, err = s.seal(public, "Welcome", sealedInfo, secrets); err != nil {
		t.Fatal(err)
	}
	if d.sealed != nil {
		d.sealed(&to)
	}
	return to.append(appendVec(nil, d.ref))
}

func (d *welcomeDraft) encode(t testing.TB) []byte {
	t.Helper()
	info := d.sealedInfo(t)
	return d.encodeWith(d.entry(t, info), info)
}

// encodeWith is the Welcome of the given entries.
func (d *welcomeDraft) encodeWith(entries, sealedInfo []byte) []byte {
	b := binary.BigEndian.AppendUint16(header(d.version, d.format), d.suite)
	return appendVec(appendVec(b, entries), sealedInfo)
}
