package control

import (
	"errors"
	"slices"
	"time"
)

// The age of the tokens in leaves. The real library refuses a leaf whose token
// has expired, and core 3.4 takes no data from it either. A token made from a
// shared secret lives for [TokenLife], an SVID of SPIFFE often for minutes.

// minRenewal is the least time between two renewals of a leaf, each of which
// costs all others a commit.
const minRenewal = HeartbeatInterval / 2

// stale reports whether members that check refuse the token of a leaf. They look
// at when it expires, which for a shared secret is [TokenLife] after its issue.
func (l Member) stale(now time.Time) bool {
	if l.Expires.IsZero() {
		return !l.IssuedAt.IsZero() && now.Sub(l.IssuedAt) > TokenLife
	}
	return now.After(l.Expires)
}

// short is how old the token in a leaf may grow before the leaf is renewed, if it
// expires so early that the usual age does not do; that fits tokens that live
// for [TokenLife].
func (l Member) short(usual time.Duration) (age time.Duration, ok bool) {
	life := l.Expires.Sub(l.IssuedAt)
	if l.IssuedAt.IsZero() || life <= 0 || life >= TokenLife {
		return usual, false
	}
	return time.Duration(float64(usual) * life.Seconds() / TokenLife.Seconds()), true
}

// pauseBefore is how long to wait before a leaf with a short-lived token is
// renewed again, since the provider may have had no newer token to offer.
func pauseBefore(age time.Duration) time.Duration { return max(age/4, minRenewal) }

// renewalDue is when an initiator that renewed its leaf at last renews it again:
// usually after the given time.
func (l Member) renewalDue(last time.Time, usual time.Duration) time.Time {
	at := last.Add(usual)
	age, short := l.short(usual)
	if !short {
		return at
	}
	early, again := l.IssuedAt.Add(age), last.Add(pauseBefore(age))
	if early.Before(again) {
		early = again
	}
	if early.Before(at) {
		return early
	}
	return at
}

// freshen deals with an invitation that failed because a member's token is old:
// where nobody is lost by that, the member is removed and invited again, with a
// new leaf, and then the newcomer once more. That is where the member is there and
// of the real library (one of ours renews its leaf itself), its leaf is the only
// old one, and nobody else looks at what is removed.
func (mo *Moderator) freshen(now time.Time, t *task, out *Output) {
	stale := (*StaleError)(nil)
	if t.op == nil || t.again || !errors.As(t.err, &stale) {
		return
	}
	leaves := mo.leaves()
	old := mo.byName[stale.Member.Key()]
	if old == nil || !leaves[old.name.ID].ChecksAge || !old.online || old.departed || mo.checked(leaves, old) || leaves[mo.cfg.Local.ID].stale(now) {
		return
	}
	for _, m := range mo.members {
		if m != old && leaves[m.name.ID].stale(now) {
			return
		}
	}
	mo.queue = slices.Insert(mo.queue, 0,
		&task{kind: removing, who: old},
		&task{kind: inviting, name: old.name, subject: old.subject, again: true},
		&task{kind: inviting, op: t.op, name: t.name, subject: t.subject, again: true})
	mo.tellToLeave(t.who, out) // its half-open session
	t.op, t.err = nil, nil
}
