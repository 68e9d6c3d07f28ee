package arq

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the outputs into testdata/*.txt")

// TestTranscripts runs testdata/*.txt. A line "> TIME COMMAND ARGS" is an
// input, the indented lines below are its outputs; the others are comment.
// The first input makes the machine: "> sender M=2" or "> receiver first=1".
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, have := strings.Split(string(text), "\n"), strings.Split(got, "\n")
			for i := range max(len(want), len(have)) {
				if i >= len(want) || i >= len(have) || want[i] != have[i] {
					t.Fatalf("%s:%d: got\n%s", file, i+1, got)
				}
			}
		})
	}
}

// machine carries out one command and returns its outputs.
type machine interface {
	do(t *testing.T, now time.Time, cmd string, args []string) []string
	NextTimeout() time.Time
}

func replay(t *testing.T, text string) string {
	var out strings.Builder
	var m machine
	next := "never"
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "  "):
			continue // outputs of last time
		case !strings.HasPrefix(line, "> "):
			out.WriteString(line)
			continue
		}
		out.WriteString(line)
		f := strings.Fields(line)[1:]
		if m == nil {
			m = newMachine(t, f)
			continue
		}
		after, err := time.ParseDuration(f[0])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, o := range m.do(t, epoch.Add(after), f[1], f[2:]) {
			fmt.Fprintf(&out, "  %s\n", o)
		}
		now := "never"
		if at := m.NextTimeout(); !at.IsZero() {
			now = at.Sub(epoch).String()
		}
		if now != next {
			fmt.Fprintf(&out, "  next %s\n", now)
			next = now
		}
	}
	return out.String()
}

func newMachine(t *testing.T, f []string) machine {
	set := map[string]int{"M": 2, "start": 0}
	for _, kv := range f[1:] {
		k, v, _ := strings.Cut(kv, "=")
		set[k] = number(t, v)
	}
	reliable := set["unreliable"] == 0
	if f[0] == "sender" {
		s := NewSender[string, string](SenderConfig{Reliable: reliable, MaxRetries: set["M"], Ring: set["ring"], Window: set["window"], WindowBytes: set["bytes"], RingBytes: set["ringbytes"], Reach: set["reach"]})
		s.newest = uint64(set["start"])
		s.firstOpen, s.firstKept = s.newest+1, s.newest+1
		return senderMachine{s}
	}
	r := NewReceiver[string](ReceiverConfig{Reliable: reliable, StartAtOne: set["first"] == 1, MaxRetries: set["M"], Hold: set["hold"], HoldBytes: set["bytes"]})
	if start := set["start"]; start != 0 {
		r.started, r.last, r.newest = true, uint64(start), uint64(start)
	}
	return receiverMachine{r}
}

func number(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

type senderMachine struct{ *Sender[string, string] }

func (m senderMachine) do(t *testing.T, now time.Time, cmd string, args []string) []string {
	id := func(i int) MessageID { return MessageID(number(t, args[i])) }
	switch cmd {
	case "publish":
		size := len(args[0])
		if !m.CanPublish(size) {
			return []string{"no room"}
		}
		n, transmit := m.Publish(now, args[0], size)
		if transmit {
			return []string{fmt.Sprintf("send %d to all: %s", n, args[0])}
		}
		return []string{fmt.Sprintf("keep %d", n)}
	case "online":
		return sends(m.Online(now, args[0]))
	case "offline":
		return settles(m.Offline(args[0]))
	case "remove":
		return settles(m.Remove(args[0]))
	case "ack":
		return settles(m.Ack(args[0], id(1)))
	case "rtx":
		msg, found, settled := m.Rtx(now, args[0], id(1))
		out := fmt.Sprintf("reply %d to %s: %s", id(1), args[0], msg)
		if !found {
			out = fmt.Sprintf("reply %d to %s: error", id(1), args[0])
		}
		return append([]string{out}, settles(settled)...)
	case "tick":
		resend, settled, lost := m.Tick(now)
		out := append(sends(resend), settles(settled)...)
		for _, p := range lost {
			out = append(out, "lost "+p)
		}
		return out
	case "epoch": // everything was encrypted before
		for range m.thrift.sent {
			m.Encrypted()
		}
		m.NewEpoch()
	case "pause":
		m.Pause(now)
	case "resume":
		m.Resume(now)
	case "fail":
		return settles(m.Fail())
	default:
		t.Fatalf("unknown command %q", cmd)
	}
	return nil
}

func sends(list []Outgoing[string, string]) (out []string) {
	for _, o := range list {
		to := o.Peer
		if o.ToAll {
			to = "all"
		}
		line := fmt.Sprintf("send %d to %s: %s", o.ID, to, o.Msg)
		if o.Attempt > 0 {
			line += fmt.Sprintf(" (retry %d)", o.Attempt)
		}
		out = append(out, line)
	}
	return out
}

func settles(list []Settled[string]) (out []string) {
	for _, s := range list {
		line := fmt.Sprintf("settled %d", s.ID)
		if len(s.Missing) > 0 {
			line += " without " + strings.Join(s.Missing, " ")
		}
		if s.Failed {
			line += " (session ended)"
		}
		out = append(out, line)
	}
	return out
}

type receiverMachine struct{ *Receiver[string] }

func (m receiverMachine) do(t *testing.T, now time.Time, cmd string, args []string) []string {
	text := func() string {
		if len(args) > 1 {
			return args[1]
		}
		return "m" + args[0]
	}
	switch cmd {
	case "msg":
		return results(m.Message(now, MessageID(number(t, args[0])), text(), len(text())))
	case "reply":
		return results(m.Reply(now, MessageID(number(t, args[0])), text(), len(text()), text() == "error"))
	case "tick":
		return results(m.Tick(now))
	case "flush":
		return results(m.Flush())
	case "pause":
		m.Pause(now)
	case "resume":
		m.Resume(now)
	default:
		t.Fatalf("unknown command %q", cmd)
	}
	return nil
}

func results(r Result[string]) (out []string) {
	for _, one := range []struct {
		set  bool
		text string
	}{{r.Ack, "ack"}, {r.Duplicate, "duplicate"}, {r.Refused, "refused"}} {
		if one.set {
			out = append(out, one.text)
		}
	}
	if len(r.Request) > 0 {
		out = append(out, "request "+strings.Trim(fmt.Sprint(r.Request), "[]"))
	}
	for _, i := range r.Deliver {
		switch {
		case !i.Lost:
			out = append(out, fmt.Sprintf("deliver %d %s", i.ID, i.Msg))
		case i.ID == i.Through:
			out = append(out, fmt.Sprintf("deliver %d lost", i.ID))
		default:
			out = append(out, fmt.Sprintf("deliver %d to %d lost", i.ID, i.Through))
		}
	}
	return out
}
