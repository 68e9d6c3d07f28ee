package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/jwtid"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// maxKeyFile bounds what is read to see how keys are written.
const maxKeyFile = 256 << 10

const makeKey = "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE`"

// jwtFlags make a JWT identity.
type jwtFlags struct {
	key, token, verify, subject, issuer, audience, algorithm, trust setting
}

func (j *jwtFlags) add(cmd *cobra.Command) {
	j.key.add(cmd, "jwt-key", "file with our private key, PEM or JWK: signs our tokens, which are JWTs; with --jwt-token the P-256 key that the token names")
	j.token.add(cmd, "jwt-token", "file with a JWT that somebody else signs and renews, with the claim pubkey")
	j.verify.add(cmd, "jwt-verify", "file with the public keys that tokens are signed with, ours included: PEM or JWK of one, JWKS of several")
	j.subject.add(cmd, "jwt-subject", "who we are in our tokens (default: our name and random characters)")
	j.issuer.add(cmd, "jwt-issuer", "issuer of our tokens, and of those of peers")
	j.audience.add(cmd, "jwt-audience", "audiences of our tokens, separated by commas; those of peers must have one in common")
	j.algorithm.add(cmd, "jwt-algorithm", "how we sign, needed with RSA, such as RS256; HS256 and others of HS: the key files hold a secret")
	j.trust.add(cmd, "jwt-trust", "whose keys a JWKS of --jwt-verify holds: apps (each signs for the subject that is its key id) or issuers (each for everybody) (default apps)")
	for _, s := range []*setting{&j.key, &j.token, &j.verify} {
		if err := cmd.MarkFlagFilename(s.flag); err != nil {
			panic(err) // the flag does not exist: a mistake in this package
		}
	}
	complete(cmd, "jwt-trust", "apps", "issuers")
	complete(cmd, "jwt-algorithm", algorithms...)
}

func (j *jwtFlags) all() []*setting {
	return []*setting{&j.key, &j.token, &j.verify, &j.subject, &j.issuer, &j.audience, &j.algorithm, &j.trust}
}

// algorithms are those of [jwtid.Algorithm].
var algorithms = []string{"ES256", "ES384", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "HS256", "HS384", "HS512"}

// check looks at what is given, not yet into files.
func (j *jwtFlags) check() error {
	someone := &j.key
	for _, s := range j.all() {
		if s.get() != "" {
			someone = s
			break
		}
	}
	switch {
	case j.token.get() != "" && j.key.get() == "":
		return usagef("%s needs --jwt-key: the P-256 private key whose public key the claim pubkey of the token is", j.token.source())
	case j.key.get() == "":
		return usagef("%s is given, but not who we are: --jwt-key with a private key to sign our tokens (%s)", someone.source(), makeKey)
	case j.verify.get() == "":
		return usagef("%s is given, but not whom we believe: --jwt-verify with the public keys of peers or of their issuer (`openssl pkey -in KEY -pubout`)", someone.source())
	case j.token.get() != "" && j.subject.get() != "":
		return usagef("%s is for tokens that we sign: the subject of %s is in the token", j.subject.source(), j.token.source())
	}
	if a := j.algorithm.get(); a != "" {
		if err := oneOf(j.algorithm.flag, a, algorithms...); err != nil {
			return err
		}
	}
	if t := j.trust.get(); t != "" {
		if err := oneOf(j.trust.flag, t, "apps", "issuers"); err != nil {
			return err
		}
	}
	if j.trust.get() == "issuers" && j.issuer.get() == "" {
		return usagef("%s issuers needs --jwt-issuer: without it tokens for any purpose that these keys sign would do", j.trust.source())
	}
	return nil
}

// open reads all files once, so that a mistake is known from the start.
func (j *jwtFlags) open(p *program) (credentials, error) {
	if err := j.check(); err != nil {
		return nil, err
	}
	c := &jwtCredentials{flags: j}
	var err error
	if c.key, err = j.keyFile(p, &j.key, true); err != nil {
		return nil, err
	}
	keys, err := j.keyFile(p, &j.verify, false)
	if err != nil {
		return nil, err
	}
	config := jwtid.VerifierConfig{Keys: keys, Issuer: j.issuer.get(), Audience: j.audience.list()}
	if j.trust.get() == "issuers" {
		config.Trust = jwtid.Issuers
	}
	if c.verifier, err = jwtid.NewVerifier(config); err != nil {
		return nil, fmt.Errorf("%s: %w", j.verify.source(), err)
	}
	var me identity.Provider
	if j.token.get() == "" {
		me, err = c.minting(cmp.Or(j.subject.get(), "nobody"))
	} else {
		c.static, err = j.openToken()
		me = c.static
	}
	if err != nil {
		return nil, err
	}
	return c, c.prove(me)
}

// prove makes sure that we believe ourselves.
func (c *jwtCredentials) prove(me identity.Provider) error {
	err := believed(me, c.verifier)
	switch verify := c.flags.verify.source(); {
	case errors.Is(err, identity.ErrUntrusted):
		return fmt.Errorf("%s has no key for our own token: want the keys of all members there, ours or our issuer's included; a JWKS holds several", verify)
	case errors.Is(err, identity.ErrSubject):
		return fmt.Errorf("%s lets our own key sign for its key id alone: use that with --jwt-subject, or --jwt-trust issuers if these are keys of issuers", verify)
	case err != nil:
		return fmt.Errorf("%s does not take our own token: %w", verify, err)
	}
	return nil
}

func (j *jwtFlags) openToken() (*jwtid.Static, error) {
	text, err := readKey(j.key.get())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", j.key.source(), err)
	}
	signer, err := identity.ParseSigner(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", j.key.source(), err)
	}
	static, err := jwtid.NewStatic(j.token.get(), signer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", j.token.source(), err)
	}
	return static, nil
}

// keyFile looks how the keys in a file are written. Of private ones it warns if
// others may read them.
func (j *jwtFlags) keyFile(p *program, s *setting, private bool) (jwtid.Key, error) {
	path, algorithm := s.get(), j.algorithm.get()
	text, err := readKey(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && private:
		return jwtid.Key{}, fmt.Errorf("%s: there is no file %s: make a key with %s", s.source(), path, makeKey)
	case err != nil:
		return jwtid.Key{}, fmt.Errorf("%s: %w", s.source(), err)
	}
	k := jwtid.Key{From: jwtid.File(path), Format: jwtid.PEM}
	secret := strings.HasPrefix(algorithm, "HS")
	if private || secret { // the algorithm of ours need not be that of peers
		k.Algorithm = jwtid.Algorithm(algorithm)
	}
	var object map[string]json.RawMessage
	switch {
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) && json.Unmarshal(text, &object) == nil:
		k.Format = jwtid.JWK
		if object["keys"] != nil {
			k.Format = jwtid.JWKS
		}
	case secret:
		k.Format = jwtid.Raw
	}
	if (private || secret) && runtime.GOOS != "windows" { // which has no mode bits to look at
		if err := identity.CheckSecretFile(path); err != nil {
			fmt.Fprintf(p.stderr, "slimbridge: warning: %v\n", err)
		}
	}
	return k, nil
}

func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // was only read
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// jwtCredentials sign the tokens of each app, or show that of a file.
type jwtCredentials struct {
	flags    *jwtFlags
	key      jwtid.Key
	verifier *jwtid.Verifier
	static   *jwtid.Static // nil: we sign
}

func (c *jwtCredentials) minting(subject string) (*jwtid.Provider, error) {
	me, err := jwtid.New(jwtid.Config{Key: c.key, Subject: subject, Issuer: c.flags.issuer.get(), Audience: c.flags.audience.list()})
	if err != nil {
		if c.flags.algorithm.get() == "" {
			err = fmt.Errorf("%w (RSA keys and HS secrets need --jwt-algorithm)", err)
		}
		return nil, fmt.Errorf("%s: %w", c.flags.key.source(), err)
	}
	return me, nil
}

func (c *jwtCredentials) of(self name.Name) (identity.Provider, identity.Verifier, error) {
	if c.static != nil {
		return c.static, c.verifier, nil
	}
	me, err := c.minting(cmp.Or(c.flags.subject.get(), self.Path()+"_"+random()))
	return me, c.verifier, err
}

func (c *jwtCredentials) defaultName(n name.Name) name.Name {
	switch {
	case c.static != nil:
		return distinct(n, c.static.Subject())
	case c.flags.subject.get() != "":
		return distinct(n, c.flags.subject.get())
	}
	return n
}

func (c *jwtCredentials) single() string {
	switch {
	case c.static != nil:
		return c.flags.token.source()
	case c.flags.subject.get() != "":
		return c.flags.subject.source()
	}
	return ""
}

func (c *jwtCredentials) close() {}
