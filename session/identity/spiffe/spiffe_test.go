package spiffe

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/identity/spiffe/workloadtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const alice, bob = "spiffe://example.org/ns/default/sa/alice", "spiffe://example.org/ns/default/sa/bob"

// inMemory serves an agent in memory and opens a source on it.
func inMemory(t *testing.T, a *workloadtest.Agent, c Config) (*Source, error) {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	a.Serve(t, l)
	c.Addr = "unix:///memory"
	dial := workloadapi.WithDialOptions(grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	s, err := open(t.Context(), c, dial)
	if err == nil {
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	return s, err
}

func source(t *testing.T, a *workloadtest.Agent, c Config) *Source {
	t.Helper()
	s, err := inMemory(t, a, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func token(t *testing.T, s *Source) string {
	t.Helper()
	tok, err := s.Token(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := workloadtest.NewDomain(t, "example.org")
		me, peer := source(t, d.Agent(t, alice), Config{Audience: []string{"a", "slim"}}), source(t, d.Agent(t, bob), Config{})
		if me.Subject() != alice {
			t.Errorf("subject %q", me.Subject())
		}
		tok := token(t, me)
		c, err := peer.Verify(tok, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if c.Subject != alice || string(c.PublicKey) != string(me.Signer().Public()) || c.Expires.Sub(c.IssuedAt) != 5*time.Minute {
			t.Errorf("claims %+v", c)
		}
		// The audiences, as upstream asks for them.
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(tok, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims struct{ Aud []string }
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		carried := `{"pubkey":"` + base64.StdEncoding.EncodeToString(me.Signer().Public()) + `"}`
		if want := []string{"a", "slim", "slim-claims:" + base64.StdEncoding.EncodeToString([]byte(carried))}; !slices.Equal(claims.Aud, want) {
			t.Errorf("audiences %q, want %q", claims.Aud, want)
		}
	})
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := workloadtest.NewDomain(t, "example.org").Agent(t, alice)
		s := source(t, agent, Config{})
		first := token(t, s)
		at := func(d time.Duration, fetched int, renewed bool) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if agent.Fetched() != fetched || (token(t, s) != first) != renewed {
				t.Errorf("fetched %d times, want %d; renewed %v, want %v", agent.Fetched(), fetched, token(t, s) != first, renewed)
			}
		}
		at(199*time.Second, 1, false)
		at(2*time.Second, 2, true) // two thirds of 5 minutes
		renewed := token(t, s)

		agent.Fail(status.Error(codes.Unavailable, "away"))
		at(199500*time.Millisecond, 3, true)
		at(time.Second, 4, true)
		at(2*time.Second, 5, true)
		at(4*time.Second, 6, true)
		if s.Fault() == nil || token(t, s) != renewed {
			t.Errorf("fault %v", s.Fault())
		}
		time.Sleep(2 * time.Minute) // past the end
		if _, err := s.Token(time.Now()); !errors.Is(err, identity.ErrExpired) || status.Code(err) != codes.Unavailable {
			t.Errorf("after the end: %v", err)
		}
		agent.SetID(bob)
		agent.Fail(nil)
		time.Sleep(maxRetry)
		synctest.Wait()
		if s.Fault() == nil || !strings.Contains(s.Fault().Error(), "restart") {
			t.Errorf("another identity: %v", s.Fault())
		}
		agent.SetID(alice)
		time.Sleep(maxRetry)
		synctest.Wait()
		if token(t, s) == renewed || s.Fault() != nil {
			t.Errorf("not renewed after the agent came back: %v", s.Fault())
		}
	})
}

// Short-lived SVIDs are not asked for in a tight loop.
func TestRenewalIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := workloadtest.NewDomain(t, "example.org").Agent(t, alice)
		agent.SetLife(time.Second)
		source(t, agent, Config{})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := agent.Fetched(); n > 11 {
			t.Errorf("fetched %d times in 10 s", n)
		}
	})
}

func TestRotationOfAuthorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := workloadtest.NewDomain(t, "example.org")
		me, peer := source(t, d.Agent(t, alice), Config{}), source(t, d.Agent(t, bob), Config{})
		tok := token(t, me)
		if _, err := peer.VerifyAdmitted(tok); err != nil {
			t.Fatal(err)
		}
		d.Rotate(t, true)
		synctest.Wait()
		if _, err := peer.Verify(tok, time.Now()); err != nil {
			t.Errorf("old authority is still in the bundle: %v", err)
		}
		time.Sleep(201 * time.Second) // alice gets an SVID by the new one
		if _, err := peer.Verify(token(t, me), time.Now()); err != nil {
			t.Errorf("new authority: %v", err)
		}
		d.Rotate(t, false)
		synctest.Wait()
		if _, err := peer.Verify(tok, time.Now()); !errors.Is(err, identity.ErrUntrusted) {
			t.Errorf("authority that was removed: %v", err)
		}
		if _, err := peer.VerifyAdmitted(tok); err != nil {
			t.Errorf("a member is lost to the rotation: %v", err)
		}
	})
}

func TestTrustDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := workloadtest.NewDomain(t, "example.org"), workloadtest.NewDomain(t, "other.org")
		foreign := source(t, theirs.Agent(t, "spiffe://other.org/x"), Config{})
		open, closed := source(t, ours.Agent(t, bob), Config{}), source(t, ours.Agent(t, bob), Config{TrustDomains: []string{"example.org"}})
		tok := token(t, foreign)
		if _, err := open.Verify(tok, time.Now()); !errors.Is(err, identity.ErrUntrusted) {
			t.Errorf("unknown trust domain: %v", err)
		}
		ours.Federate(theirs)
		synctest.Wait()
		if _, err := open.Verify(tok, time.Now()); err != nil {
			t.Errorf("federated: %v", err)
		}
		if _, err := closed.Verify(tok, time.Now()); !errors.Is(err, identity.ErrUntrusted) {
			t.Errorf("federated, but not allowed: %v", err)
		}
		// An authority of the other domain speaks for ours.
		forged, err := theirs.Sign(claims(t, foreign, nil))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open.Verify(forged, time.Now()); !errors.Is(err, identity.ErrUntrusted) {
			t.Errorf("SVID of ours by an authority of theirs: %v", err)
		}
	})
}

// claims are good ones for alice, changed.
func claims(t *testing.T, s *Source, change map[string]any) map[string]any {
	t.Helper()
	c := map[string]any{
		"sub": alice, "aud": []string{"slim", carrierOf(s.Signer().Public())},
		"iat": time.Now().Unix(), "exp": time.Now().Unix() + 60,
	}
	for k, v := range change {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

func TestVerifyRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := workloadtest.NewDomain(t, "example.org")
		s := source(t, d.Agent(t, bob), Config{})
		key := carrierOf(s.Signer().Public())
		carry := func(text string) []string {
			return []string{"slim", carrier + base64.StdEncoding.EncodeToString([]byte(text))}
		}
		now := time.Now().Unix()
		for name, tt := range map[string]struct {
			change map[string]any
			want   error
		}{
			"good":                     {nil, nil},
			"5 s after its end":        {map[string]any{"exp": now - 5}, nil},
			"expired":                  {map[string]any{"exp": now - 6}, identity.ErrExpired},
			"from the future":          {map[string]any{"iat": now + 6}, identity.ErrNotYetValid},
			"not yet":                  {map[string]any{"nbf": now + 6}, identity.ErrNotYetValid},
			"no end":                   {map[string]any{"exp": nil}, identity.ErrMalformed},
			"other audience":           {map[string]any{"aud": []string{"other", key}}, identity.ErrAudience},
			"audience is the carrier":  {map[string]any{"aud": key}, identity.ErrAudience},
			"no key":                   {map[string]any{"aud": "slim"}, identity.ErrNoPublicKey},
			"two keys":                 {map[string]any{"aud": []string{"slim", key, key}}, identity.ErrMalformed},
			"carrier no base64":        {map[string]any{"aud": []string{"slim", carrier + "!"}}, identity.ErrMalformed},
			"carrier empty":            {map[string]any{"aud": []string{"slim", carrier}}, identity.ErrNoPublicKey},
			"carrier no object":        {map[string]any{"aud": carry("[]")}, identity.ErrNoPublicKey},
			"carrier without key":      {map[string]any{"aud": carry("{}")}, identity.ErrNoPublicKey},
			"key in other case":        {map[string]any{"aud": carry(`{"PUBKEY":"AA=="}`)}, identity.ErrNoPublicKey},
			"short key":                {map[string]any{"aud": carry(`{"pubkey":"AA=="}`)}, identity.ErrPublicKey},
			"subject no SPIFFE ID":     {map[string]any{"sub": "alice"}, identity.ErrMalformed},
			"subject of no path rules": {map[string]any{"sub": "spiffe://example.org/../x"}, identity.ErrMalformed},
		} {
			tok, err := d.Sign(claims(t, s, tt.change))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Verify(tok, time.Now()); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Errorf("%s: %v, want %v", name, err, tt.want)
			}
			want := tt.want
			if errors.Is(want, identity.ErrExpired) || errors.Is(want, identity.ErrNotYetValid) {
				want = nil
			}
			if _, err := s.VerifyAdmitted(tok); !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s, admitted: %v, want %v", name, err, want)
			}
		}
	})
}

func TestOpenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := workloadtest.NewDomain(t, "example.org").Agent(t, alice)
		_, err := inMemory(t, agent, Config{SPIFFEID: bob})
		if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "registered") {
			t.Errorf("identity of another: %v", err)
		}
		if _, err := inMemory(t, agent, Config{SPIFFEID: alice}); err != nil {
			t.Error(err)
		}
	})
}

// On a real socket: at once an error while there is no agent, then all of it.
func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "workload") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := Open(ctx, Config{Addr: path}); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "is the agent running") {
		t.Fatalf("no agent: %v", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	workloadtest.NewDomain(t, "example.org").Agent(t, alice).Serve(t, l)
	for _, addr := range []string{path, "unix://" + path} {
		s, err := Open(ctx, Config{Addr: addr})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Verify(token(t, s), time.Now()); err != nil {
			t.Error(err)
		}
		tok := token(t, s)
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Errorf("close twice: %v", err)
		}
		if _, err := s.Verify(tok, time.Now()); !errors.Is(err, identity.ErrUntrusted) {
			t.Errorf("closed source verifies: %v", err)
		}
	}
}

func TestConfigFaults(t *testing.T) {
	for name, c := range map[string]Config{
		"address": {Addr: "http://x"}, "SPIFFE ID": {SPIFFEID: "alice"}, "empty audience": {Audience: []string{""}},
		"reserved audience": {Audience: []string{carrier + "x"}}, "trust domain": {TrustDomains: []string{"Not A Domain"}},
		"many audiences": {Audience: slices.Repeat([]string{"a"}, 17)},
	} {
		if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "spiffe:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNothingPrintsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := source(t, workloadtest.NewDomain(t, "example.org").Agent(t, alice), Config{})
		tok := token(t, s)
		for _, x := range []any{s, struct{ hidden *Source }{s}} {
			for _, verb := range []string{"%v", "%+v", "%s", "%q", "%x", "%#v"} {
				if printed := fmt.Sprintf(verb, x); strings.Contains(printed, tok[:20]) || strings.Contains(printed, fmt.Sprintf("%x", tok[:10])) {
					t.Errorf("%s printed the token", verb)
				}
			}
		}
	})
}

func FuzzCarriedKey(f *testing.F) {
	signer, err := identity.NewSigner()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(carrierOf(signer.Public()))
	f.Add(carrier + "e30=")
	f.Fuzz(func(t *testing.T, audience string) {
		key, err := carriedKey([]string{"slim", audience})
		if err == nil && len(key) != 65 && len(key) != 33 && len(key) != 32 {
			t.Errorf("key of %d bytes", len(key))
		}
	})
}
