package integration

import (
	"context"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity/jwtid"
	"github.com/slimbridge/slimbridge/session/identity/spiffe"
	"github.com/slimbridge/slimbridge/session/identity/spiffe/workloadtest"
)

// Groups of members with JWT identities: every app signs its own tokens with
// one key.
func TestInteropGroupJWT(t *testing.T) {
	p := realslim.Require(t)
	endpoint := startNode(t, p, ours, realslim.NodeOptions{Strict: true})
	keys := newJWTKeys(t, jwtid.ES256)
	real := func(k realslim.Kind, path string) guest {
		return realGuest{p.StartApp(t, k, realslim.AppOptions{
			Endpoint: endpoint, Name: path, Strict: true, Accept: realslim.Drive, LogLevel: "error", JWT: keys.real(path),
		}), k}
	}
	identified(t, []guest{
		newOurGuest(t, endpoint, "org/ns/m1", keys.use(t, "org/ns/m1")), real(realslim.Core22, "org/ns/m2"),
		real(realslim.Core34, "org/ns/m3"), newOurGuest(t, endpoint, "org/ns/m4", keys.use(t, "org/ns/m4")),
	}, func(path string) string { return path })
}

// Groups of members with SPIFFE identities from agents of one trust domain.
func TestInteropGroupSPIFFE(t *testing.T) {
	p := realslim.Require(t)
	endpoint := startNode(t, p, ours, realslim.NodeOptions{Strict: true})
	d := newSPIFFEDomain(t)
	identified(t, []guest{
		d.our(endpoint, "org/ns/m1"), d.real(p, realslim.Core22, endpoint, "org/ns/m2"),
		d.real(p, realslim.Core34, endpoint, "org/ns/m3"), d.our(endpoint, "org/ns/m4"),
	}, spiffeID)
}

// identified takes groups through a short life, under a moderator of each kind;
// ours know the others by their verified subjects.
func identified(t *testing.T, guests []guest, subject func(path string) string) {
	t.Helper()
	for i, moderator := range guests[:3] {
		t.Run("moderator="+string(moderator.kind()), func(t *testing.T) {
			c := newCircle(t, moderator, "org/ns/hall", true)
			for j, g := range guests {
				if j != i {
					c.invite(g)
					c.talk()
				}
			}
			for _, s := range c.seats {
				e, ok := s.end.(ourEnd)
				if !ok {
					continue
				}
				for _, p := range e.Members() {
					if want := subject(p.Name.Path()); !p.Self && p.Subject != want {
						t.Errorf("%s knows %s as %q, want %q", s, p.Name.Path(), p.Subject, want)
					}
				}
			}
			removed, left := c.seats[1], c.seats[2]
			c.remove(removed)
			c.talk()
			c.leave(left)
			c.talk()
			c.invite(removed.guest)
			c.invite(left.guest)
			c.talk()
			c.close()
		})
	}
}

// spiffeDomain gives every app an agent, hence an identity, of its own.
type spiffeDomain struct {
	t      *testing.T
	domain *workloadtest.Domain
	// life of the tokens of apps that are started from now on; zero: the agent's
	// default.
	life   time.Duration
	agents []*workloadtest.Agent
}

func newSPIFFEDomain(t *testing.T) *spiffeDomain {
	t.Helper()
	return &spiffeDomain{t: t, domain: workloadtest.NewDomain(t, "example.org")}
}

func spiffeID(path string) string { return "spiffe://example.org/" + path }

// agent serves the agent of one app.
func (d *spiffeDomain) agent(path string) (socket string) {
	d.t.Helper()
	a := d.domain.Agent(d.t, spiffeID(path))
	if d.life > 0 {
		a.SetLife(d.life)
	}
	d.agents = append(d.agents, a)
	return serveAgent(d.t, a)
}

// renewFor sets how long the tokens live that all apps get from now on.
func (d *spiffeDomain) renewFor(life time.Duration) {
	for _, a := range d.agents {
		a.SetLife(life)
	}
}

func (d *spiffeDomain) our(endpoint, path string) guest {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 20*time.Second)
	defer cancel()
	me, err := spiffe.Open(ctx, spiffe.Config{Addr: d.agent(path)})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = me.Close() })
	return newOurGuest(d.t, endpoint, path, func(c *session.Config) { c.Identity, c.Verifier = me, me })
}

func (d *spiffeDomain) real(p realslim.Peers, k realslim.Kind, endpoint, path string) guest {
	d.t.Helper()
	return realGuest{p.StartApp(d.t, k, realslim.AppOptions{
		Endpoint: endpoint, Name: path, Strict: true, Accept: realslim.Drive, LogLevel: "error", SPIRE: &realslim.SPIRE{Socket: d.agent(path)},
	}), k}
}
