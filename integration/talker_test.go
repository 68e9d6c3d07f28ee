package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// A talker is an application of any kind, ours or a real one, so that one suite
// serves all pairs.
type talker interface {
	open(ctx context.Context, peer string, mls bool) (conversation, error)
	accepted(ctx context.Context) (conversation, error)
}

// A conversation is one session of a talker whose peer echoes.
type conversation interface {
	pump(ctx context.Context, count, size, window int) error
	close(ctx context.Context) error
	waitClosed(ctx context.Context) error
}

const ours realslim.Kind = "slimbridge"

var allKinds = []realslim.Kind{realslim.Core22, realslim.Core34, ours}

type talkerOptions struct {
	endpoint, name string
	echo           bool
	strict, pqc    bool
	binding        string
}

func startTalker(t *testing.T, p realslim.Peers, k realslim.Kind, o talkerOptions) talker {
	t.Helper()
	if k == ours {
		return startOurs(t, o)
	}
	accept := realslim.Nothing
	if o.echo {
		accept = realslim.Echo
	}
	return realTalker{p.StartApp(t, k, realslim.AppOptions{
		Endpoint: o.endpoint, Name: o.name, Accept: accept, Strict: o.strict, PQC: o.pqc, Binding: o.binding,
	})}
}

type realTalker struct{ *realslim.App }

type realConversation struct{ *realslim.Session }

func (r realTalker) open(ctx context.Context, peer string, mls bool) (conversation, error) {
	s, err := r.Open(ctx, realslim.OpenOptions{Peer: peer, MLS: mls})
	return realConversation{s}, err
}

func (r realTalker) accepted(ctx context.Context) (conversation, error) {
	s, err := r.NextSession(ctx)
	return realConversation{s}, err
}

func (c realConversation) pump(ctx context.Context, count, size, window int) error {
	report, err := c.Pump(ctx, realslim.Load{Count: count, Size: size, Window: window, Seed: "pump", Timeout: time.Minute})
	if err == nil && !report.OK {
		err = fmt.Errorf("%+v", report)
	}
	return err
}

func (c realConversation) close(ctx context.Context) error { return c.Close(ctx) }

func (c realConversation) waitClosed(ctx context.Context) error {
	_, err := c.WaitClosed(ctx)
	return err
}

// ourTalker is an app of ours.
type ourTalker struct {
	*session.App
	sessions chan *session.Session
}

type ourConversation struct{ *session.Session }

func ourApp(t *testing.T, endpoint, path string, change func(*session.Config)) *session.App {
	t.Helper()
	secret, err := identity.NewSecret([]byte(realslim.Secret))
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.NewSharedSecret(secret, path)
	if err != nil {
		t.Fatal(err)
	}
	cfg := session.Config{Name: name.MustParse(path), Identity: id, Verifier: id, Node: endpoint}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	app, err := session.Dial(ctx, cfg)
	if err != nil {
		t.Fatalf("our app at %s: %v", endpoint, err)
	}
	t.Cleanup(func() { _ = app.Close() })
	return app
}

func startOurs(t *testing.T, o talkerOptions) ourTalker {
	t.Helper()
	app := ourApp(t, o.endpoint, o.name, func(c *session.Config) { c.PQC = o.pqc })
	tk := ourTalker{App: app, sessions: make(chan *session.Session, 16)}
	if o.echo {
		l, err := app.Listen(session.ListenOptions{Security: session.AllowPlain})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		t.Cleanup(wg.Wait)
		t.Cleanup(func() { _ = l.Close(); _ = app.Close() })
		wg.Go(func() { serveEcho(l, tk.sessions, &wg) })
	}
	return tk
}

func serveEcho(l *session.Listener, seen chan<- *session.Session, wg *sync.WaitGroup) {
	for {
		s, err := l.Accept(context.Background())
		if err != nil {
			return
		}
		select {
		case seen <- s:
		default:
		}
		wg.Go(func() { _ = echo(s) })
	}
}

func echo(s *session.Session) error {
	for {
		m, err := s.Receive(context.Background())
		if err != nil {
			return err
		}
		if _, err := s.Publish(context.Background(), session.Message{Payload: m.Payload, Type: m.Type}); err != nil {
			return err
		}
	}
}

func (o ourTalker) open(ctx context.Context, peer string, mls bool) (conversation, error) {
	opts := session.Options{Security: session.AllowPlain}
	if mls {
		opts.Security = session.RequireMLS
	}
	s, err := o.Open(ctx, name.MustParse(peer), opts)
	if err != nil {
		return nil, err
	}
	if s.Encrypted() != mls {
		return nil, errors.New("the session is not as secure as asked for")
	}
	return ourConversation{s}, nil
}

func (o ourTalker) accepted(ctx context.Context) (conversation, error) {
	select {
	case s := <-o.sessions:
		return ourConversation{s}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pump publishes messages whose content depends on their number, a window of
// them at once, and checks that they come back unchanged and in order.
func (c ourConversation) pump(ctx context.Context, count, size, window int) error {
	tokens := make(chan struct{}, window)
	sendErr := make(chan error, 1)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	go func() {
		for i := range count {
			select {
			case tokens <- struct{}{}:
			case <-ctx.Done():
				sendErr <- ctx.Err()
				return
			}
			if _, err := c.Publish(ctx, session.Message{Payload: pattern(i, size)}); err != nil {
				sendErr <- err
				cancel()
				return
			}
		}
		sendErr <- nil
	}()
	for i := range count {
		m, err := c.Receive(ctx)
		if err != nil {
			cancel()
			return errors.Join(fmt.Errorf("echo %d of %d: %w", i, count, err), <-sendErr)
		}
		if !bytes.Equal(m.Payload, pattern(i, size)) {
			cancel()
			<-sendErr
			return fmt.Errorf("echo %d of %d is not what was sent", i, count)
		}
		<-tokens
	}
	return <-sendErr
}

func pattern(i, size int) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(i))
	r := rand.NewPCG(uint64(i), 77)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:size]
}

func (c ourConversation) close(context.Context) error { return c.Close() }

func (c ourConversation) waitClosed(ctx context.Context) error {
	for {
		if _, err := c.Receive(ctx); errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
