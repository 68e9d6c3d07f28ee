package mls

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// refusal is one entry of the negative checklist: something that a peer or a
// node could send and that must change nothing. Entries whose name begins with
// "accepts" are the valid neighbours that must get through.
type refusal struct {
	number int
	name   string
	run    func(t *testing.T)
}

// TestRefusals runs the checklist in the order of its numbers, and looks at the
// texts of all errors at the end.
func TestRefusals(t *testing.T) {
	t.Cleanup(func() { checkTexts(t) }) // after the parallel subtests
	list := slices.Concat(
		refusalsCodec, refusalsCrypto, refusalsFraming, refusalsLeaf, refusalsKeyPackage,
		refusalsTree, refusalsProposals, refusalsCommit, refusalsWelcome, refusalsState)
	slices.SortStableFunc(list, func(a, b refusal) int { return cmp.Compare(a.number, b.number) })
	for i, r := range list {
		if i > 0 && list[i-1].number == r.number {
			t.Errorf("number %d is there twice", r.number)
		}
		t.Run(fmt.Sprintf("%03d %s", r.number, r.name), func(t *testing.T) {
			t.Parallel()
			r.run(t)
		})
	}
}

// refuse calls what must be refused with the kind and the reason given, the
// latter so that it is known which check it was. Nothing may change in g, which
// is nil for calls without a group.
func refuse(t *testing.T, g *Group, kind error, reason string, call func() error) {
	t.Helper()
	before := stateOf(t, g)
	err := call()
	var e *Error
	switch {
	case err == nil:
		t.Errorf("accepted; want %v: %s", kind, reason)
		return
	case !errors.As(err, &e):
		t.Errorf("%v is not an Error", err)
	case !errors.Is(err, kind) || e.Reason != reason:
		t.Errorf("refused as %v; want %v: %s", err, kind, reason)
	}
	refusedTexts.Store(err.Error(), t.Name())
	if !bytes.Equal(before, stateOf(t, g)) {
		t.Error("the refused call has changed the state")
	}
}

// refusedTexts collects the texts of all errors that refuse has seen, with the
// name of a test.
var refusedTexts sync.Map

func stateOf(t testing.TB, g *Group) []byte {
	t.Helper()
	if g == nil {
		return nil
	}
	state, err := g.Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// twin is a copy of a group that lives on by itself.
func twin(t testing.TB, g *Group) *Group {
	t.Helper()
	copied, err := Load(stateOf(t, g), g.config)
	if err != nil {
		t.Fatal(err)
	}
	return copied
}
