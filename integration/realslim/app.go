package realslim

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// Secret is the shared secret of applications that are given no other.
const Secret = "realslim-shared-secret-0123456789-abcdef"

// Accept says what an application does with sessions that others open to it.
type Accept string

// What to do with incoming sessions. Nothing means that the application never fetches them: they are accepted by the library, but
// nobody reads.
const (
	Nothing Accept = ""
	Echo    Accept = "echo"  // answer every message with its payload, in order, until the session ends
	Drive   Accept = "drive" // hand them to NextSession
)

// AppOptions configures a genuine application. Endpoint and Name are required.
type AppOptions struct {
	Endpoint string // of the node: "http://127.0.0.1:port" or "ws://127.0.0.1:port"
	Name     string // "organisation/namespace/app"
	Secret   string // default [Secret]
	JWT      *JWT   // identity instead of the shared secret
	SPIRE    *SPIRE // identity instead of the shared secret
	Accept   Accept // default Nothing
	ReplyTo  bool   // echo with publish_to, which names the sender, instead of publish
	Strict   bool   // connect from a configuration file: the link must have a header MAC
	PQC      bool   // enforce_pqc: hybrid link key and post-quantum MLS suite; implies Strict
	Binding  string // SLIM_IDENTITY_BINDING of core 3.4: "off", "warn" (default) or "enforce"
	LogLevel string // default "warn"

	StartTimeout time.Duration // until connected and subscribed; default 30 s
}

// JWT is an identity that signs its own tokens, and the trust in those of peers. The library takes tokens without the wanted issuer
// and audience for good, too, and gives them an hour to live whatever it is told.
type JWT struct {
	Algorithm    string   `json:"algorithm"`     // "HS256", "ES256", "EdDSA", ..
	SignKey      string   `json:"sign_key"`      // the secret of an HS algorithm, else a private key in PEM (PKCS #8)
	VerifyKey    string   `json:"verify_key"`    // the secret, or the public key of peers
	VerifyFormat string   `json:"verify_format"` // "pem" (also for a secret), "jwk" or "jwks"
	Subject      string   `json:"subject"`       // without one the application has no id
	Issuer       string   `json:"issuer"`
	Audience     []string `json:"audience"`
	WantIssuer   string   `json:"want_issuer"`
	WantAudience []string `json:"want_audience"`
}

// SPIRE is an identity from a SPIFFE Workload API.
type SPIRE struct {
	Socket   string   `json:"socket"`   // path
	Audience []string `json:"audience"` // of all tokens; default "slim"
}

// App is a running genuine application, subscribed to its own name.
type App struct {
	*process
	Name // with the id that the library derived

	mu       sync.Mutex
	sessions map[int]*Session
	opened   chan *Session // incoming ones; room for many, since the reader of events must not block
}

// StartApp starts an application that is connected and subscribed when the call returns. It fails the test if that takes longer than
// 30 s.
func (p Peers) StartApp(t testing.TB, k Kind, o AppOptions) *App {
	t.Helper()
	a, err := p.TryApp(t, k, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TryApp is StartApp for tests that expect the start to fail, such as a strict application on a node that refuses it.
func (p Peers) TryApp(t testing.TB, k Kind, o AppOptions) (*App, error) {
	t.Helper()
	a := &App{sessions: map[int]*Session{}, opened: make(chan *Session, 4096)}
	options := map[string]any{
		"endpoint": o.Endpoint, "name": o.Name, "secret": orDefault(o.Secret, Secret), "accept": o.Accept,
		"strict": o.Strict, "pqc": o.PQC, "log_level": orDefault(o.LogLevel, "warn"),
	}
	if o.JWT != nil {
		options["jwt"] = o.JWT
	}
	if o.SPIRE != nil {
		options["spire"] = o.SPIRE
	}
	if o.ReplyTo {
		options["reply"] = "publish_to"
	}
	c, ready, err := p.start(t, launch{
		kind:    k,
		role:    "app",
		options: options,
		env:     []string{"SLIM_IDENTITY_BINDING=" + orDefault(o.Binding, "warn")},
		onEvent: a.onEvent,
		timeout: o.StartTimeout,
	})
	if err != nil {
		return nil, err
	}
	a.process = c
	a.Name = ready.App
	return a, nil
}

func (a *App) onEvent(m message) {
	switch m.Event {
	case "session_opened":
		s := a.session(m.Session)
		s.describe(m)
		select {
		case a.opened <- s:
		default: // 4096 unread sessions: the test does not want them
		}
	case "session_error":
		a.session(m.Session).addError(m.Error)
	case "session_closed":
		a.session(m.Session).end(m.Error)
	}
}

// session returns the handle of a session, new if an event of it is the first to come (before the reply to open).
func (a *App) session(key int) *Session {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.sessions[key]
	if s == nil {
		s = &Session{app: a, key: key, closed: make(chan struct{})}
		a.sessions[key] = s
	}
	return s
}

// OpenOptions configures a session that a genuine application initiates.
type OpenOptions struct {
	Peer       string            // name of the peer, or of the channel of a group
	Group      bool              // a group without members at first, see [Session.Invite]
	MLS        bool              // end-to-end encryption, with 100 % header validation
	MaxRetries int               // default 10
	Interval   time.Duration     // between retries; default 1 s
	Metadata   map[string]string // of the session
}

// Open creates a session and waits until it is established.
func (a *App) Open(ctx context.Context, o OpenOptions) (*Session, error) {
	if o.MaxRetries == 0 {
		o.MaxRetries = 10
	}
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	args := map[string]any{
		"peer": o.Peer, "group": o.Group, "mls": o.MLS, "max_retries": o.MaxRetries,
		"interval_ms": o.Interval.Milliseconds(), "metadata": o.Metadata,
	}
	var m message
	if err := a.call(ctx, "open", args, &m); err != nil {
		return nil, err
	}
	s := a.session(m.Session)
	s.describe(m)
	return s, nil
}

// NextSession waits for the next session that another application opened to this one. With Echo, too, it returns each of them once.
func (a *App) NextSession(ctx context.Context) (*Session, error) {
	select {
	case s := <-a.opened:
		return s, nil
	case <-a.done:
		return nil, fmt.Errorf("%s: the process ended", a.label)
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: no session: %w", a.label, ctx.Err())
	}
}

// String names the application in test output.
func (a *App) String() string { return strings.Join([]string{a.Path, a.ID, "(" + a.label + ")"}, " ") }
