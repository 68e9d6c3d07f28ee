package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// A guest is an application of any kind that makes groups and lets itself be
// invited.
type guest interface {
	kind() realslim.Kind
	path() string
	createGroup(ctx context.Context, channel string, mls bool) (groupEnd, error)
	// entered is the next group that it was invited to.
	entered(ctx context.Context) (groupEnd, error)
}

// A groupEnd is a guest's end of one group.
type groupEnd interface {
	invite(ctx context.Context, path string) error
	remove(ctx context.Context, path string) error
	pause(ctx context.Context) error
	resume(ctx context.Context) error
	close(ctx context.Context) error
	closed(ctx context.Context) error
	// say publishes; ours also waits for all acknowledgements.
	say(ctx context.Context, text string) error
	hear(ctx context.Context) (heard, error)
	// roster tells who is online, as this end sees it; itself always is.
	roster(ctx context.Context) (map[string]bool, error)
	// complaints are the errors so far that did not end the session.
	complaints() []string
}

type heard struct{ from, text string }

// ourGuest is an app of ours.
type ourGuest struct {
	*session.App
	listener *session.GroupListener
}

func newOurGuest(t *testing.T, endpoint, path string, change func(*session.Config)) *ourGuest {
	t.Helper()
	app := ourApp(t, endpoint, path, change)
	l, err := app.ListenGroups(session.GroupListenOptions{AnyModerator: true, Security: session.AllowPlain})
	if err != nil {
		t.Fatal(err)
	}
	return &ourGuest{App: app, listener: l}
}

func (g *ourGuest) kind() realslim.Kind { return ours }
func (g *ourGuest) path() string        { return g.Name().Path() }

func (g *ourGuest) createGroup(ctx context.Context, channel string, mls bool) (groupEnd, error) {
	o := session.GroupOptions{Security: session.AllowPlain}
	if mls {
		o.Security = session.RequireMLS
	}
	group, err := g.CreateGroup(ctx, name.MustParse(channel), o)
	if err != nil {
		return nil, err
	}
	return ourEnd{group}, nil
}

func (g *ourGuest) entered(ctx context.Context) (groupEnd, error) {
	group, err := g.listener.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return ourEnd{group}, nil
}

type ourEnd struct{ *session.Group }

func (e ourEnd) invite(ctx context.Context, path string) error {
	return e.Invite(ctx, name.MustParse(path), session.InviteOptions{})
}

func (e ourEnd) remove(ctx context.Context, path string) error {
	return e.Remove(ctx, name.MustParse(path), session.RemoveOptions{})
}

func (e ourEnd) pause(ctx context.Context) error  { return e.Pause(ctx) }
func (e ourEnd) resume(ctx context.Context) error { return e.Resume(ctx) }
func (e ourEnd) close(context.Context) error      { return e.Close() }
func (e ourEnd) complaints() []string             { return nil }

func (e ourEnd) closed(ctx context.Context) error {
	select {
	case <-e.Done():
		return nil
	case <-ctx.Done():
		return errors.New("the group is still open")
	}
}

func (e ourEnd) say(ctx context.Context, text string) error {
	r, err := e.Publish(ctx, session.Message{Payload: []byte(text)})
	if err != nil {
		return err
	}
	if err := r.Wait(ctx); err != nil {
		return fmt.Errorf("%w; missing: %v", err, r.Missing())
	}
	return nil
}

func (e ourEnd) hear(ctx context.Context) (heard, error) {
	m, err := e.Receive(ctx)
	return heard{m.Source.Path(), string(m.Payload)}, err
}

func (e ourEnd) roster(context.Context) (map[string]bool, error) {
	list := map[string]bool{}
	for _, p := range e.Members() {
		list[p.Name.Path()] = p.Online || p.Self
	}
	return list, nil
}

// realGuest is a genuine application.
type realGuest struct {
	*realslim.App
	core realslim.Kind
}

func (g realGuest) kind() realslim.Kind { return g.core }
func (g realGuest) path() string        { return g.Path }

func (g realGuest) createGroup(ctx context.Context, channel string, mls bool) (groupEnd, error) {
	s, err := g.Open(ctx, realslim.OpenOptions{Peer: channel, Group: true, MLS: mls})
	if err != nil {
		return nil, err
	}
	return realEnd{s, g.Path}, nil
}

func (g realGuest) entered(ctx context.Context) (groupEnd, error) {
	s, err := g.NextSession(ctx)
	if err != nil {
		return nil, err
	}
	return realEnd{s, g.Path}, nil
}

type realEnd struct {
	*realslim.Session
	self string
}

func (e realEnd) invite(ctx context.Context, path string) error { return e.Invite(ctx, path) }
func (e realEnd) remove(ctx context.Context, path string) error { return e.Remove(ctx, path) }
func (e realEnd) pause(ctx context.Context) error               { return e.Leave(ctx) }
func (e realEnd) resume(ctx context.Context) error              { return e.Rejoin(ctx) }
func (e realEnd) close(ctx context.Context) error               { return e.Close(ctx) }

func (e realEnd) closed(ctx context.Context) error {
	_, err := e.WaitClosed(ctx)
	return err
}

func (e realEnd) say(ctx context.Context, text string) error {
	return e.Post(ctx, realslim.Message{Payload: []byte(text)})
}

// Errors that a real application is told of and that are none: a member left, or
// a message was not yet acknowledged by all when the session ended.
const (
	disconnected = "participant disconnected"
	overAlready  = "session closed"
)

// isLost reports whether an error says that messages are lost: those that a
// member missed while it was away, if their sender came meanwhile, or is itself
// away when they are asked for.
func isLost(text string) bool {
	return strings.Contains(text, "message lost") || strings.Contains(text, "messages lost")
}

func (e realEnd) hear(ctx context.Context) (heard, error) {
	for {
		m, err := e.Recv(ctx, patience)
		if err != nil && strings.Contains(err.Error(), disconnected) {
			continue
		}
		return heard{m.Source.Path, string(m.Payload)}, err
	}
}

func (e realEnd) roster(ctx context.Context) (map[string]bool, error) {
	members, err := e.Participants(ctx)
	list := map[string]bool{}
	for _, p := range members {
		list[p.Path] = p.Online || p.Path == e.self
	}
	return list, err
}

func (e realEnd) complaints() []string {
	return slices.DeleteFunc(e.Errors(), func(text string) bool {
		return strings.Contains(text, disconnected) || strings.Contains(text, overAlready)
	})
}

// patience is how long anything that should happen at once may take on a busy
// machine, retries of a lost message included.
const patience = time.Minute

// startGuests starts one application per kind given. They are called m1, m2, ..
func startGuests(t *testing.T, p realslim.Peers, endpoint string, kinds ...realslim.Kind) []guest {
	t.Helper()
	guests := make([]guest, len(kinds))
	errs := make([]error, len(kinds))
	var wg sync.WaitGroup
	for i, k := range kinds {
		path := fmt.Sprintf("org/ns/m%d", i+1)
		if k == ours {
			guests[i] = newOurGuest(t, endpoint, path, nil)
			continue
		}
		wg.Go(func() {
			var app *realslim.App
			app, errs[i] = p.TryApp(t, k, realslim.AppOptions{
				Endpoint: endpoint, Name: path, Strict: true, Accept: realslim.Drive,
				StartTimeout: 2 * patience, LogLevel: "error",
			})
			guests[i] = realGuest{app, k}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return guests
}

// wiretap is a hook of our node that knows the links, changed while it runs.
type wiretap struct {
	mu  sync.Mutex
	tap func(from, to slimnode.ConnID, f *wire.Frame) []*wire.Frame
}

func (w *wiretap) set(tap func(from, to slimnode.ConnID, f *wire.Frame) []*wire.Frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tap = tap
}

func (w *wiretap) onFrame(from, to slimnode.ConnID, f *wire.Frame) []*wire.Frame {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tap == nil {
		return nil
	}
	if out := w.tap(from, to, f); out != nil {
		return out
	}
	return []*wire.Frame{}
}

// groupNode starts our node with a hook.
func groupNode(t *testing.T, hook *wiretap) string {
	t.Helper()
	node, err := slimnode.New(slimnode.Config{Listeners: []slimnode.Listener{{Endpoint: "127.0.0.1:0"}}, Tap: hook.onFrame})
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	return node.Endpoints()[0]
}
