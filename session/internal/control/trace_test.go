package control

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// gist is what a message says, by names instead of ids and without secrets.
func gist(o Outbound, who func(name.Name) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s -> %s", short(o.Type), who(o.To))
	if o.Broadcast {
		b.WriteString(", fanout")
	}
	for k := range o.Metadata {
		if k == wire.MetaLeaving || k == wire.MetaPublishTo {
			b.WriteString(", " + k)
		}
	}
	if !IsCommand(o.Type) && o.ID <= lastMessageID {
		fmt.Fprintf(&b, ", id %d", o.ID)
	}
	name := func(n *pb.Name) string { got, _ := wire.ToName(n); return who(got) }
	one := func(p *pb.Participant) string {
		s := p.GetSettings()
		return fmt.Sprintf("%s{%v %v %v}", name(p.GetName()), s.GetSendsData(), s.GetReceivesData(), p.GetStatus())
	}
	all := func(list []*pb.Participant) string {
		var names []string
		for _, p := range list {
			names = append(names, one(p))
		}
		slices.Sort(names) // the real library lists them at random
		return strings.Join(names, " ")
	}
	c := o.Command
	switch {
	case c.GetJoinRequest() != nil:
		j := c.GetJoinRequest()
		fmt.Fprintf(&b, ", channel %s, control %s, timers %v, mls %d", name(j.GetChannel()), name(j.GetControl()),
			j.GetTimerSettings() != nil, j.GetMlsSettings().GetHeaderIntegrityValidationPercent())
	case c.GetJoinReply() != nil:
		j := c.GetJoinReply()
		fmt.Fprintf(&b, ", %s, key package %v", one(j.GetParticipant()), len(j.GetKeyPackage()) > 0)
	case c.GetGroupWelcome() != nil:
		w := c.GetGroupWelcome()
		fmt.Fprintf(&b, ", commit %d, [%s]", w.GetMls().GetCommitId(), all(w.GetParticipants()))
	case c.GetGroupUpdate() != nil:
		u := c.GetGroupUpdate()
		fmt.Fprintf(&b, ", %v %s, commit %d, [%s]", u.GetOp(), one(u.GetParticipant()), u.GetMls().GetCommitId(), all(u.GetParticipants()))
	case c.GetGroupClose() != nil:
		var names []string
		for _, n := range c.GetGroupClose().GetParticipants() {
			names = append(names, name(n))
		}
		slices.Sort(names)
		fmt.Fprintf(&b, ", %v", names)
	case c.GetUpdateParticipantState() != nil:
		u := c.GetUpdateParticipantState()
		fmt.Fprintf(&b, ", %s %v, epoch %d", name(u.GetParticipant()), u.GetNewState(), u.GetEpoch())
	case c.GetRejoinRequest() != nil:
		fmt.Fprintf(&b, ", %s, key package %v", name(c.GetRejoinRequest().GetParticipant()), len(c.GetRejoinRequest().GetKeyPackage()) > 0)
	case c.GetRejoinReply() != nil:
		fmt.Fprintf(&b, ", commit %d", c.GetRejoinReply().GetCommitId())
	}
	return b.String()
}

// realTrace reads what each app of the real library (2.2.0) sent, up to a time.
func realTrace(t *testing.T, file string, until float64) map[string][]string {
	f, err := os.Open(filepath.Join("testdata", "traces", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	apps := map[int]string{1: "bob", 2: "carol", 3: "alice"}
	lines := map[string][]string{}
	var control name.Key
	who := func(n name.Name) string {
		switch {
		case n.Components[2] != "alice" && n.Components[2] != "bob" && n.Components[2] != "carol":
			if n.Key() == control {
				return "control"
			}
			return "channel"
		case n.ID == name.Any:
			return n.Components[2] + ":*"
		}
		return n.Components[2]
	}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var line struct {
			Ms  float64
			App int
			Hex string
		}
		var m pb.Message
		if err := json.Unmarshal(sc.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		raw, err := hex.DecodeString(line.Hex)
		if err != nil || proto.Unmarshal(raw, &m) != nil {
			t.Fatalf("line at %v ms does not parse", line.Ms)
		}
		p := m.GetPublish()
		if p == nil || line.Ms > until {
			continue
		}
		if c, ok := wire.ToName(p.GetMsg().GetCommandPayload().GetJoinRequest().GetControl()); ok {
			control = c.Key()
		}
		to, _ := wire.ToName(p.GetHeader().GetDestination())
		lines[apps[line.App]] = append(lines[apps[line.App]], gist(Outbound{
			Type: p.GetSession().GetSessionMessageType(), ID: MessageID(p.GetSession().GetMessageId()), To: to,
			Broadcast: p.GetHeader().GetFanout() > 1, Command: p.GetMsg().GetCommandPayload(), Metadata: m.GetMetadata(),
		}, who))
	}
	return lines
}

// Our machines say what the real library says: the same messages with the same
// contents, sender by sender. (Between senders the order depends on chance.)
func TestGroupLikeTheRealOne(t *testing.T) {
	for _, tc := range []struct {
		file  string
		until float64 // ms
		play  func(h *hall)
	}{
		{"group-mls.jsonl", 1e9, func(h *hall) {
			h.publish(h.seat("alice"), "hello")
			h.run(time.Second)
			h.expel("carol", false)
			h.run(time.Second)
			h.publish(h.seat("bob"), "hello")
			h.run(50 * time.Millisecond)
			h.step(h.seat("bob"), PublishTo{To: h.seat("alice").full})
			h.run(50 * time.Millisecond)
			h.step(h.seat("alice"), Close{})
		}},
		{"leave-mls.jsonl", 1e9, func(h *hall) {
			h.step(h.seat("carol"), Close{})
			h.run(time.Second)
			h.publish(h.seat("alice"), "hello")
			h.run(time.Second)
			h.step(h.seat("bob"), Close{})
		}},
		{"rejoin-mls.jsonl", 8200, func(h *hall) { // later: a defect of the real one
			h.do(h.seat("bob"), func(op Op) Event { return SoftClose{Op: op} })
			h.run(time.Second)
			h.expel("carol", false)
			h.run(time.Second)
			h.do(h.seat("bob"), func(op Op) Event { return Rejoin{Op: op} })
			h.run(time.Second)
			h.publish(h.seat("bob"), "hello")
			h.run(50 * time.Millisecond)
			h.publish(h.seat("alice"), "hello")
		}},
	} {
		t.Run(tc.file, func(t *testing.T) {
			h := newHall(t, hallOptions{retries: 10}, "alice", "bob", "carol")
			got := map[string][]string{}
			h.tap = func(s *seat, o Outbound) {
				got[s.name] = append(got[s.name], gist(o, func(n name.Name) string {
					_, to, _ := strings.Cut(h.route(s, Outbound{To: n}), " -> ")
					return to
				}))
			}
			h.gather()
			tc.play(h)
			h.run(time.Second)
			for who, want := range realTrace(t, tc.file, tc.until) {
				if !slices.Equal(got[who], want) {
					t.Errorf("%s sends\n  %s\nthe real one\n  %s", who, strings.Join(got[who], "\n  "), strings.Join(want, "\n  "))
				}
			}
		})
	}
}
