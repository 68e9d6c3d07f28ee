package spiffe

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/internal/jws"
)

const (
	// DefaultAudience of tokens (source: agntcy/slim crates/auth/src/spire.rs).
	DefaultAudience = "slim"

	carrier = "slim-claims:" // prefix of the audience with the public key

	fetchTimeout   = 10 * time.Second
	minRenew       = time.Second
	minRetry       = time.Second
	maxRetry       = 30 * time.Second
	maxAudiences   = 16
	admittedTokens = 8192
)

// Config of an identity from a Workload API.
type Config struct {
	// Addr of the Workload API: "unix:///run/spire/agent.sock", the path
	// alone, or "tcp://127.0.0.1:8081". Default: what the environment variable
	// SPIFFE_ENDPOINT_SOCKET says.
	Addr string
	// SPIFFEID chooses an identity if the workload has several. Default: the
	// agent's first one.
	SPIFFEID string
	// Audience of our tokens, and of those of peers, which must have one in
	// common with it. Default DefaultAudience.
	Audience []string
	// TrustDomains whose members are accepted. Default: all that the agent has
	// bundles for, the federated ones included.
	TrustDomains []string
	// Signer is the key that our tokens carry, such as one of
	// [identity.KeepSigner]. Default: a new one.
	Signer identity.Signer
}

func (c Config) withDefaults() Config {
	if c.Addr != "" && !strings.Contains(c.Addr, ":") {
		c.Addr = "unix://" + c.Addr
	}
	if len(c.Audience) == 0 {
		c.Audience = []string{DefaultAudience}
	}
	c.Audience, c.TrustDomains = slices.Clone(c.Audience), slices.Clone(c.TrustDomains)
	return c
}

// Validate reports all faults of c.
func (c Config) Validate() error {
	var errs []error
	if addr := c.withDefaults().Addr; addr != "" {
		if err := workloadapi.ValidateAddress(addr); err != nil {
			errs = append(errs, fmt.Errorf("spiffe: Config.Addr: %w", err))
		}
	}
	if c.SPIFFEID != "" {
		if _, err := spiffeid.FromString(c.SPIFFEID); err != nil {
			errs = append(errs, fmt.Errorf("spiffe: Config.SPIFFEID: %w", err))
		}
	}
	if len(c.Audience) > maxAudiences {
		errs = append(errs, errors.New("spiffe: more than 16 audiences"))
	}
	for _, a := range c.Audience {
		if a == "" || strings.HasPrefix(a, carrier) {
			errs = append(errs, fmt.Errorf("spiffe: Config.Audience %q is empty or reserved", a))
		}
	}
	for _, d := range c.TrustDomains {
		if _, err := spiffeid.TrustDomainFromString(d); err != nil {
			errs = append(errs, fmt.Errorf("spiffe: Config.TrustDomains: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Source is an identity and a verifier.
type Source struct {
	cfg      Config
	params   jwtsvid.Params
	domains  []spiffeid.TrustDomain
	signer   identity.Signer
	subject  string
	admitted *jws.Memory[checked]

	client  *workloadapi.Client
	bundles *workloadapi.JWTSource
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu      sync.Mutex
	token   func() string // a closure, so that nothing prints it
	expires time.Time
	fault   error // of the last attempt to renew it
}

var (
	_ identity.Provider = (*Source)(nil)
	_ identity.Verifier = (*Source)(nil)
)

// Open asks the Workload API for the first SVID and bundles. ctx bounds that
// alone. If the API is not there or knows no identity for this process, it fails
// at once.
func Open(ctx context.Context, c Config) (*Source, error) { return open(ctx, c) }

func open(ctx context.Context, c Config, options ...workloadapi.ClientOption) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	s := &Source{cfg: c, signer: c.Signer, admitted: jws.NewMemory[checked](admittedTokens)}
	var err error
	if s.signer == nil {
		if s.signer, err = identity.NewSigner(); err != nil {
			return nil, err
		}
	}
	s.params = jwtsvid.Params{Audience: c.Audience[0], ExtraAudiences: append(slices.Clone(c.Audience[1:]), carrierOf(s.signer.Public()))}
	if c.SPIFFEID != "" {
		s.params.Subject = spiffeid.RequireFromString(c.SPIFFEID) // validated
	}
	for _, d := range c.TrustDomains {
		s.domains = append(s.domains, spiffeid.RequireTrustDomainFromString(d)) // validated
	}
	if c.Addr != "" {
		options = append(options, workloadapi.WithAddr(c.Addr))
	}
	if s.client, err = workloadapi.New(ctx, options...); err != nil {
		return nil, fmt.Errorf("spiffe: Workload API: %w: set Config.Addr or %s", err, workloadapi.SocketEnv)
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("spiffe: Workload API: %w: is the agent running, and is this process registered with it?", err), s.client.Close())
	}
	return s, nil
}

// start makes one plain call first: go-spiffe's sources do not fail, they wait.
func (s *Source) start(ctx context.Context) error {
	svid, err := s.fetch(ctx)
	if err != nil {
		return err
	}
	s.subject = svid.ID.String()
	if s.bundles, err = workloadapi.NewJWTSource(ctx, workloadapi.WithClient(s.client)); err != nil {
		return err
	}
	now := time.Now()
	s.keep(svid)
	running, cancel := context.WithCancel(context.Background()) // until Close
	s.cancel = cancel
	s.wg.Go(func() { s.renew(running, renewal(now, svid.Expiry)) })
	return nil
}

func carrierOf(pub []byte) string {
	claims := `{"pubkey":"` + identity.EncodePublicKey(pub) + `"}`
	return carrier + base64.StdEncoding.EncodeToString([]byte(claims))
}

// fetch gets an SVID that carries our key, and nothing else.
func (s *Source) fetch(ctx context.Context) (*jwtsvid.SVID, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	svid, err := s.client.FetchJWTSVID(ctx, s.params)
	if err != nil {
		return nil, err
	}
	switch {
	case len(svid.Marshal()) > identity.MaxToken:
		return nil, errors.New("JWT-SVID is too long")
	case !slices.Contains(svid.Audience, s.params.ExtraAudiences[len(s.params.ExtraAudiences)-1]):
		return nil, errors.New("JWT-SVID is without the audience that carries our key")
	case s.subject != "" && svid.ID.String() != s.subject:
		return nil, fmt.Errorf("JWT-SVID is for %s, not for %s any more: restart", svid.ID, s.subject)
	}
	return svid, nil
}

func (s *Source) keep(svid *jwtsvid.SVID) {
	token := svid.Marshal()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.expires, s.fault = func() string { return token }, svid.Expiry, nil
}

// renewal is when to renew: after two thirds of the rest of the life.
func renewal(now, expires time.Time) time.Duration {
	return max(expires.Sub(now)*2/3, minRenew)
}

func (s *Source) renew(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for retry := minRetry; ; timer.Reset(wait) {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		svid, err := s.fetch(ctx)
		if err != nil {
			s.mu.Lock()
			s.fault = err
			s.mu.Unlock()
			wait, retry = retry, min(2*retry, maxRetry)
			continue
		}
		s.keep(svid)
		wait, retry = renewal(time.Now(), svid.Expiry), minRetry
	}
}

// Subject is the SPIFFE ID.
func (s *Source) Subject() string { return s.subject }

// Signer is that of the configuration, or a P-256 key made with the source.
func (s *Source) Signer() identity.Signer { return s.signer }

// Token returns the present SVID, or [identity.ErrExpired] if the agent has not
// renewed it in time.
func (s *Source) Token(now time.Time) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.After(s.expires) {
		if s.fault != nil {
			return "", fmt.Errorf("%w, and the Workload API does not renew it: %w", identity.ErrExpired, s.fault)
		}
		return "", identity.ErrExpired
	}
	return s.token(), nil
}

// Fault is why the last attempt to renew the SVID failed, nil if it did not.
func (s *Source) Fault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// Close ends all goroutines and the connection to the Workload API. Afterwards
// no token is verified any more. It may be called again.
func (s *Source) Close() error {
	s.cancel()
	s.wg.Wait()
	return errors.Join(s.bundles.Close(), s.closeClient())
}

func (s *Source) closeClient() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return nil
	}
	client := s.client
	s.client = nil
	return client.Close()
}

// Format writes the SPIFFE ID for every verb, never a token.
func (s *Source) Format(f fmt.State, _ rune) { io.WriteString(f, "SPIFFE identity "+s.subject) }
