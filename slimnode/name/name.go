package name

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// MaxComponent is the longest component [Parse] takes, in bytes. The wire has
// no limit of its own; names appear in every header, so a bound is needed.
const MaxComponent = 256

// Prefix is the routable part of a name: the hashes of its three components.
// Two names with equal prefixes are the same service.
type Prefix [3]uint64

// Name is a SLIM name. The zero value is no name (see [Name.IsZero]).
//
// A name that came from the wire without its strings has a Prefix and an ID
// but empty Components, so names are compared by [Name.Key], not with ==.
type Name struct {
	Components [3]string
	Prefix     Prefix
	ID         ID
}

// Key identifies an instance: prefix and id, without the strings.
type Key struct {
	Prefix Prefix
	ID     ID
}

// New builds the name of three components with the id [Any]. It does not
// validate; use [Parse] for input of people.
func New(org, namespace, app string) Name {
	return Name{
		Components: [3]string{org, namespace, app},
		Prefix:     Prefix{HashComponent(org), HashComponent(namespace), HashComponent(app)},
		ID:         Any,
	}
}

// Parse reads "organisation/namespace/app": exactly three non-empty parts,
// white space around each part removed, as upstream does. The id is [Any].
func Parse(s string) (Name, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return Name{}, fmt.Errorf("name %q: want three parts, organisation/namespace/app", s)
	}
	for i, p := range parts {
		p = strings.TrimSpace(p)
		switch {
		case p == "":
			return Name{}, fmt.Errorf("name %q: part %d is empty, want organisation/namespace/app", s, i+1)
		case len(p) > MaxComponent:
			return Name{}, fmt.Errorf("name %.40q...: part %d has %d bytes, at most %d are allowed", s, i+1, len(p), MaxComponent)
		case !utf8.ValidString(p):
			return Name{}, fmt.Errorf("name %q: part %d is not valid UTF-8", s, i+1)
		}
		parts[i] = p
	}
	return New(parts[0], parts[1], parts[2]), nil
}

// MustParse is [Parse] for constants; it panics on a bad name.
func MustParse(s string) Name {
	n, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return n
}

// HashComponent is XXH64 with seed 0 over the UTF-8 bytes and one byte 0xFF
// (source: agntcy/slim crates/datapath, Rust's Hash for str).
func HashComponent(s string) uint64 {
	var buf [MaxComponent + 1]byte
	b := append(append(buf[:0], s...), 0xff)
	return xxhash.Sum64(b)
}

// WithID returns the same name with another id.
func (n Name) WithID(id ID) Name { n.ID = id; return n }

// Service returns the name without its instance: the id is [Any].
func (n Name) Service() Name { return n.WithID(Any) }

// Key returns the comparable identity of the name.
func (n Name) Key() Key { return Key{Prefix: n.Prefix, ID: n.ID} }

// IsZero reports whether n is the zero Name.
func (n Name) IsZero() bool { return n == Name{} }

// HasStrings reports whether the components are known.
func (n Name) HasStrings() bool { return n.Components != [3]string{} }

// Path returns "organisation/namespace/app", or the three hashes in
// hexadecimal if the strings are not known.
func (n Name) Path() string {
	if n.HasStrings() {
		return n.Components[0] + "/" + n.Components[1] + "/" + n.Components[2]
	}
	return fmt.Sprintf("%016x/%016x/%016x", n.Prefix[0], n.Prefix[1], n.Prefix[2])
}

// String returns the path and, unless it is [Any], the id:
// "org/ns/bob/9c1e1232-3fbc-1149-ea30-7aa1e1750cb2".
func (n Name) String() string {
	if n.ID == Any {
		return n.Path()
	}
	return n.Path() + "/" + n.ID.String()
}
