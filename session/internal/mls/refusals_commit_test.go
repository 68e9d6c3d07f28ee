package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

// Commits and paths (RFC 9420 sections 7.4 to 7.6, 12.4 and 12.4.2). Leaf 0 of
// the hall commits. Its path has three nodes: 1 is encrypted to leaf 1, 3 to
// node 5, 7 to node 11; the receivers 1, 3 and 6 each open another one.
var refusalsCommit = []refusal{
	{87, "remove without a path", func(t *testing.T) {
		h := newHall(t)
		newcomer := newPerson(t, P256, "newcomer")
		add := adding(t, newcomer.packOf(t, nil, nil))
		for name, list := range map[string][]*proposal{
			"remove": {removing(3)}, "removes": {removing(3), removing(5)}, "add and remove": {add, removing(3)},
			"remove and add": {removing(3), add},
		} {
			t.Run(name, func(t *testing.T) {
				d := bentCommit{from: h.group(t, 0), list: list, pathless: true}
				h.refuse(t, ErrInvalidCommit, "path is missing", d.encode(t), 1, 6)
			})
		}
	}},
	{88, "empty commit without a path", func(t *testing.T) {
		h := newHall(t)
		d := bentCommit{from: h.group(t, 0), pathless: true}
		h.refuse(t, ErrInvalidCommit, "path is missing", d.encode(t), 1, 3, 6)
		h.refuseChange(t, ErrUnsupported, "empty change", Change{})
	}},
	{89, "accepts adding without a path", func(t *testing.T) {
		h := newHall(t)
		one, other := newPerson(t, P256, "one"), newPerson(t, P256, "other")
		list := []*proposal{adding(t, one.packOf(t, nil, nil)), adding(t, other.packOf(t, nil, nil))}
		h.accept(t, &bentCommit{from: h.group(t, 0), list: list[:1], pathless: true}, 1, 3, 6)
		h.accept(t, &bentCommit{from: h.group(t, 0), list: list, pathless: true}, 1, 3, 6) // the tree grows
		h.accept(t, &bentCommit{from: h.group(t, 0), list: list}, 1, 3, 6)
		h.accept(t, &bentCommit{from: h.group(t, 5), list: list[:1], pathless: true}, 0, 1, 6)
	}},
	{90, "path of the wrong length", refusePathLengths},
	{91, "wrong number of ciphertexts", refuseCiphertextCounts},
	{92, "ciphertext of a path secret cannot be opened", refuseCiphertexts},
	{93, "path secret of another key", refuseOtherKeys},
	{94, "key of a path is in the tree already", refuseUsedKeys},
	{95, "parent hash in the leaf of a path", refuseParentHashes},
	{96, "confirmation tag", refuseTags},
	{97, "commit secret of another commit", refuseCommitSecrets},
	{98, "own commit comes back", refuseEcho},
	{99, "we are removed", refuseRemoval},
	{100, "a good commit after every kind of refusal", refuseAllThenFollow},
}

func refuseTags(t *testing.T) {
	h := newHall(t)
	newcomer := newPerson(t, P256, "newcomer")
	add := adding(t, newcomer.packOf(t, nil, nil))
	other := bentCommit{from: h.group(t, 0)}
	other.encode(t)
	for name, bend := range map[string]func([]byte) []byte{
		"first bit": func(b []byte) []byte { return flip(b, 0) },
		"last bit":  func(b []byte) []byte { return flip(b, -1) },
		"shorter":   func(b []byte) []byte { return b[:31] },
		"longer":    func(b []byte) []byte { return append(bytes.Clone(b), 0) },
		"another":   func([]byte) []byte { return other.confirmation },
		"zeros":     func([]byte) []byte { return make([]byte, hashSize) },
	} {
		t.Run(name, func(t *testing.T) {
			d := bentCommit{from: h.group(t, 0), bendTag: bend}
			h.refuse(t, ErrSignature, "confirmation tag", d.encode(t), 1, 3, 6)
			d.list, d.pathless = []*proposal{add}, true
			h.refuse(t, ErrSignature, "confirmation tag", d.encode(t), 1, 3, 6)
		})
	}
	d := bentCommit{from: h.group(t, 0), bendTag: func([]byte) []byte { return nil }}
	h.refuse(t, ErrMalformed, "commit without confirmation tag", d.encode(t), 1, 3, 6)
}

func refuseCommitSecrets(t *testing.T) {
	h := newHall(t)
	newcomer := newPerson(t, P256, "newcomer")
	add := adding(t, newcomer.packOf(t, nil, nil))
	for name, d := range map[string]bentCommit{
		"of another path":     {bendCommit: func(s *secret) { *s = randomOf(t) }},
		"of no path":          {bendCommit: func(s *secret) { *s = secret{} }},
		"one step further":    {bendCommit: func(s *secret) { *s = deriveSecret(s, "path") }},
		"though without path": {bendCommit: func(s *secret) { *s = randomOf(t) }, list: []*proposal{add}, pathless: true},
	} {
		t.Run(name, func(t *testing.T) {
			d.from = h.group(t, 0)
			h.refuse(t, ErrSignature, "confirmation tag", d.encode(t), 1, 3, 6)
		})
	}
}

func refuseEcho(t *testing.T) {
	h := newHall(t)
	g := h.group(t, 0)
	commit, _, err := g.Commit(Change{Path: true}, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	refuseCommit(t, g, ErrWrongEpoch, "commit", commit)
	to := h.group(t, 1)
	if _, err := to.Process(commit); err != nil {
		t.Fatal(err)
	}
	refuseCommit(t, to, ErrWrongEpoch, "commit", commit) // and so does a repeated one
	// One of ours that somebody made of an older state of ours.
	refuseCommit(t, h.group(t, 0), ErrInvalidCommit, "commit of our own", commit)
	good, _, err := to.Commit(Change{Path: true}, testNow, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Process(good); err != nil || !bytes.Equal(g.Authenticator(), to.Authenticator()) {
		t.Errorf("the good commit after it: %v", err)
	}
}

func refuseRemoval(t *testing.T) {
	h := newHall(t)
	again := h.people[1].packOf(t, nil, nil)
	for name, list := range map[string][]*proposal{
		"remove": {removing(1)}, "with others": {removing(3), removing(1), removing(6)},
		"replace": {adding(t, again), removing(1)},
	} {
		t.Run(name, func(t *testing.T) {
			d := bentCommit{from: h.group(t, 0), list: list}
			message := d.encode(t)
			h.refuse(t, ErrRemoved, "", message, 1)
			// The last epoch that is ours still decrypts.
			g := h.group(t, 1)
			refuseCommit(t, g, ErrRemoved, "", message)
			blob, err := h.group(t, 5).Protect(nil, []byte("text"), nil, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.Unprotect(blob); err != nil {
				t.Error(err)
			}
			// Nobody but a member can say so, and not without a path.
			from := h.group(t, 0)
			from.config.Signer = h.people[2].Signer
			d = bentCommit{from: from, list: list}
			h.refuse(t, ErrSignature, "message", d.encode(t), 1)
			d = bentCommit{from: h.group(t, 0), list: list, pathless: true}
			h.refuse(t, ErrInvalidCommit, "path is missing", d.encode(t), 1)
		})
	}
}

// refuseAllThenFollow: one group meets one refusal of each step of the way, all
// before the same good commit.
func refuseAllThenFollow(t *testing.T) {
	h := newHall(t)
	newcomer := newPerson(t, P256, "newcomer")
	add := adding(t, newcomer.packOf(t, nil, nil))
	twins := []*proposal{add, adding(t, newPerson(t, P256, "newcomer").packOf(t, nil, nil))}
	list := []bentCommit{
		{list: []*proposal{removing(0)}},
		{list: []*proposal{removing(7)}},
		{list: twins},
		{pathless: true},
		{bendSteps: func(s []pathStep) []pathStep { return s[1:] }},
		{bendUpdate: func(u *updatePath) { u.nodes[2].secrets = nil }},
		{bendContext: func(c *groupContext) { c.epoch-- }},
		{bendLeaf: func(d *leafDraft) { d.parentHash = nil }},
		{bendLeaf: func(d *leafDraft) { d.signer = newcomer.Signer }},
		{bendKey: func(_ int, public []byte) []byte { return newcomer.Signer.Public() }},
		{bendSecret: func(_ int, plain []byte) []byte { return flip(plain, 0) }},
		{list: []*proposal{add}, bendCommit: func(s *secret) { *s = secret{} }},
		{list: []*proposal{add}, pathless: true, bendTag: func(b []byte) []byte { return flip(b, 5) }},
	}
	for _, i := range []int{1, 2, 3, 5, 6} {
		g := h.group(t, i)
		before := stateOf(t, g)
		for n, d := range append(list, bentCommit{list: []*proposal{removing(uint32(i))}}) {
			d.from = h.group(t, 0)
			_, err := g.Process(d.encode(t))
			if e := (*Error)(nil); !errors.As(err, &e) || !bytes.Equal(before, stateOf(t, g)) {
				t.Errorf("member %d, refusal %d: %v", i, n, err)
			}
		}
		if _, err := g.Process(h.good); err != nil || !bytes.Equal(g.Authenticator(), h.authenticator) {
			t.Errorf("member %d, the good commit after all: %v", i, err)
		}
		if err := g.consistent(); err != nil {
			t.Error(err)
		}
	}
}
