package mls

import (
	"fmt"
	"io"
	"time"
)

// Suite is a cipher suite number of RFC 9420 section 17.1.
type Suite uint16

// The suites that are built. Both use SHA-256, HKDF, HMAC and AES-128-GCM; any
// other number is [ErrUnsupported].
const (
	X25519 Suite = 1 // MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519
	P256   Suite = 2 // MLS_128_DHKEMP256_AES128GCM_SHA256_P256, SLIM's own
)

// Signer is the app's identity key, which signs its leaves and everything it
// sends. msg is the whole SignContent, not a digest, and is only valid during
// the call.
type Signer interface {
	// Public is a 65-byte uncompressed P-256 point or a 32-byte Ed25519 key.
	Public() []byte
	Sign(msg []byte) ([]byte, error)
}

// Member is one leaf of a group. Its slices must not be written to.
type Member struct {
	Leaf         uint32
	Credential   []byte // identity of a basic credential: a SLIM identity token
	SignatureKey []byte // in the form of [Signer].Public
	// Suites are the cipher suites that its client says it can do.
	Suites []uint16
}

// Reason says why a leaf is shown to [Verify].
type Reason uint8

const (
	// Adding: we are about to add this leaf. Its token must be fresh.
	Adding Reason = iota + 1
	// Rejoining: we are about to replace a current member's leaf by this one of
	// the same subject and with the same signature key. Real peers put the
	// token of their first join into it, so its age says nothing.
	Rejoining
	// Added: a received commit adds this leaf.
	Added
	// Joining: the leaf is in the tree of a group we are joining.
	Joining
	// Path: the committer replaced its own leaf. Also shown for our own new
	// credential before it is sent.
	Path
)

// String returns the reason's name.
func (r Reason) String() string {
	switch r {
	case Adding:
		return "adding"
	case Rejoining:
		return "rejoining"
	case Added:
		return "added"
	case Joining:
		return "joining"
	case Path:
		return "path"
	default:
		return fmt.Sprintf("reason %d", uint8(r))
	}
}

// Verify decides whether a leaf is acceptable: the credential must be genuine
// and must name SignatureKey as its key. An error refuses the whole call; it is
// returned inside an [Error] of kind [ErrInvalidLeaf], so its text must not
// contain the credential.
type Verify func(m Member, why Reason) error

// Subject names the owner of a leaf. It must not check expiry. Two leaves of
// one subject cannot be in a group, and a member's new leaf must have the
// subject of its old one.
type Subject func(m Member) (string, error)

// Config is what every group of one app shares. All fields are required.
type Config struct {
	Suite      Suite
	Signer     Signer
	Credential []byte // 1 byte to 32 KiB
	Verify     Verify
	Subject    Subject
}

// Lifetime is the validity of a key package in Unix seconds, both inclusive.
type Lifetime struct {
	NotBefore, NotAfter uint64
}

// Change is what one commit does. An empty Change is refused.
type Change struct {
	Remove []uint32 // leaves to remove; never our own
	Add    [][]byte // key packages as MLSMessage
	// Credential replaces our own, of the same subject, and implies Path.
	Credential []byte
	// Path renews our keys and, with them, the secrets of the group.
	Path bool
}

// Delta is what a received commit did.
type Delta struct {
	Committer      Member // its leaf after the commit
	Added, Removed []Member
}

// Message is one decrypted application message. It shares no memory with the
// ciphertext.
type Message struct {
	Plaintext, AAD []byte
	Sender         Member // as of the message's epoch
	Epoch          uint64
	Generation     uint32
}

// Times and limits of this implementation.
const (
	// LifetimeMargin is how far our key packages are dated back, for peers
	// whose clocks are behind ours.
	LifetimeMargin = time.Hour
	// LifetimeSpan is how long our key packages are valid (as mls-rs).
	LifetimeSpan = 365 * 24 * time.Hour
	// ClockSkew is how far ahead of our clock a key package may begin, and how
	// long ago it may have ended, when we add it. Receivers do not look at
	// lifetimes, so that clocks cannot split a group.
	ClockSkew = 5 * time.Minute
	// MaxAhead is how many generations of one sender may be skipped at once,
	// and how many skipped keys of one sender are kept (the former as mls-rs).
	MaxAhead = 1024
	// PastEpochs is how many earlier epochs stay decryptable.
	PastEpochs = 8

	maxMessage    = 16 << 20
	maxVector     = 1<<30 - 1 // the most that a length can say; saved groups only
	maxPlaintext  = 12 << 20  // leaves room for the padding
	maxCredential = 32 << 10
	maxAAD        = 64 << 10
	maxGroupID    = 255
	maxLeaves     = 1024
	maxDepth      = 10 // of a tree of maxLeaves
	maxProposals  = 512
	maxSecrets    = 512 // entries of a Welcome
	maxExtensions = 64
	maxCapability = 256

	maxExtensionData = 32 << 10 // of a leaf or key package, encoded
)

// check returns the suite of a usable configuration.
func (c Config) check() (*suite, error) {
	s := suiteOf(c.Suite)
	switch {
	case s == nil:
		return nil, fail(ErrUnsupported, "cipher suite")
	case c.Signer == nil || c.Verify == nil || c.Subject == nil:
		return nil, fail(ErrUnsupported, "config is incomplete")
	}
	if _, err := s.parseVerifyKey(c.Signer.Public()); err != nil {
		return nil, fail(ErrUnsupported, "signature key is not one of the suite")
	}
	return s, checkCredential(c.Credential)
}

func checkCredential(b []byte) error {
	if len(b) == 0 || len(b) > maxCredential {
		return fail(ErrInvalidLeaf, "credential is empty or too long")
	}
	return nil
}

// randomSecret reads 32 bytes.
func randomSecret(rnd io.Reader) (s secret, err error) {
	if _, err := io.ReadFull(rnd, s[:]); err != nil {
		return s, fail(ErrUnsupported, "no randomness")
	}
	return s, nil
}
