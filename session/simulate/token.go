package simulate

import (
	"errors"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
)

// Tokens grow old, and some members refuse leaves that have an old one, as the
// real library does.

// provider hands out the tokens of an app. It renews them in time, but not for
// every leaf.
type provider struct {
	life   time.Duration // zero: a fresh one every time
	issued time.Time
}

// newProvider is one that has a token already at the time now of its app.
func (w *world) newProvider(now time.Time) provider {
	if w.tokenLife == 0 {
		return provider{}
	}
	return provider{life: w.tokenLife, issued: now.Add(-w.upTo(w.tokenLife))}
}

// token is the time of issue of the present token.
func (p *provider) token(now time.Time) time.Time {
	if p.life == 0 {
		return now
	}
	if now.Sub(p.issued) >= p.life {
		p.issued = now
	}
	return p.issued
}

var errOldToken = errors.New("the token in a leaf is too old")

// tooOld reports whether an app that checks refuses a leaf now.
func (x *witness) tooOld(now time.Time, issued []time.Time) bool {
	return x.s.app.foreign && slices.ContainsFunc(issued, func(t time.Time) bool { return now.Sub(t) > control.TokenLife })
}

// refuse notes that a member is lost because of an old token.
func (x *witness) refuse() error {
	x.s.w.logf("%v refuses an old token", x.s)
	x.s.w.goesStale(x.s.talk)
	return errOldToken
}

// touched are the times of issue of the tokens that a commit of ours depends on:
// of the leaves that go, and of our own.
func (x *witness) touched(c control.Change) (issued []time.Time) {
	for _, m := range x.Members() {
		if m.Own || slices.Contains(c.Remove, m.Leaf) {
			issued = append(issued, m.IssuedAt)
		}
	}
	return issued
}

func (x *witness) allIssued() (issued []time.Time) {
	for _, m := range x.Members() {
		issued = append(issued, m.IssuedAt)
	}
	return issued
}

// checkFollowable: a moderator makes no commit that members who check tokens
// could not follow, unless the application insists. issued are those that the
// commit touches, before are all members before it.
func (x *witness) checkFollowable(c control.Change, now time.Time, issued []time.Time, before []control.Member) {
	s := x.s
	if !s.talk.group || s.insists() {
		return
	}
	checked := false
	for _, m := range before {
		checked = checked || !m.Own && !slices.Contains(c.Remove, m.Leaf) && s.w.foreigners[m.Subject]
	}
	if len(c.Add) > 0 && len(c.Remove) == 0 && s.w.foreigners[c.Subject] {
		checked, issued = true, x.allIssued()
	}
	for _, t := range issued {
		if checked && now.Sub(t) > control.TokenLife {
			s.w.failf("%v makes a commit that members cannot follow, with a token %v old", s, now.Sub(t))
			return
		}
	}
}

// insists reports whether a member is being removed by force. (The machine
// does so by itself with one that was invited in vain.)
func (s *session) insists() bool {
	for op := range s.forced {
		if !s.ops[op] {
			return true
		}
	}
	return false
}

// goesStale: an old token has cost a group a member, or will. The application
// gives it up after a while, as the text of [control.StaleError] advises.
func (w *world) goesStale(t *conversation) {
	if t.stale.IsZero() {
		t.stale = w.now
	}
}

// closeStale ends the groups that have been stale for a while; it reports whether
// there was one.
func (w *world) closeStale(after time.Duration) (any bool) {
	for _, mo := range w.moderators() {
		if t := mo.talk.stale; !t.IsZero() && w.now.Sub(t) >= after {
			mo.leave(control.Close{})
			any = true
		}
	}
	return any
}
