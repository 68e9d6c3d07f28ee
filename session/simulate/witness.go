package simulate

import (
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// engine is an MLS implementation that a run can look into.
type engine interface {
	control.MLS
	// state is the id of the group and a secret of its epoch, the same for all
	// who agree; empty without a group.
	state() (group, secret string)
}

// witness stands between a machine and its MLS, and sees what it accepts.
type witness struct {
	engine
	s     *session
	floor uint64 // no message of an earlier epoch may be read any more
}

type epochKey struct {
	group string
	epoch uint64
}

type commitKey string

// commitInfo is where a commit leads.
type commitInfo struct {
	epoch   uint64
	removes name.Key
	issued  []time.Time // see [witness.touched]
}

func (x *witness) Create(now time.Time) error {
	err := x.engine.Create(now)
	if err == nil {
		x.floor = 0
	}
	return err
}

func (x *witness) Commit(c control.Change, now time.Time) (commit, welcome []byte, err error) {
	issued, before := x.touched(c), x.Members()
	commit, welcome, err = x.engine.Commit(c, now)
	if err == nil {
		x.s.w.result.Epochs++
		x.s.w.commits[commitKey(commit)] = commitInfo{epoch: x.Epoch(), issued: issued}
		x.s.w.welcomes[string(welcome)] = x.allIssued()
		x.checkFollowable(c, now, issued, before)
	}
	return commit, welcome, err
}

func (x *witness) Process(commit []byte, now time.Time) error {
	if x.tooOld(now, x.s.w.commits[commitKey(commit)].issued) {
		return x.refuse()
	}
	return x.engine.Process(commit, now)
}

func (x *witness) Join(welcome []byte, now time.Time) error {
	if x.tooOld(now, x.s.w.welcomes[string(welcome)]) {
		return x.refuse()
	}
	err := x.engine.Join(welcome, now)
	if err == nil {
		x.floor = x.Epoch()
	}
	return err
}

func (x *witness) ForgetBefore(epoch uint64) {
	x.engine.ForgetBefore(epoch)
	x.floor = max(x.floor, min(epoch, x.Epoch()))
}

func (x *witness) Encrypt(plaintext, aad []byte) ([]byte, error) {
	b, err := x.engine.Encrypt(plaintext, aad)
	if x.s.w.vault.reused {
		x.s.w.vault.reused = false
		x.s.w.failf("%v encrypts with a key that was used before", x.s)
	}
	return b, err
}

func (x *witness) Decrypt(b []byte) (control.Plain, error) {
	p, err := x.engine.Decrypt(b)
	if err != nil {
		return p, err
	}
	if p.Epoch < x.floor || p.Epoch > x.Epoch() {
		x.s.w.failf("%v decrypts a message of epoch %d, though its epochs are %d to %d", x.s, p.Epoch, x.floor, x.Epoch())
	}
	for _, m := range x.Members() {
		if m.Subject == p.Subject && !m.Own {
			return p, nil
		}
	}
	x.s.w.failf("%v decrypts a message of %s, who is not in the group", x.s, p.Subject)
	return p, nil
}

// check: everybody in an epoch of a group has its secret.
func (x *witness) check() {
	group, secret := x.state()
	if group == "" {
		return
	}
	key := epochKey{group, x.Epoch()}
	known, ok := x.s.w.secrets[key]
	if !ok {
		x.s.w.secrets[key] = secret
	} else if known != secret {
		x.s.w.failf("%v is in another epoch %d than others of its group", x.s, key.epoch)
	}
}
