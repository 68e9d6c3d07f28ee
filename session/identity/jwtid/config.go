package jwtid

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/slimbridge/slimbridge/session/identity/internal/jws"
)

// Algorithm is how a token is signed (RFC 7518 section 3.1, RFC 8037). SLIM
// has these; there is no ES512.
type Algorithm string

// All algorithms.
const (
	HS256 Algorithm = "HS256"
	HS384 Algorithm = "HS384"
	HS512 Algorithm = "HS512"
	ES256 Algorithm = "ES256"
	ES384 Algorithm = "ES384"
	RS256 Algorithm = "RS256"
	RS384 Algorithm = "RS384"
	RS512 Algorithm = "RS512"
	PS256 Algorithm = "PS256"
	PS384 Algorithm = "PS384"
	PS512 Algorithm = "PS512"
	EdDSA Algorithm = "EdDSA"
)

// Format is how keys are written.
type Format int

const (
	// PEM is one key: PKCS #8, PKCS #1, SEC 1 or PKIX.
	PEM Format = iota
	// JWK is one key (RFC 7517).
	JWK
	// JWKS is a set of keys.
	JWKS
	// Raw is the secret of an HS algorithm, byte by byte. Upstream calls this
	// format pem, too.
	Raw
)

const (
	maxKeyFile = 256 << 10
	// trailing white space of a raw secret is part of the key for upstream,
	// and invisible for people.
	whiteSpace = " \t\r\n"
)

// Source is where keys or tokens are. It prints as its path, or "[redacted]".
type Source struct {
	path string
	data func() []byte // a closure, so that nothing prints it
}

// File is a file that is read again when it changes.
func File(path string) Source { return Source{path: path} }

// Data is a copy of b.
func Data(b []byte) Source {
	b = slices.Clone(b)
	return Source{data: func() []byte { return b }}
}

// Format writes the path of a file, "[redacted]" of data, for every verb.
func (s Source) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// String is the path of a file, "[redacted]" of data.
func (s Source) String() string {
	if s.data != nil {
		return "[redacted]"
	}
	return s.path
}

// MarshalText is [Source.String].
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Source) isZero() bool { return s.path == "" && s.data == nil }

// Key is one or more keys.
type Key struct {
	From   Source
	Format Format
	// Algorithm is required for Raw, and to sign with RSA, unless a JWK has
	// one of its own. Everywhere else it may be given to allow nothing else.
	Algorithm Algorithm
	// ID chooses one key of a JWKS, to sign with it.
	ID string
}

// parse reads the keys; signing leaves exactly one.
func (c Key) parse(text []byte, signing bool) ([]*jws.Key, error) {
	keys, err := c.read(text)
	if err != nil || !signing {
		return keys, err
	}
	keys = slices.DeleteFunc(keys, func(k *jws.Key) bool { return !k.CanSign() || c.ID != "" && k.ID != c.ID })
	switch {
	case len(keys) == 0:
		return nil, errors.New("no private key to sign with")
	case len(keys) > 1:
		return nil, errors.New("several private keys: choose one by its key id")
	case len(keys[0].Algorithms()) > 1:
		return nil, errors.New("the key fits several algorithms: choose one, such as RS256")
	}
	return keys, nil
}

func (c Key) read(text []byte) ([]*jws.Key, error) {
	alg := string(c.Algorithm)
	switch c.Format {
	case PEM:
		if c.Algorithm == HS256 || c.Algorithm == HS384 || c.Algorithm == HS512 {
			return nil, errors.New("HS algorithms have a secret, not a PEM key: use the format Raw")
		}
		return one(jws.ParsePEM(text, alg))
	case JWK:
		return one(jws.ParseJWK(text, alg))
	case JWKS:
		return jws.ParseJWKS(text, alg)
	case Raw:
		if n := len(text); n > 0 && slices.Contains([]byte(whiteSpace), text[n-1]) {
			return nil, errors.New("secret ends with white space, which counts for some peers: remove it (printf '%s' instead of echo), or write the secret as a JWK of type oct")
		}
		return one(jws.NewSecret("", text, alg))
	}
	return nil, errors.New("unknown key format")
}

func one(k *jws.Key, err error) ([]*jws.Key, error) {
	if err != nil {
		return nil, err
	}
	return []*jws.Key{k}, nil
}
