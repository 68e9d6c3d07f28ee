package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

var chatChannel = name.MustParse("org/ns/chat")

// hall is a group with all members at hand; the first is the moderator.
type hall struct {
	t      *testing.T
	nw     *testnet.Network
	apps   []*session.App
	groups []*session.Group
	late   *session.Group // catches up on what it missed
	said   int
	// confirms: what is received is confirmed.
	confirms bool
}

// newHall lets a moderator create a group and invite n others.
func newHall(t *testing.T, nw *testnet.Network, n int, o session.GroupOptions) *hall {
	t.Helper()
	h := &hall{t: t, nw: nw}
	moderator := nw.App("org/ns/moderator", nil)
	g, err := moderator.CreateGroup(t.Context(), chatChannel, o)
	if err != nil {
		t.Fatal(err)
	}
	h.apps, h.groups = append(h.apps, moderator), append(h.groups, g)
	for i := range n {
		h.invite(fmt.Sprint("org/ns/member", i), o.Security)
	}
	return h
}

// invite adds a new app to the group.
func (h *hall) invite(path string, s session.Security) *session.Group {
	h.t.Helper()
	app := h.nw.App(path, nil)
	l, err := app.ListenGroups(session.GroupListenOptions{Moderators: []name.Name{name.MustParse("org/ns/moderator")}, Security: s})
	if err != nil {
		h.t.Fatal(err)
	}
	h.apps = append(h.apps, app)
	return h.enter(app, l)
}

func (h *hall) enter(app *session.App, l *session.GroupListener) *session.Group {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	if err := h.groups[0].Invite(ctx, app.Name().Service(), session.InviteOptions{}); err != nil {
		h.t.Fatalf("invite %s: %v", app.Name().Path(), err)
	}
	g, err := l.Accept(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	h.groups = append(h.groups, g)
	return g
}

// out takes a member off the list of those who should hear.
func (h *hall) out(g *session.Group) {
	h.groups = slices.DeleteFunc(h.groups, func(x *session.Group) bool { return x == g })
}

// talk lets everybody say something that everybody else must hear.
func (h *hall) talk() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	for _, from := range h.groups {
		h.said++
		text := fmt.Sprint("message ", h.said)
		r, err := from.Publish(ctx, session.Message{Payload: []byte(text)})
		if err != nil {
			h.t.Fatalf("%s says %q: %v", from.Local().Path(), text, err)
		}
		for _, to := range h.groups {
			if to == from {
				continue
			}
			m, err := to.Receive(ctx)
			for err == nil && to == h.late && string(m.Payload) != text {
				m, err = to.Receive(ctx)
			}
			if err != nil {
				h.t.Fatalf("%s hears from %s: %v", to.Local().Path(), from.Local().Path(), err)
			}
			if h.confirms {
				if err := to.Confirm(m); err != nil {
					h.t.Fatal(err)
				}
			}
			if string(m.Payload) != text || m.Source.Key() != from.Local().Key() || m.Direct {
				h.t.Fatalf("%s hears %q of %s, want %q of %s", to.Local().Path(), m.Payload, m.Source, text, from.Local())
			}
			if from.Encrypted() && !strings.HasPrefix(m.Subject, from.Local().Path()) {
				h.t.Fatalf("message of %s has subject %q", from.Local(), m.Subject)
			}
		}
		if err := r.Wait(ctx); err != nil {
			h.t.Fatalf("%q of %s: %v (%v)", text, from.Local().Path(), err, r.Missing())
		}
	}
}

// agree checks that all members have the same roster and epoch.
func (h *hall) agree() {
	h.t.Helper()
	roster := func(g *session.Group) string {
		var list []string
		for _, p := range g.Members() {
			list = append(list, fmt.Sprint(p.Name.Path(), " online=", p.Online))
		}
		slices.Sort(list)
		return strings.Join(list, ", ")
	}
	for _, g := range h.groups[1:] {
		if g.Epoch() != h.groups[0].Epoch() || roster(g) != roster(h.groups[0]) {
			h.t.Fatalf("%s: epoch %d of %s\nmoderator: epoch %d of %s", g.Local().Path(), g.Epoch(), roster(g), h.groups[0].Epoch(), roster(h.groups[0]))
		}
	}
}

func TestGroupTalk(t *testing.T) {
	for _, o := range []session.GroupOptions{
		{}, {Security: session.AllowPlain}, {Delivery: session.Unreliable}, {Security: session.AllowPlain, Delivery: session.Unreliable},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				h := newHall(t, nw, 3, o)
				h.agree()
				h.talk()
				h.talk()
				if g := h.groups[1]; g.Moderating() || g.Moderator().Key() != h.apps[0].Name().Key() || g.Channel().Path() != chatChannel.Path() ||
					g.Encrypted() != (o.Security == session.RequireMLS) || g.ID() != h.groups[0].ID() {
					t.Errorf("participant sees %+v", g)
				}
			})
		})
	}
}

func TestGroupReplyReachesOne(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 2, session.GroupOptions{})
		if _, err := h.groups[0].Publish(t.Context(), session.Message{Payload: []byte("who is there?")}); err != nil {
			t.Fatal(err)
		}
		m, err := h.groups[2].Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r, err := h.groups[2].Reply(t.Context(), m, session.Message{Payload: []byte("me")})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m, err := h.groups[0].Receive(t.Context()); err != nil || string(m.Payload) != "me" || !m.Direct || m.Source.Key() != h.apps[2].Name().Key() {
			t.Fatal(m, err)
		}
		if m, err := h.groups[1].Receive(t.Context()); err != nil || string(m.Payload) != "who is there?" {
			t.Fatal(m, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if m, err := h.groups[1].Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the third hears %q, %v", m.Payload, err)
		}
	})
}

func TestGroupRemoveLeaveClose(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 4, session.GroupOptions{})
		h.talk()
		removed, left := h.groups[2], h.groups[3]
		if err := h.groups[0].Remove(t.Context(), removed.Local(), session.RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
		<-removed.Done()
		if err := removed.Err(); !isCode(err, session.CodeRemoved) {
			t.Errorf("removed member ends with %v", err)
		}
		h.out(removed)
		h.agree()
		h.talk()
		if err := left.Close(); err != nil {
			t.Fatal(err)
		}
		h.out(left)
		time.Sleep(5 * time.Second)
		h.agree()
		h.talk()
		if err := h.groups[1].Invite(t.Context(), h.apps[2].Name(), session.InviteOptions{}); !isCode(err, session.CodeInvalid) {
			t.Errorf("participant invites: %v", err)
		}
		if err := h.groups[0].Remove(t.Context(), removed.Local(), session.RemoveOptions{}); !isCode(err, session.CodeInvalid) {
			t.Errorf("remove of nobody: %v", err)
		}
		if err := h.groups[0].Close(); err != nil {
			t.Fatal(err)
		}
		for _, g := range h.groups[1:] {
			<-g.Done()
			if !isCode(g.Err(), session.CodeClosedByPeer) {
				t.Errorf("member of a closed group ends with %v", g.Err())
			}
		}
	})
}

func TestGroupInvitePolicy(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		app := nw.App("org/ns/shy", nil)
		if _, err := app.ListenGroups(session.GroupListenOptions{}); !isCode(err, session.CodeInvalid) {
			t.Fatalf("listening without a policy: %v", err)
		}
		if _, err := app.ListenGroups(session.GroupListenOptions{Moderators: []name.Name{name.MustParse("org/ns/friend")}}); err != nil {
			t.Fatal(err)
		}
		stranger, err := nw.App("org/ns/stranger", nil).CreateGroup(t.Context(), chatChannel, session.GroupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := stranger.Invite(t.Context(), app.Name(), session.InviteOptions{}); !isCode(err, session.CodeTimeout) {
			t.Errorf("stranger invites: %v", err)
		}
		friend, err := nw.App("org/ns/friend", nil).CreateGroup(t.Context(), chatChannel, session.GroupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := friend.Invite(t.Context(), app.Name(), session.InviteOptions{Subject: "somebody else"}); err == nil {
			t.Error("the subject of the invited one was not checked")
		}
	})
}

func TestGroupPauseResume(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 3, session.GroupOptions{})
		h.talk()
		away := h.groups[2]
		if err := away.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.out(away)
		h.talk()
		h.invite("org/ns/later", session.RequireMLS) // a new epoch that the absent one misses
		h.talk()
		if err := away.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.groups, h.late = append(h.groups, away), away
		time.Sleep(30 * time.Second)
		h.agree()
		h.talk()
	})
}

func TestGroupEvents(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 2, session.GroupOptions{})
		if err := h.groups[2].Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if err := h.groups[0].Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var got []string
		for e := range h.groups[1].Events() {
			got = append(got, e.String())
		}
		text := strings.Join(got, "; ")
		for _, want := range []string{"org/ns/member1 joined", "new keys", "org/ns/member1 left"} {
			if !strings.Contains(text, want) {
				t.Errorf("no event %q in: %s", want, text)
			}
		}
	})
}

// TestGroupSurvivesChaos loses, doubles and reorders a tenth of all frames.
func TestGroupSurvivesChaos(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 2, session.GroupOptions{})
		nw.Tap(testnet.Chaos(5, 0.1))
		for range 10 {
			h.talk()
		}
		h.invite("org/ns/third", session.RequireMLS)
		h.talk()
		nw.Tap(nil)
		time.Sleep(time.Minute)
		h.agree()
		h.talk()
	})
}

func TestGroupSurvivesNodeRestart(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 2, session.GroupOptions{})
		h.talk()
		nw.StopNode()
		time.Sleep(3 * time.Second)
		nw.StartNode()
		time.Sleep(10 * time.Second)
		h.talk()
		h.agree()
	})
}

func TestGroupRotates(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 2, session.GroupOptions{})
		before := h.groups[0].Epoch()
		time.Sleep(session.RotateAfter + time.Minute)
		if h.groups[0].Epoch() == before {
			t.Error("no new epoch after 46 minutes")
		}
		h.agree()
		h.talk()
		// an hour later every token of the first leaves is stale: our own
		// members still take newcomers
		time.Sleep(time.Hour)
		h.invite("org/ns/late", session.RequireMLS)
		h.agree()
		h.talk()
	})
}

// TestAppCloseKeepsLastWords: a member that closes its app as soon as the group
// is over has still acknowledged that.
func TestAppCloseKeepsLastWords(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 1, session.GroupOptions{})
		h.talk()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for range h.groups[1].Messages(context.Background()) {
			}
			_ = h.apps[1].Close()
		}()
		start := time.Now()
		_ = h.groups[0].Close()
		<-h.groups[0].Done()
		if took := time.Since(start); took > time.Second {
			t.Errorf("closing took %v", took)
		}
		<-ended
	})
}
