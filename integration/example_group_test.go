package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// The names of the SLIM tutorial.
const (
	tutorialChannel   = "agntcy/namespace/group_channel"
	tutorialModerator = "agntcy/namespace/moderator"
	tutorialMember    = "agntcy/namespace/participant_1"
)

// TestExampleGroup plays the SLIM tutorial, among our programs and with genuine
// ones in either role.
func TestExampleGroup(t *testing.T) {
	binary := example(t, "group")
	participant := func(t *testing.T, env []string, name string) *printer {
		t.Helper()
		return startPrinter(t, env, "waits for an invitation", binary, "participant", name)
	}
	inGroup := func(name string) string {
		return fmt.Sprintf("%s is in %s with %s\n%s > Hello group!\n", name, tutorialChannel, tutorialModerator, tutorialModerator)
	}
	t.Run("ours", func(t *testing.T) {
		env := atOurNode(t)
		names := []string{tutorialMember, "agntcy/namespace/participant_2"}
		members := []*printer{participant(t, env, names[0]), participant(t, env, names[1])}
		got := output(t, env, "", binary, "moderator", names[0], names[1])
		want := ""
		for i, m := range members {
			m.ends(t)
			if got := m.printed(t); got != inGroup(names[i]) {
				t.Errorf("%s prints %q", names[i], got)
			}
			want += tutorialModerator + " -> add " + names[i] + " to the group\n" + names[i] + " > message received by " + names[i] + "\n"
		}
		if sorted(got) != sorted(want) {
			t.Errorf("the moderator prints\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("answers to oneself are not answered", func(t *testing.T) {
		endpoint := startOurNode(t, realslim.NodeOptions{})
		own := participant(t, userEnv(t, endpoint), tutorialMember)
		g, err := ourApp(t, endpoint, tutorialModerator, nil).CreateGroup(t.Context(), name.MustParse(tutorialChannel), session.GroupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		member := name.MustParse(tutorialMember)
		if err := g.Invite(t.Context(), member, session.InviteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := g.PublishTo(t.Context(), g.Members()[1].Name, session.Message{Payload: []byte("for you alone")}); err != nil {
			t.Fatal(err)
		}
		own.expect(t, tutorialModerator+" > for you alone\n")
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if m, err := g.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the answer is answered: %q, %v", m.Payload, err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		own.ends(t)
	})
	eachGenuine(t, func(t *testing.T, k realslim.Kind, start func(realslim.Kind, realslim.AppOptions) *realslim.App, env []string) {
		t.Run("participants", func(t *testing.T) {
			names := []string{"agntcy/namespace/slim_22", "agntcy/namespace/slim_34", tutorialMember}
			for i, k := range realslim.Kinds {
				start(k, realslim.AppOptions{Name: names[i], Accept: realslim.Echo, ReplyTo: true})
			}
			own := participant(t, env, tutorialMember)
			want := tutorialMember + " > message received by " + tutorialMember + "\n" + names[0] + " > Hello group!\n" + names[1] + " > Hello group!\n"
			for _, n := range names {
				want += tutorialModerator + " -> add " + n + " to the group\n"
			}
			if got := output(t, env, "", binary, append([]string{"moderator"}, names...)...); sorted(got) != sorted(want) {
				t.Errorf("the moderator prints\n%s\nwant\n%s", got, want)
			}
			own.ends(t)
			if got := own.printed(t); got != inGroup(tutorialMember) {
				t.Errorf("our participant prints %q", got)
			}
		})
		t.Run("moderator", func(t *testing.T) {
			own := participant(t, env, tutorialMember)
			g, err := start(k, realslim.AppOptions{Name: tutorialModerator}).Open(t.Context(), realslim.OpenOptions{Peer: tutorialChannel, Group: true, MLS: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Invite(t.Context(), tutorialMember); err != nil {
				t.Fatal(err)
			}
			if got, want := converseAs(t, g, "Hello group!"), "message received by "+tutorialMember; got != want {
				t.Errorf("the moderator hears %q, want %q", got, want)
			}
			if err := g.Close(t.Context()); err != nil {
				t.Error(err)
			}
			own.ends(t)
			if got := own.printed(t); got != inGroup(tutorialMember) {
				t.Errorf("our participant prints %q", got)
			}
		})
	})
}

// TestShellCommands: what people try sessions with works with genuine
// applications too, in either role.
func TestShellCommands(t *testing.T) {
	eachGenuine(t, func(t *testing.T, k realslim.Kind, start func(realslim.Kind, realslim.AppOptions) *realslim.App, env []string) {
		t.Run("send", func(t *testing.T) {
			start(k, realslim.AppOptions{Name: "org/ns/echo", Accept: realslim.Echo})
			if got := output(t, env, "one\ntwo\n", slimbridge(t), "send", "org/ns/echo", "--request"); got != "one\ntwo\n" {
				t.Errorf("replies %q", got)
			}
			if got := output(t, env, "", slimbridge(t), "send", "org/ns/echo", "--mls", "off", "hello"); got != "" {
				t.Errorf("output %q", got)
			}
		})
		t.Run("receive", func(t *testing.T) {
			r := startPrinter(t, env, "listening as", slimbridge(t), "receive", "org/ns/receiver", "--echo", "--number", "2")
			s, err := start(k, realslim.AppOptions{Name: "org/ns/alice"}).Open(t.Context(), realslim.OpenOptions{Peer: "org/ns/receiver", MLS: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"one", "two"} {
				if got := converseAs(t, s, text); got != text {
					t.Errorf("echo %q", got)
				}
			}
			r.ends(t)
			if got := r.printed(t); got != "org/ns/alice > one\norg/ns/alice > two\n" {
				t.Errorf("received %q", got)
			}
			if _, err := s.WaitClosed(t.Context()); err != nil {
				t.Error(err)
			}
		})
		t.Run("group create", func(t *testing.T) {
			member := start(k, realslim.AppOptions{Name: "org/ns/member", Accept: realslim.Echo})
			got := output(t, env, "Hello group!\n", slimbridge(t), "group", "create", "org/ns/room", "--invite", "org/ns/member", "--wait", "2s")
			if got != "org/ns/member > Hello group!\n" {
				t.Errorf("heard %q", got)
			}
			s, err := member.NextSession(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.WaitClosed(t.Context()); err != nil {
				t.Error(err)
			}
		})
		t.Run("group join", func(t *testing.T) {
			j := startPrinter(t, env, "waits for an invitation", slimbridge(t), "group", "join", "--as", "org/ns/joiner", "--moderator", "org/ns/mod")
			mod := start(k, realslim.AppOptions{Name: "org/ns/mod"})
			g, err := mod.Open(t.Context(), realslim.OpenOptions{Peer: "org/ns/room", Group: true, MLS: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Invite(t.Context(), "org/ns/joiner"); err != nil {
				t.Fatal(err)
			}
			if err := g.Send(t.Context(), []byte("Hello group!")); err != nil {
				t.Fatal(err)
			}
			j.expect(t, "org/ns/mod > Hello group!\n")
			if err := g.Close(t.Context()); err != nil {
				t.Error(err)
			}
			j.ends(t)
		})
	})
}
