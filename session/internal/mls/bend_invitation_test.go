package mls

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// bentWelcome is a Welcome for one key package, bent like a bentCommit.
type bentWelcome struct {
	suite     *suite
	wireSuite Suite // of the Welcome
	pack      *keyPackage
	context   groupContext
	tree      []byte // the ratchet_tree extension; nil: none
	signer    Signer
	leaf      uint32 // of the signer
	joiner    secret
	path      []byte // nil: none
	psks      []byte // encoded PreSharedKeyIDs

	// Bends; nil is none.
	ref            []byte
	noEntry        bool
	more           []extension         // of the GroupInfo
	bendSealedInfo func([]byte) []byte // the encrypted GroupInfo
	bendInfo       func([]byte) []byte // the GroupInfo before it is signed
	bendTag        func([]byte) []byte
	bendWelcome    func(*secret)       // the welcome secret
	bendPlain      func([]byte) []byte // the GroupSecrets
	bendContext    func([]byte) []byte // what the GroupSecrets are bound to
	bendSealed     func(*sealed)
	initKey        []byte // whom the GroupSecrets are encrypted to
}

// welcome drafts the Welcome of a commit that was encoded.
func (d *bentCommit) welcome(k *keyPackage) *bentWelcome {
	w := &bentWelcome{
		suite: d.from.suite, wireSuite: d.from.suite.id, pack: k, context: d.context, tree: treeBytes(d.tree.nodes),
		signer: d.from.config.Signer, leaf: d.from.self, joiner: d.joiner,
	}
	for n, p := range slices.DeleteFunc(slices.Clone(d.list), func(p *proposal) bool { return p.kind != proposalAdd }) {
		for i, step := range d.steps {
			if p.add == k && inSubtree(2*d.added[n], step.node) {
				w.path = d.secrets[i][:]
				break
			}
		}
	}
	return w
}

// setTree puts a tree and its hash into the Welcome.
func (w *bentWelcome) setTree(t *tree) {
	w.tree, w.context.treeHash = treeBytes(t.nodes), t.rootHash()
}

// treeBytes is the ratchet_tree extension of nodes, from which only the blank
// ones at the end are left out.
func treeBytes(nodes []node) []byte { return (&tree{nodes: nodes}).append(nil) }

func (w *bentWelcome) encode(t testing.TB) []byte {
	t.Helper()
	s := schedule{joiner: w.joiner}
	s.derive(&secret{}, &w.context)
	tag := s.tag[:]
	if w.bendTag != nil {
		tag = w.bendTag(tag)
	}
	extensions := slices.Clone(w.more)
	if w.tree != nil {
		extensions = append(extensions, extension{extRatchetTree, w.tree})
	}
	info := encodeExtensions(w.context.encode(), extensions)
	info = binary.BigEndian.AppendUint32(appendVec(info, tag), w.leaf)
	if w.bendInfo != nil {
		info = w.bendInfo(info)
	}
	if w.bendWelcome != nil {
		w.bendWelcome(&s.welcome)
	}
	key, nonce := welcomeKey(&s.welcome)
	sealedInfo := aeadSeal(nil, &key, &nonce, appendVec(info, mustSign(t, w.signer, "GroupInfoTBS", info)), nil)
	if w.bendSealedInfo != nil {
		sealedInfo = w.bendSealedInfo(sealedInfo)
	}
	out := binary.BigEndian.AppendUint16(header(version10, formatWelcome), uint16(w.wireSuite))
	var entry []byte
	if !w.noEntry {
		entry = w.entry(t, sealedInfo)
	}
	return appendVec(appendVec(out, entry), sealedInfo)
}

// tagOf is the right confirmation tag.
func (w *bentWelcome) tagOf() []byte {
	s := schedule{joiner: w.joiner}
	s.derive(&secret{}, &w.context)
	return s.tag[:]
}

// entry is the EncryptedGroupSecrets.
func (w *bentWelcome) entry(t testing.TB, context []byte) []byte {
	t.Helper()
	secrets := groupSecrets{joiner: w.joiner[:], path: w.path}
	plain := secrets.append(nil)
	plain = appendVec(plain[:len(plain)-1], w.psks)
	if w.bendPlain != nil {
		plain = w.bendPlain(plain)
	}
	if w.bendContext != nil {
		context = w.bendContext(bytes.Clone(context))
	}
	to, ref := w.pack.initKey, refOf(w.pack)
	if w.initKey != nil {
		to = w.initKey
	}
	s := sealTo(t, w.suite, to, "Welcome", context, plain)
	if w.bendSealed != nil {
		w.bendSealed(&s)
	}
	if w.ref != nil {
		ref = w.ref
	}
	return s.append(appendVec(nil, ref))
}
