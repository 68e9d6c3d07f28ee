package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// identityFlags say who we are and whom we believe: by a shared secret, by JWTs or
// by a SPIFFE Workload API. Flags of one kind put the variables of the others out of
// force.
type identityFlags struct {
	secret secretFlag
	jwt    jwtFlags
	spiffe spiffeFlags
}

func (i *identityFlags) add(cmd *cobra.Command) {
	i.secret.add(cmd)
	i.jwt.add(cmd)
	i.spiffe.add(cmd)
}

// credentials make the identities of the apps of one run.
type credentials interface {
	// of is who an app of that name is, and what checks who others are.
	of(self name.Name) (identity.Provider, identity.Verifier, error)
	// defaultName is what an app that was given no name is called instead of n.
	defaultName(n name.Name) name.Name
	// single is the flag or variable that makes all apps one subject, "" if none does.
	single() string
	// close ends what renews them; the apps must be closed by then.
	close()
}

// forServing makes the secret of this user if nothing is given and there is none.
func (i *identityFlags) forServing(ctx context.Context, p *program) (credentials, error) {
	return i.open(ctx, p, i.secret.forServing)
}

// forConnecting never makes a secret: it would fit no server.
func (i *identityFlags) forConnecting(ctx context.Context, p *program) (credentials, error) {
	return i.open(ctx, p, i.secret.forConnecting)
}

// forBothEnds is for apps that only meet in this process: any secret does.
func (i *identityFlags) forBothEnds(ctx context.Context, p *program) (credentials, error) {
	c, err := i.open(ctx, p, func(p *program) (identity.Secret, error) {
		secret, ok, err := i.secret.load(p)
		if !ok && err == nil {
			secret = identity.GenerateSecret()
		}
		return secret, err
	})
	if err != nil {
		return nil, err
	}
	if one := c.single(); one != "" {
		c.close()
		return nil, usagef("%s makes both ends one identity, and MLS has no two members of one: use a shared secret, or --jwt-key without a subject", one)
	}
	return c, nil
}

func (i *identityFlags) open(ctx context.Context, p *program, secret func(*program) (identity.Secret, error)) (credentials, error) {
	kind, err := i.kind()
	if err != nil {
		return nil, err
	}
	switch kind {
	case byJWT:
		return i.jwt.open(p)
	case bySPIFFE:
		return i.spiffe.open(ctx)
	}
	s, err := secret(p)
	if err != nil {
		return nil, err
	}
	return secretCredentials{s}, nil
}

type identityKind int

const (
	bySecret identityKind = iota
	byJWT
	bySPIFFE
	identityKinds
)

// kind is that of the flags, else that of the variables, else the shared secret.
func (i *identityFlags) kind() (identityKind, error) {
	var flags, variables [identityKinds]string // one that is given, for each kind
	if i.secret.file != "" {
		flags[bySecret] = "--secret-file"
	}
	for _, v := range []string{envSecretFile, envSecret} {
		if os.Getenv(v) != "" {
			variables[bySecret] = v
		}
	}
	flags[byJWT], variables[byJWT] = anyOf(i.jwt.all())
	flags[bySPIFFE], variables[bySPIFFE] = anyOf(i.spiffe.all())
	for _, given := range [][identityKinds]string{flags, variables} {
		found := identityKinds
		for k, source := range given {
			switch {
			case source == "":
			case found != identityKinds:
				return 0, usagef("%s and %s are both given: an app has one kind of identity, so leave one out", given[found], source)
			default:
				found = identityKind(k)
			}
		}
		if found != identityKinds {
			return found, nil
		}
	}
	return bySecret, nil
}

// setting is a flag that has a variable of its own, such as --jwt-key and
// SLIM_JWT_KEY.
type setting struct{ flag, value string }

func (s *setting) add(cmd *cobra.Command, flag, meaning string) {
	s.flag = flag
	cmd.Flags().StringVar(&s.value, flag, "", meaning)
}

func (s *setting) variable() string {
	return "SLIM_" + strings.ToUpper(strings.ReplaceAll(s.flag, "-", "_"))
}

func (s *setting) get() string { return cmp.Or(s.value, os.Getenv(s.variable())) }

// source is what the user knows the value by.
func (s *setting) source() string {
	if s.value == "" && os.Getenv(s.variable()) != "" {
		return s.variable()
	}
	return "--" + s.flag
}

// list is a value with commas.
func (s *setting) list() []string {
	var all []string
	for v := range strings.SplitSeq(s.get(), ",") {
		if v = strings.TrimSpace(v); v != "" {
			all = append(all, v)
		}
	}
	return all
}

// anyOf names a flag and a variable among settings that are given, if any is.
func anyOf(settings []*setting) (flag, variable string) {
	for _, s := range settings {
		if s.value != "" && flag == "" {
			flag = "--" + s.flag
		}
		if os.Getenv(s.variable()) != "" && variable == "" {
			variable = s.variable()
		}
	}
	return flag, variable
}

// secretCredentials are one secret; each app has an identity of its own.
type secretCredentials struct{ secret identity.Secret }

func (c secretCredentials) of(self name.Name) (identity.Provider, identity.Verifier, error) {
	id, err := identity.NewSharedSecret(c.secret, self.Path())
	return id, id, err
}

func (c secretCredentials) defaultName(n name.Name) name.Name { return n }

func (c secretCredentials) single() string { return "" }

func (c secretCredentials) close() {}

// believed holds a token of our own against what we demand of others: in an MLS
// group everybody checks all members, himself included.
func believed(me identity.Provider, verifier identity.Verifier) error {
	now := time.Now()
	token, err := me.Token(now)
	if err == nil {
		_, err = verifier.Verify(token, now)
	}
	return err
}

// distinct varies a name for apps of one subject: an app is found by its name and
// the id of its subject, so no two may have both. A subject that spells a name
// leaves no choice.
func distinct(n name.Name, subject string) name.Name {
	varied := name.New(n.Components[0], n.Components[1], n.Components[2]+"-"+random())
	if !fits(subject, varied) {
		return n
	}
	return varied
}

// fits tells whether peers let an app of that subject use that name.
func fits(subject string, n name.Name) bool {
	return identity.OwnName(subject, n.WithID(name.IDOf(subject))) == nil
}

// random is 8 characters, as a shared secret adds them to its subjects.
func random() string { return rand.Text()[:8] }
