package identity

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

const (
	// MinSecret is the fewest bytes a shared secret may have
	// (source: agntcy/slim crates/auth).
	MinSecret = 32

	maxSecretFile = 64 << 10
	redacted      = "[redacted]"
)

// Secret is a shared secret. Every way of printing or marshalling it gives
// "[redacted]"; only [Secret.Reveal] gives the bytes. The zero value is no
// secret and is refused where one is needed.
type Secret struct {
	// A closure, because fmt cannot call the methods of an unexported field of
	// somebody else's struct and would print bytes, even behind a pointer.
	value func() []byte
}

// NewSecret copies b, which needs at least [MinSecret] bytes.
func NewSecret(b []byte) (Secret, error) {
	if len(b) < MinSecret {
		return Secret{}, fmt.Errorf("identity: secret has %d bytes, needs at least %d: make one with `slimbridge secret new`",
			len(b), MinSecret)
	}
	return hide(slices.Clone(b)), nil
}

// GenerateSecret makes a secret of 256 random bits, as 43 printable characters.
func GenerateSecret() Secret {
	var random [32]byte
	rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	return hide(base64.RawURLEncoding.AppendEncode(nil, random[:]))
}

func hide(b []byte) Secret { return Secret{value: func() []byte { return b }} }

// ReadSecretFile reads a secret and drops one final newline, which editors and
// echo leave and which no peer would have in its key. It does not look at the
// file's permissions: see [CheckSecretFile].
func ReadSecretFile(path string) (Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return Secret{}, fmt.Errorf("identity: read secret: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return Secret{}, fmt.Errorf("identity: read secret: %w", err)
	}
	if len(b) > maxSecretFile {
		return Secret{}, fmt.Errorf("identity: secret file %s is larger than %d bytes", path, maxSecretFile)
	}
	if rest, ok := bytes.CutSuffix(b, []byte("\n")); ok {
		b = bytes.TrimSuffix(rest, []byte("\r"))
	}
	s, err := NewSecret(b)
	if err != nil {
		return Secret{}, fmt.Errorf("%w (file %s)", err, path)
	}
	return s, nil
}

// WriteSecretFile writes s and a newline to a new file that only its owner may
// read. It refuses to replace an existing file.
func WriteSecretFile(path string, s Secret) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("identity: write secret: %w", err)
	}
	_, err = f.Write(append(s.Reveal(), '\n'))
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	if err != nil {
		return fmt.Errorf("identity: write secret: %w", err)
	}
	return nil
}

// CheckSecretFile returns an error if the file's group or the world may access
// it. Whether that is a warning or a refusal is the caller's choice: container
// platforms often mount secrets readable.
func CheckSecretFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("identity: check secret: %w", err)
	}
	if exposed := info.Mode().Perm() & fs.FileMode(0o077); exposed != 0 {
		return fmt.Errorf("identity: secret file %s is accessible to others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	return nil
}

// IsZero reports whether s is the zero value.
func (s Secret) IsZero() bool { return s.value == nil }

// Reveal returns a copy of the secret's bytes. Its only uses are to derive a
// MAC and to write the secret to its file.
func (s Secret) Reveal() []byte {
	if s.value == nil {
		return nil
	}
	return slices.Clone(s.value())
}

// String is always "[redacted]".
func (s Secret) String() string { return redacted }

// GoString is always "[redacted]".
func (s Secret) GoString() string { return redacted }

// Format writes "[redacted]" for every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText is always "[redacted]".
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON is always the string "[redacted]".
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
