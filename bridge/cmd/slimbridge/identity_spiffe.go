package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/spiffe"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// spiffeFlags take the identity of this process from a SPIFFE Workload API.
type spiffeFlags struct {
	socket, id, audience, domains setting
}

func (s *spiffeFlags) add(cmd *cobra.Command) {
	s.socket.add(cmd, "spiffe", "SPIFFE Workload API that knows who we are and whom to believe: path of its socket, unix:///path or tcp://host:port")
	s.id.add(cmd, "spiffe-id", "SPIFFE ID to use, if this process has several")
	s.audience.add(cmd, "spiffe-audience", "audiences of tokens, separated by commas; those of peers must have one in common (default "+spiffe.DefaultAudience+")")
	s.domains.add(cmd, "spiffe-trust-domain", "trust domains to believe, separated by commas (default: all that the API knows)")
	if err := cmd.MarkFlagFilename("spiffe"); err != nil {
		panic(err) // the flag does not exist: a mistake in this package
	}
}

func (s *spiffeFlags) all() []*setting {
	return []*setting{&s.socket, &s.id, &s.audience, &s.domains}
}

// open asks the API for the first token.
func (s *spiffeFlags) open(ctx context.Context) (credentials, error) {
	if s.socket.get() == "" {
		flag, variable := anyOf(s.all())
		if flag == "" {
			flag = variable
		}
		return nil, usagef("%s is given, but no Workload API: --spiffe with its socket, such as /run/spire/agent.sock", flag)
	}
	config := spiffe.Config{Addr: s.socket.get(), SPIFFEID: s.id.get(), Audience: s.audience.list(), TrustDomains: s.domains.list()}
	if err := config.Validate(); err != nil {
		return nil, usagef("%s: %w", s.socket.source(), err)
	}
	source, err := spiffe.Open(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", s.socket.source(), s.socket.get(), err)
	}
	if err := believed(source, source); err != nil {
		_ = source.Close()
		return nil, fmt.Errorf("our own identity %s is not among those that we believe: %w; see --spiffe-trust-domain", source.Subject(), err)
	}
	return spiffeCredentials{s.socket.source(), source}, nil
}

// spiffeCredentials are one SPIFFE ID, which all apps of this process have.
type spiffeCredentials struct {
	given  string // the flag or variable
	source *spiffe.Source
}

func (c spiffeCredentials) of(name.Name) (identity.Provider, identity.Verifier, error) {
	return c.source, c.source, nil
}

func (c spiffeCredentials) defaultName(n name.Name) name.Name {
	return distinct(n, c.source.Subject())
}

func (c spiffeCredentials) single() string { return c.given }

func (c spiffeCredentials) close() { _ = c.source.Close() }
