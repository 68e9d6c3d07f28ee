package identity

import (
	"errors"
	"strings"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// ErrName is about a source name that is not its token's.
var ErrName = errors.New("identity: source name is not the one of its token's subject: let each app take its own name, or allow other names here")

// A NameRule says whether a verified subject may speak under a source name.
// The error is [ErrName].
type NameRule func(subject string, source name.Name) error

// OwnID demands that the id of the name is the one that derives from the
// subject. Every real app satisfies it (source: agntcy/slim crates/session, the
// binding checks of 3.4); the three components of the name may be anything.
func OwnID(subject string, source name.Name) error {
	if source.ID != name.IDOf(subject) {
		return ErrName
	}
	return nil
}

// OwnName is [OwnID], and if the subject spells a name, "org/ns/app" or
// "org/ns/app_" with the 8 characters of a shared secret's identity, then it is
// that name. Upstream does not check this: there, whoever has a good token may
// use the components of anybody. It also refuses an app that speaks under a
// second name of its own. A subject that spells no name, such as a SPIFFE ID,
// cannot be compared.
func OwnName(subject string, source name.Name) error {
	if err := OwnID(subject, source); err != nil {
		return err
	}
	full, spelled := spelledPrefix(subject)
	if !spelled || full == source.Prefix {
		return nil
	}
	if base, ok := cutSuffix(subject); ok {
		if p, ok := spelledPrefix(base); ok && p == source.Prefix {
			return nil
		}
	}
	return ErrName
}

// spelledPrefix compares by hash, because names may come without their strings.
func spelledPrefix(s string) (name.Prefix, bool) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return name.Prefix{}, false
	}
	return name.New(parts[0], parts[1], parts[2]).Prefix, true
}

// cutSuffix removes what [NewSharedSecret] adds to the base.
func cutSuffix(subject string) (base string, ok bool) {
	i := len(subject) - suffixSize - 1
	if i <= 0 || subject[i] != '_' || strings.Trim(subject[i+1:], suffixAlpha) != "" {
		return "", false
	}
	return subject[:i], true
}
