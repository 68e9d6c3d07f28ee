package mls

import (
	"errors"
	"testing"
)

// refuseTreeLeaves bends leaf 3, which no parent hash names, and leaf 2, whose
// owner has made node 5.
func refuseTreeLeaves(t *testing.T) {
	h := newHall(t)
	v := h.invite(t, false)
	other := newPerson(t, P256, "other")
	for name, c := range map[string]struct {
		kind   error
		reason string
		leaf   uint32
		bend   func(d *leafDraft)
	}{
		"signature": {ErrSignature, "leaf in the tree", 3, func(d *leafDraft) { d.signer = other.Signer }},
		"label":     {ErrSignature, "leaf in the tree", 3, func(d *leafDraft) { d.label = "KeyPackageTBS" }},
		"key package, signed with its place": {ErrSignature, "leaf in the tree", 3, func(d *leafDraft) {
			d.place = appendPlace(nil, v.commit.context.groupID, 3)
		}},
		"commit, signed without":     {ErrSignature, "leaf in the tree", 2, func(d *leafDraft) { d.place = nil }},
		"commit, of another group":   {ErrSignature, "leaf in the tree", 2, func(d *leafDraft) { d.place = appendPlace(nil, []byte("other"), 2) }},
		"commit, for another leaf":   {ErrSignature, "leaf in the tree", 2, func(d *leafDraft) { d.place = appendPlace(nil, v.commit.context.groupID, 3) }},
		"update":                     {ErrInvalidLeaf, "leaf of an update", 3, func(d *leafDraft) { d.source = sourceUpdate; d.place = appendPlace(nil, v.commit.context.groupID, 3) }},
		"encryption key of a leaf":   {ErrDuplicate, "encryption key", 3, func(d *leafDraft) { d.encryptionKey = v.commit.tree.leaf(1).encryptionKey }},
		"encryption key of a parent": {ErrDuplicate, "encryption key", 3, func(d *leafDraft) { d.encryptionKey = v.commit.tree.nodes[9].encryptionKey() }},
		"our encryption key":         {ErrDuplicate, "encryption key", 3, func(d *leafDraft) { d.encryptionKey = v.pack.leaf.encryptionKey }},
		"signature key":              {ErrDuplicate, "signature key", 3, func(d *leafDraft) { d.signatureKey, d.signer = h.people[1].Signer.Public(), h.people[1].Signer }},
		"our signature key":          {ErrDuplicate, "signature key", 3, func(d *leafDraft) { d.signatureKey, d.signer = v.Signer.Public(), v.Signer }},
		"subject":                    {ErrDuplicate, "subject", 3, func(d *leafDraft) { d.credential = []byte("p1") }},
		"our subject":                {ErrDuplicate, "subject", 3, func(d *leafDraft) { d.credential = []byte("newcomer") }},
		"X.509":                      {ErrUnsupported, "credential type", 3, func(d *leafDraft) { d.credType = credX509 }},
		"credential type not listed": {ErrInvalidLeaf, "credential type is not in the capabilities", 3, func(d *leafDraft) { d.caps.credentials = []uint16{2} }},
		"no credential type listed":  {ErrInvalidLeaf, "credential type is not in the capabilities", 3, func(d *leafDraft) { d.caps.credentials = nil }},
		"extension not listed":       {ErrInvalidLeaf, "extension is not in the capabilities", 3, func(d *leafDraft) { d.extensions = []extension{{kind: 0xf000}} }},
		"default extension listed":   {ErrInvalidLeaf, "default extension in the capabilities", 3, func(d *leafDraft) { d.caps.extensions = []uint16{0xf000, extRatchetTree} }},
		"last default extension":     {ErrInvalidLeaf, "default extension in the capabilities", 3, func(d *leafDraft) { d.caps.extensions = []uint16{extExternalSenders} }},
		"default proposal listed":    {ErrInvalidLeaf, "default proposal in the capabilities", 3, func(d *leafDraft) { d.caps.proposals = []uint16{proposalAdd} }},
		"last default proposal":      {ErrInvalidLeaf, "default proposal in the capabilities", 3, func(d *leafDraft) { d.caps.proposals = []uint16{lastDefaultProposal} }},
		"no credential":              {ErrInvalidLeaf, "credential is empty or too long", 3, func(d *leafDraft) { d.credential = nil }},
		"encryption key off curve":   {ErrInvalidLeaf, "encryption key", 3, func(d *leafDraft) { d.encryptionKey = flip(d.encryptionKey, -1) }},
		"signature key off curve":    {ErrInvalidLeaf, "signature key", 3, func(d *leafDraft) { d.signatureKey = flip(d.signatureKey, -1) }},
	} {
		t.Run(name, func(t *testing.T) {
			b := v.bentTree(h)
			b.bendLeaf(t, c.leaf, c.bend)
			if c.leaf == 3 {
				b.relink(t, 2, 5) // whose hash is over leaf 3
			}
			b.relink(t, 0, 7, 3, 1)
			v.refuseTree(t, c.kind, c.reason, b)
		})
	}
	acceptTreeLeaves(t, h, v)
	refuseByCallbacks(t, h, v)
	v.join(t)
}

// acceptTreeLeaves: what only the one who adds looks at does not keep a newcomer
// out.
func acceptTreeLeaves(t *testing.T, h *hall, v *invitation) {
	for name, bend := range map[string]func(d *leafDraft){
		"unchanged":          func(*leafDraft) {},
		"lifetime over":      func(d *leafDraft) { d.lifetime = Lifetime{NotBefore: 1, NotAfter: 2} },
		"lifetime not begun": func(d *leafDraft) { d.lifetime = Lifetime{NotBefore: 1 << 62, NotAfter: 1 << 63} },
		"no version listed":  func(d *leafDraft) { d.caps.versions = nil },
		"suite not listed":   func(d *leafDraft) { d.caps.suites = []uint16{1} },
		"extension in use":   func(d *leafDraft) { d.caps.extensions, d.extensions = []uint16{0xf000}, []extension{{kind: 0xf000}} },
		"GREASE":             func(d *leafDraft) { d.caps.proposals, d.caps.suites = []uint16{0x0a0a}, []uint16{0x0a0a} },
	} {
		t.Run("accepts "+name, func(t *testing.T) {
			b := v.bentTree(h)
			b.bendLeaf(t, 3, bend)
			b.relink(t, 2, 5)
			b.relink(t, 0, 7, 3, 1)
			v.acceptTree(t, b)
		})
	}
}

// refuseByCallbacks: Verify and Subject may refuse any leaf, our own included.
func refuseByCallbacks(t *testing.T, h *hall, v *invitation) {
	errNo := errors.New("no")
	for leaf := range uint32(8) {
		strict := *v
		strict.Verify = func(m Member, why Reason) error {
			if why != Joining {
				t.Errorf("shown for %v", why)
			}
			if m.Leaf == leaf {
				return errNo
			}
			return nil
		}
		strict.refuse(t, ErrInvalidLeaf, "joining", v.good)
		strict.Verify = v.Verify
		strict.Subject = func(m Member) (string, error) {
			if m.Leaf == leaf {
				return "", errNo
			}
			return string(m.Credential), nil
		}
		strict.refuse(t, ErrInvalidLeaf, "subject", v.good)
		if _, err := Join(strict.Config, v.pending, v.good); !errors.Is(err, errNo) {
			t.Errorf("the callback's error is not returned: %v", err)
		}
	}
}
