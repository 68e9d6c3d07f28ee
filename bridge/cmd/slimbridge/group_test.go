package main

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// chat is a group of a moderator, bob and carol.
func chat(t *testing.T, flags ...string) (moderator, bob, carol *speaker) {
	t.Helper()
	with := atNode(t)
	bob = startSpeaker(t, with("group", "join", "--as", "acme/people/bob", "--moderator", "acme/people/alice", "--moderator", "acme/people/dave")...)
	carol = startSpeaker(t, with("group", "join", "--as", "acme/people/carol", "--any")...)
	bob.stderr.expect(t, "acme/people/bob waits for an invitation by acme/people/alice or acme/people/dave")
	carol.stderr.expect(t, "acme/people/carol waits for an invitation by anybody")
	create := []string{"group", "create", "acme/chat/lobby", "--name", "acme/people/alice", "--invite", "acme/people/bob", "--invite", "acme/people/carol"}
	moderator = startSpeaker(t, with(append(create, flags...)...)...)
	moderator.stderr.expect(t, "acme/people/carol joined")
	for _, m := range []*speaker{bob, carol} {
		m.stderr.expect(t, "slimbridge: in group acme/chat/lobby, moderator acme/people/alice")
	}
	return moderator, bob, carol
}

func TestGroupTalks(t *testing.T) {
	alice, bob, carol := chat(t, "--wait", "1ms")
	alice.say("Hello group!")
	bob.stdout.expect(t, "acme/people/alice > Hello group!")
	carol.stdout.expect(t, "acme/people/alice > Hello group!")
	bob.say("Hello alice!")
	alice.stdout.expect(t, "acme/people/bob > Hello alice!")
	carol.stdout.expect(t, "acme/people/bob > Hello alice!")
	if err := bob.stdin.Close(); err != nil { // ends his part of the talk only
		t.Fatal(err)
	}
	alice.say("bye")
	bob.stdout.expect(t, "acme/people/alice > bye")
	carol.stdout.expect(t, "acme/people/alice > bye")
	if code := alice.end(); code != 0 {
		t.Errorf("create ended with %d:\n%s", code, alice.stderr)
	}
	for _, m := range []*speaker{bob, carol} {
		if code := m.wait(); code != 0 || !strings.HasSuffix(m.stderr.String(), "slimbridge: the group is closed\n") {
			t.Errorf("join ended with %d:\n%s", code, m.stderr)
		}
	}
	if text := alice.stderr.String(); strings.Contains(text, "online") {
		t.Errorf("who joined is said to be back, too:\n%s", text)
	}
	if got, want := alice.stdout.String(), "acme/people/bob > Hello alice!\n"; got != want {
		t.Errorf("the moderator heard %q, want %q", got, want)
	}
}

func TestGroupInterrupted(t *testing.T) {
	alice, bob, carol := chat(t)
	bob.stop(&signalError{syscall.SIGINT})
	if code := bob.wait(); code != 130 {
		t.Errorf("join ended with %d, want 130:\n%s", code, bob.stderr)
	}
	alice.stderr.expect(t, "slimbridge: acme/people/bob left")
	carol.stderr.expect(t, "slimbridge: acme/people/bob left")
	carol.say("only us")
	alice.stdout.expect(t, "acme/people/carol > only us")
	alice.stop(&signalError{syscall.SIGTERM})
	if code := alice.wait(); code != 143 {
		t.Errorf("create ended with %d, want 143:\n%s", code, alice.stderr)
	}
	if code := carol.wait(); code != 0 {
		t.Errorf("join ended with %d:\n%s", code, carol.stderr)
	}
}

func TestGroupJoinInterruptedBeforeInvitation(t *testing.T) {
	with := atNode(t)
	r := start(t, strings.NewReader(""), io.Discard, with("group", "join", "--as", "acme/people/bob", "--any")...)
	r.stderr.expect(t, "waits for an invitation")
	r.stop(&signalError{syscall.SIGINT})
	if code := r.wait(); code != 130 {
		t.Errorf("exit code %d, want 130:\n%s", code, r.stderr)
	}
}

func TestInvitationRefused(t *testing.T) {
	c := &groupCreate{self: name.MustParse("acme/people/alice")}
	bob := name.MustParse("acme/people/bob")
	how := "slimbridge group join --as acme/people/bob --moderator acme/people/alice"
	for _, tc := range []struct {
		code session.Code
		want []string
	}{
		{session.CodeNoPeer, []string{"nobody of that name answers", how}},
		{session.CodeTimeout, []string{"does it allow us to invite it", how, "--mls"}},
		{session.CodeSecurity, []string{"refused for security"}},
	} {
		got := c.refused(bob, &session.Error{Code: tc.code, Peer: bob, Err: errors.New("why")}).Error()
		for _, want := range append(tc.want, "invite acme/people/bob: ") {
			if !strings.Contains(got, want) {
				t.Errorf("%v: no %q in %q", tc.code, want, got)
			}
		}
	}
}
