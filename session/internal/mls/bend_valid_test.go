package mls

import (
	"crypto/rand"
	"testing"
)

// TestDraftsAreValid: what the drafts make is accepted as long as nothing in
// them is changed. Otherwise a refusal would prove nothing.
func TestDraftsAreValid(t *testing.T) {
	forSuites(t, func(t *testing.T, s Suite) {
		c := newClub(t, s, 4)
		newcomer := newPerson(t, s, "newcomer")
		pack := newcomer.draftPack(t)
		wire := pack.encode(t)
		if _, _, err := ParseKeyPackage(wire); err != nil {
			t.Fatal("key package:", err)
		}
		for name, ch := range map[string]Change{
			"add": {Add: [][]byte{wire}}, "add with a path": {Add: [][]byte{wire}, Path: true},
			"path": {Path: true}, "remove": {Remove: []uint32{1}, Path: true},
			"replace": {Add: [][]byte{wire}, Remove: []uint32{1}, Path: true},
		} {
			for _, from := range []int{0, 2} {
				d := draftCommit(t, c.groups[from], ch, func(*leafDraft) {})
				if _, err := twin(t, c.groups[3]).Process(d.encode(t)); err != nil {
					t.Errorf("commit, %s, by %d: %v", name, from, err)
				}
			}
		}
		for _, ahead := range []uint32{0, 5} {
			d := draftMessage(t, c.groups[2], "text", ahead)
			m, err := twin(t, c.groups[1]).Unprotect(d.encode(t))
			if err != nil || string(m.Plaintext) != "text" || string(m.AAD) != "aad" || m.Generation != ahead {
				t.Errorf("message: %v, %v", m, err)
			}
		}
		// The people's keys are used for more than one group here, as they may be.
		g, err := Join(newcomer.Config, pack.pending, draftWelcome(t, c.people, wire).encode(t))
		if err != nil {
			t.Fatal("welcome:", err)
		}
		if _, err := g.Protect(nil, []byte("text"), nil, rand.Reader); err != nil {
			t.Error(err)
		}
	})
}
