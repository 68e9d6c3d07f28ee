// Package workloadtest is a fake SPIFFE Workload API for tests: a trust domain
// that issues SVIDs to whoever asks, and can rotate its keys, fail, and issue
// what no agent would.
//
//	d := workloadtest.NewDomain(t, "example.org")
//	agent := d.Agent(t, "spiffe://example.org/app")
//	agent.Serve(t, listener)
package workloadtest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/slimbridge/slimbridge/session/identity/internal/jws"
)

// Domain is a trust domain with its signing authorities. Safe for concurrent
// use.
type Domain struct {
	Name spiffeid.TrustDomain

	mu      sync.Mutex
	bundles map[spiffeid.TrustDomain]*jwtbundle.Bundle // the own and the federated ones
	kid     string
	key     *jws.Key
	changed chan struct{} // closed when the bundles change
	ca      *x509.Certificate
	caKey   *ecdsa.PrivateKey
}

// NewDomain makes a trust domain with one authority.
func NewDomain(t testing.TB, domain string) *Domain {
	t.Helper()
	td := spiffeid.RequireTrustDomainFromString(domain)
	d := &Domain{Name: td, bundles: map[spiffeid.TrustDomain]*jwtbundle.Bundle{td: jwtbundle.New(td)}, changed: make(chan struct{})}
	d.Rotate(t, false)
	d.ca, d.caKey = certificate(t, td.ID(), nil, nil)
	return d
}

// Rotate makes a new authority that signs from now on; the bundle keeps the old
// ones or not. Whoever follows the bundles is told.
func (d *Domain) Rotate(t testing.TB, keepOld bool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	kid := rand.Text()
	key, err := jws.NewPrivate(kid, private, "")
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kid, d.key = kid, key
	own := d.bundles[d.Name].Clone()
	if !keepOld {
		own.SetJWTAuthorities(map[string]crypto.PublicKey{})
	}
	if err := own.AddJWTAuthority(kid, private.Public()); err != nil {
		t.Fatal(err)
	}
	d.bundles[d.Name] = own
	d.tell()
}

// Federate adds the present bundle of another domain to ours.
func (d *Domain) Federate(other *Domain) {
	other.mu.Lock()
	b := other.bundles[other.Name].Clone()
	other.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bundles[other.Name] = b
	d.tell()
}

// tell is called with mu held.
func (d *Domain) tell() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// Sign makes an SVID of any claims.
func (d *Domain) Sign(claims map[string]any) (string, error) {
	d.mu.Lock()
	key, kid := d.key, d.kid
	d.mu.Unlock()
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return jws.Sign(key, kid, payload)
}

// An Agent serves the Workload API of a domain to one workload.
type Agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	domain *Domain
	svid   *x509.Certificate
	key    *ecdsa.PrivateKey

	mu      sync.Mutex
	id      string
	life    time.Duration
	fault   error
	fetched int
}

// Agent makes an agent whose workload has the SPIFFE ID id; SVIDs live 5 minutes.
func (d *Domain) Agent(t testing.TB, id string) *Agent {
	t.Helper()
	a := &Agent{domain: d, id: id, life: 5 * time.Minute}
	a.svid, a.key = certificate(t, spiffeid.RequireFromString(id), d.ca, d.caKey)
	return a
}

// Serve answers on l until the test ends.
func (a *Agent) Serve(t testing.TB, l net.Listener) {
	t.Helper()
	s := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(s, a)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(wg.Wait)
	t.Cleanup(s.Stop)
}

// SetLife sets how long further SVIDs live.
func (a *Agent) SetLife(life time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.life = life
}

// SetID changes the workload's SPIFFE ID.
func (a *Agent) SetID(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.id = id
}

// Fail lets further requests for SVIDs fail; nil: no more.
func (a *Agent) Fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = err
}

// Fetched is how often a JWT-SVID was asked for.
func (a *Agent) Fetched() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fetched
}

// checkHeader is the standard's guard against request forgery.
func checkHeader(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("workload.spiffe.io"); len(v) != 1 || v[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing")
	}
	return nil
}

// FetchJWTSVID issues an SVID for the audiences that are asked for.
func (a *Agent) FetchJWTSVID(ctx context.Context, r *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	if err := checkHeader(ctx); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fetched++
	if a.fault != nil {
		return nil, a.fault
	}
	if r.GetSpiffeId() != "" && r.GetSpiffeId() != a.id {
		return nil, status.Error(codes.PermissionDenied, "no identity issued")
	}
	now := time.Now()
	token, err := a.domain.Sign(map[string]any{
		"sub": a.id, "aud": r.GetAudience(), "iat": now.Unix(), "exp": now.Add(a.life).Unix(),
	})
	if err != nil {
		return nil, err
	}
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: a.id, Svid: token}}}, nil
}

// FetchJWTBundles sends the bundles, and again whenever they change.
func (a *Agent) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	if err := checkHeader(stream.Context()); err != nil {
		return err
	}
	for {
		r := &workload.JWTBundlesResponse{Bundles: map[string][]byte{}}
		a.domain.mu.Lock()
		changed := a.domain.changed
		for td, b := range a.domain.bundles {
			text, err := b.Marshal()
			if err != nil {
				a.domain.mu.Unlock()
				return err
			}
			r.Bundles[td.IDString()] = text
		}
		a.domain.mu.Unlock()
		if err := stream.Send(r); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// FetchX509SVID sends one certificate, which the real SLIM library insists on.
func (a *Agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	if err := checkHeader(stream.Context()); err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return err
	}
	err = stream.Send(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{{
		SpiffeId: a.svid.URIs[0].String(), X509Svid: a.svid.Raw, X509SvidKey: key, Bundle: a.domain.ca.Raw,
	}}})
	if err == nil {
		<-stream.Context().Done()
	}
	return err
}

// FetchX509Bundles sends the authority of the certificates.
func (a *Agent) FetchX509Bundles(_ *workload.X509BundlesRequest, stream grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	if err := checkHeader(stream.Context()); err != nil {
		return err
	}
	err := stream.Send(&workload.X509BundlesResponse{Bundles: map[string][]byte{a.domain.Name.IDString(): a.domain.ca.Raw}})
	if err == nil {
		<-stream.Context().Done()
	}
	return err
}

// certificate makes an X.509-SVID, or without a parent the authority of a domain.
func certificate(t testing.TB, id spiffeid.ID, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse(id.String())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: fmt.Sprint("test ", id.Path())}, URIs: []*url.URL{uri},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(24 * time.Hour), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if parent == nil {
		parent, parentKey = template, key
		template.IsCA, template.KeyUsage, template.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}
