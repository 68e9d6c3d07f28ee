package control

import (
	"testing"
	"time"
)

// watched is an MLS with a token of a known age in our leaf. It keeps the last
// change.
type watched struct {
	*fakeMLS
	issued time.Time
	last   Change
}

func (w *watched) Members() []Member {
	members := append([]Member(nil), w.fakeMLS.Members()...)
	for i := range members {
		members[i].IssuedAt = w.issued
	}
	return members
}

func (w *watched) Commit(c Change, now time.Time) (commit, welcome []byte, err error) {
	w.last = c
	return w.fakeMLS.Commit(c, now)
}

// A real peer joins no tree with an old token, and while it is away nothing
// renews ours: so the commit that lets it in anew does.
func TestRejoinRenewsOldLeaf(t *testing.T) {
	for name, age := range map[string]time.Duration{"young": TokenRenewal / 2, "old": TokenLife} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, pairOptions{mls: true, retries: 10})
			w := &watched{fakeMLS: p.a.mls, issued: epochStart}
			p.a.cfg.MLS = w
			p.a.m = New(p.a.cfg)
			p.open()
			w.issued = p.now.Add(-age)
			p.a.mls.epoch += 3 // commits that bob never saw and alice no longer has
			p.run(40 * time.Second)
			if a, b := p.a.m.Epoch(), p.b.m.Epoch(); a != b {
				t.Fatalf("bob is in epoch %d, alice in %d", b, a)
			}
			if want := age > TokenRenewal; w.last.Refresh != want || len(w.last.Add) != 1 {
				t.Errorf("the last commit renewed our leaf: %v, want %v", w.last.Refresh, want)
			}
		})
	}
}
