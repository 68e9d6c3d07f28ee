package main

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/slimbridge/slimbridge/session"
)

// speaker is a command with a standard input that the test writes.
type speaker struct {
	*running
	stdin  io.WriteCloser
	stdout *lineWriter
}

func startSpeaker(t *testing.T, args ...string) *speaker {
	t.Helper()
	in, stdin := io.Pipe()
	t.Cleanup(func() { _ = stdin.Close() })
	out := newLineWriter()
	return &speaker{start(t, in, out, args...), stdin, out}
}

func (s *speaker) say(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.stdin, text+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// end closes standard input and returns the exit code.
func (s *speaker) end() int {
	s.t.Helper()
	if err := s.stdin.Close(); err != nil {
		s.t.Fatal(err)
	}
	return s.wait()
}

// atNode adds what all commands of a test have in common.
func atNode(t *testing.T) func(args ...string) []string {
	t.Helper()
	isolate(t)
	endpoint, _ := startNode(t)
	secret := secretFile(t)
	return func(args ...string) []string { return append(args, "--node", endpoint, "--secret-file", secret) }
}

func TestSendLinesToReceive(t *testing.T) {
	for _, flags := range [][]string{nil, {"--reliable", "off"}, {"--name", "acme/people/alice"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			with := atNode(t)
			r := startSpeaker(t, with("receive", "acme/people/bob", "--number", "3")...)
			r.stderr.expect(t, "listening as acme/people/bob")
			s := startSpeaker(t, with(append([]string{"send", "acme/people/bob"}, flags...)...)...)
			s.say("one")
			s.say("")
			s.say("three")
			if code := r.wait(); code != 0 {
				t.Errorf("receive ended with %d:\n%s", code, r.stderr)
			}
			if code := s.end(); code != 0 || s.stdout.String() != "" {
				t.Errorf("send ended with %d and printed %q:\n%s", code, s.stdout, s.stderr)
			}
			from := "local/shell/sender"
			if len(flags) > 0 && flags[0] == "--name" {
				from = flags[1]
			}
			if want := from + " > one\n" + from + " > \n" + from + " > three\n"; r.stdout.String() != want {
				t.Errorf("received %q, want %q", r.stdout, want)
			}
		})
	}
}

func TestSendRequest(t *testing.T) {
	with := atNode(t)
	for _, tc := range []struct{ name, flags, want string }{
		{"echo", "--echo", "are you\tthere? ü\n"},
		{"reply", "--reply=here", "here\n"},
		{"reply of lines", "--reply=a\nb\n", "a\nb\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := startSpeaker(t, with("receive", "acme/tools/echo", tc.flags, "--number", "1")...)
			r.stderr.expect(t, "listening as ")
			s := slimbridge(t, with("send", "acme/tools/echo", "--request", "are you\tthere? ü")...)
			if s.code != 0 || s.stdout != tc.want {
				t.Errorf("got %+v, want %q", s, tc.want)
			}
			if code := r.wait(); code != 0 {
				t.Errorf("receive ended with %d:\n%s", code, r.stderr)
			}
		})
	}
}

func TestSendRequestUnanswered(t *testing.T) {
	with := atNode(t)
	startSpeaker(t, with("receive", "acme/people/mute")...).stderr.expect(t, "listening as ")
	got := slimbridge(t, with("send", "acme/people/mute", "--request", "--timeout", "300ms", "hello?")...)
	if got.code != exitFailure || got.stdout != "" || !strings.Contains(got.stderr, "slimbridge: no reply from acme/people/mute within 300ms") {
		t.Errorf("got %+v", got)
	}
}

// TestSendWithoutReader sends more than a session keeps for an application that
// echoes, and reads nothing of it.
func TestSendWithoutReader(t *testing.T) {
	const lines = 3000
	with := atNode(t)
	startSpeaker(t, with("receive", "acme/tools/echo", "--echo", "--mls", "off")...).stderr.expect(t, "listening as ")
	s := start(t, strings.NewReader(strings.Repeat("x\n", lines)), io.Discard, with("send", "acme/tools/echo", "--mls", "off")...)
	if code := s.wait(); code != 0 {
		t.Errorf("send ended with %d:\n%s", code, s.stderr)
	}
}

func TestReceiveSaysFarewell(t *testing.T) {
	with := atNode(t)
	r := startSpeaker(t, with("receive", "acme/people/bob")...)
	r.stderr.expect(t, "listening as ")
	s := startSpeaker(t, with("send", "acme/people/bob")...)
	s.say("hello")
	r.stdout.expect(t, "local/shell/sender > hello")
	r.stop(&signalError{syscall.SIGINT})
	if code := r.wait(); code != 130 {
		t.Errorf("receive ended with %d, want 130:\n%s", code, r.stderr)
	}
	s.say("still there?")
	if code := s.wait(); code != exitFailure || !strings.Contains(s.stderr.String(), "closed by the peer") {
		t.Errorf("send ended with %d:\n%s", code, s.stderr)
	}
}

func TestSendInterrupted(t *testing.T) {
	with := atNode(t)
	r := startSpeaker(t, with("receive", "acme/people/bob")...)
	r.stderr.expect(t, "listening as ")
	s := startSpeaker(t, with("send", "acme/people/bob")...)
	s.say("hello")
	r.stdout.expect(t, "> hello")
	s.stop(&signalError{syscall.SIGTERM})
	if code := s.wait(); code != 143 {
		t.Errorf("send ended with %d, want 143:\n%s", code, s.stderr)
	}
	if strings.Contains(s.stderr.String(), "slimbridge:") || strings.Contains(r.stderr.String(), "WRN") {
		t.Errorf("an interruption is no error:\n%s%s", s.stderr, r.stderr)
	}
}

// TestSendUnacknowledged kills the other side: what it did not acknowledge was not
// sent well.
func TestSendUnacknowledged(t *testing.T) {
	with := atNode(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bob := exec.Command(exe, with("receive", "acme/people/bob")...)
	bob.Env = append(os.Environ(), envRole+"=slimbridge")
	out, log := newLineWriter(), newLineWriter()
	bob.Stdout, bob.Stderr = out, log
	if err := bob.Start(); err != nil {
		t.Fatal(err)
	}
	log.expect(t, "listening as ")
	s := startSpeaker(t, with("send", "acme/people/bob")...)
	s.say("heard")
	out.expect(t, "> heard")
	if err := bob.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = bob.Wait() // says that it was killed
	s.say("unheard")
	if code := s.end(); code != exitFailure || !strings.Contains(s.stderr.String(), "(acme/people/bob)") {
		t.Errorf("send ended with %d:\n%s", code, s.stderr)
	}
}

func TestSendTooLong(t *testing.T) {
	with := atNode(t)
	startSpeaker(t, with("receive", "acme/people/bob", "--number", "1")...).stderr.expect(t, "listening as ")
	in := strings.NewReader(strings.Repeat("x", session.MaxPayload+3) + "\n")
	s := start(t, in, io.Discard, with("send", "acme/people/bob")...)
	if code := s.wait(); code != exitFailure || !strings.Contains(s.stderr.String(), "a line of standard input is longer than 3600000 bytes") {
		t.Errorf("send ended with %d:\n%s", code, s.stderr)
	}
	longest := strings.NewReader(strings.Repeat("x", session.MaxPayload) + "\r\n")
	s = start(t, longest, io.Discard, with("send", "acme/people/bob")...)
	if code := s.wait(); code != 0 {
		t.Errorf("the longest line: send ended with %d:\n%s", code, s.stderr)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"Grüße, 世界\tand it's \"me\" \\n": "Grüße, 世界\tand it's \"me\" \\n",
		"a\nb\r":                         `a\nb\r`,
		"\x1b[31mred\x00":                `\x1b[31mred\x00`,
		"\xff\xc3":                       `\xff\xc3`,
		"\u202eabc\u2028":                `\u202eabc\u2028`,
		"\ufffd":                         "\ufffd",
	} {
		if got := printable([]byte(in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
