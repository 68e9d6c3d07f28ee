package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session/identity"
)

// secretFlag is where the shared secret comes from. No flag takes the secret
// itself: command lines are visible to every user of a machine.
type secretFlag struct{ file string }

func (s *secretFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.file, "secret-file", "", "file with the shared secret (default $"+envSecretFile+", $"+envSecret+" or the secret of this user)")
	if err := cmd.MarkFlagFilename("secret-file"); err != nil {
		panic(err) // the flag does not exist: a mistake in this package
	}
}

// load returns what the user named: the flag, else one of the variables. ok is
// false if there is none of them.
func (s *secretFlag) load(p *program) (secret identity.Secret, ok bool, err error) {
	file, value := os.Getenv(envSecretFile), os.Getenv(envSecret)
	switch {
	case s.file != "":
		secret, err = p.readSecret(s.file)
	case file != "" && value != "":
		return secret, false, usagef("%s and %s are both set: unset one of them", envSecretFile, envSecret)
	case file != "":
		secret, err = p.readSecret(file)
	case value != "":
		if secret, err = identity.NewSecret([]byte(value)); err != nil {
			err = fmt.Errorf("%s: %w", envSecret, err)
		}
	default:
		return secret, false, nil
	}
	return secret, err == nil, err
}

// forServing is load, else the secret of this user, which is made if there is
// none yet.
func (s *secretFlag) forServing(p *program) (identity.Secret, error) {
	secret, ok, err := s.load(p)
	if ok || err != nil {
		return secret, err
	}
	path, err := userSecretFile()
	if err != nil {
		return secret, err
	}
	made, err := makeSecretFile(path)
	if err != nil {
		return secret, fmt.Errorf("cannot make the secret of this user: %w; use --secret-file or %s", err, envSecretFile)
	}
	if made {
		fmt.Fprintf(p.stderr, "slimbridge: made a shared secret for this user in %s; both ends need it\n", path)
	}
	return p.readSecret(path)
}

// forConnecting is load, else the secret of this user. It never makes one: a
// new secret would fit no server.
func (s *secretFlag) forConnecting(p *program) (identity.Secret, error) {
	secret, ok, err := s.load(p)
	if ok || err != nil {
		return secret, err
	}
	path, err := userSecretFile()
	if err != nil {
		return secret, err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return secret, fmt.Errorf("no shared secret: there is no %s; start the other side (`slimbridge mcp serve`, `receive` or `group join`) as this user first, which makes it, or copy the secret of the serving side to a file and name it with --secret-file or %s", path, envSecretFile)
	}
	return p.readSecret(path)
}

// readSecret warns about files that others may read. It does not refuse them:
// container platforms mount secrets that way.
func (p *program) readSecret(path string) (identity.Secret, error) {
	secret, err := identity.ReadSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return secret, fmt.Errorf("there is no secret file %s: make one with `slimbridge secret new --out %s`, or copy that of the other side", path, path)
	}
	if err != nil {
		return secret, err
	}
	if runtime.GOOS == "windows" { // has no mode bits to look at
		return secret, nil
	}
	if err := identity.CheckSecretFile(path); err != nil {
		fmt.Fprintf(p.stderr, "slimbridge: warning: %v\n", err)
	}
	return secret, nil
}

// userSecretFile is the path of the secret of this user.
func userSecretFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no shared secret is given and there is no configuration directory for one (%w): use --secret-file or %s", err, envSecretFile)
	}
	return filepath.Join(dir, "slimbridge", "secret"), nil
}

// makeSecretFile writes a fresh secret to path unless the file exists. It is
// complete from the moment it has its name, and of several processes at once
// exactly one makes it: the name is a hard link, which replaces nothing.
func makeSecretFile(path string) (made bool, err error) {
	if _, err := os.Lstat(path); err == nil {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, err
	}
	draft := path + "." + rand.Text()
	if err := identity.WriteSecretFile(draft, identity.GenerateSecret()); err != nil {
		return false, err
	}
	err = os.Link(draft, path)
	if errors.Is(err, fs.ErrExist) {
		return false, os.Remove(draft)
	}
	return err == nil, errors.Join(err, os.Remove(draft))
}
