package control

import (
	"crypto/sha256"
	"errors"
	"time"
)

// MLS is the MLS side of one session: its group, or the key package that waits
// for one. A refused call leaves it as it was. Errors carry no secret and no
// input bytes. Not safe for concurrent use.
type MLS interface {
	// KeyPackage makes the key package for a join; [MLS.Join] takes a Welcome
	// made for it. Its token is the one of the earlier key packages of this
	// session, by which others know that it is the same session, or a fresh
	// one if that is older than [TokenRenewal].
	KeyPackage(now time.Time) ([]byte, error)
	// Create makes a group of which we are the only member, epoch 0. It
	// replaces a group in which nobody else is left.
	Create(now time.Time) error
	// Commit makes one commit and applies it. The Welcome is nil if nobody
	// is added.
	Commit(c Change, now time.Time) (commit, welcome []byte, err error)
	// Join enters the group of a Welcome, replacing the group we were in.
	Join(welcome []byte, now time.Time) error
	// Process applies another member's commit.
	Process(commit []byte, now time.Time) error
	Encrypt(plaintext, aad []byte) ([]byte, error)
	Decrypt(message []byte) (Plain, error)
	// Epoch of the group, 0 if there is none.
	Epoch() uint64
	Members() []Member
	// ForgetBefore drops the keys of epochs before the given one.
	ForgetBefore(epoch uint64)
	// Save and Load carry the group across a restart, secrets in clear.
	Save() ([]byte, error)
	Load(state []byte) error
	// Skip uses up the keys of our next n messages.
	Skip(n int) error
	// Wipe drops all secrets.
	Wipe()
}

// Change is what one commit does.
type Change struct {
	Remove []uint32 // leaf indices
	Add    [][]byte // key packages as received
	// Subject and Key that the added key package must carry.
	Subject string
	Key     []byte
	// Refresh puts fresh keys and a freshly minted token into our own leaf.
	Refresh bool
	// Check, if set, is shown the leaf of the added key package, without its
	// number; an error refuses the commit.
	Check func(Member) error
}

// Member is one leaf of the group.
type Member struct {
	Leaf    uint32
	Subject string
	Key     []byte // its signature public key
	Own     bool
	// IssuedAt is when the identity token in the leaf was made, zero if the
	// token does not tell.
	IssuedAt time.Time
	// Expires is until when that token is valid, zero if it does not tell.
	Expires time.Time
	// Token is the SHA-256 of the token. Members mint one per session, so that
	// it tells who was removed and invited again; times, in whole seconds, do
	// not.
	Token [sha256.Size]byte
	// ChecksAge: the member is not known to be of this implementation, and so
	// must be taken for one that refuses leaves with old tokens, as the real
	// library does.
	ChecksAge bool
}

// Plain is a decrypted application message.
type Plain struct {
	Payload, AAD []byte
	Subject      string // of the sending leaf
	Epoch        uint64
}

// ErrTooFarAhead is in what [MLS.Decrypt] returns for a message that is too
// many messages ahead of the last one decrypted of its sender: so will be all
// that the sender encrypts in this epoch.
var ErrTooFarAhead = errors.New("too many messages of the sender were missed")

// NotYetError is returned by [MLS.Commit] for a key package that is only valid
// from a moment on, because the clock of its maker is ahead of ours.
type NotYetError struct {
	At  time.Time
	Err error
}

func (e *NotYetError) Error() string { return e.Err.Error() }
func (e *NotYetError) Unwrap() error { return e.Err }
