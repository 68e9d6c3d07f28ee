package control

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

var rewrite = flag.Bool("rewrite", false, "write the transcripts instead of comparing them")

func is(t Type) func(Outbound) bool { return func(o Outbound) bool { return o.Type == t } }

// loseFirst loses the first n messages that match.
func loseFirst(n int, match func(Outbound) bool) func(*side, Outbound) []time.Duration {
	return func(_ *side, o Outbound) []time.Duration {
		if n > 0 && match(o) {
			n--
			return nil
		}
		return []time.Duration{time.Millisecond}
	}
}

// The transcripts are the protocol, to be read: who sends what, what got lost,
// who is where.
func TestTranscripts(t *testing.T) {
	scenes := map[string]struct {
		opts pairOptions
		play func(p *pair)
	}{
		"open-talk-close": {pairOptions{mls: true, retries: 10}, func(p *pair) {
			p.open()
			p.publish(p.a, "ping")
			p.run(50 * time.Millisecond)
			p.publish(p.b, "pong")
			p.run(50 * time.Millisecond)
			p.step(p.a, Close{})
			p.run(20 * time.Second)
		}},
		"responder-leaves": {pairOptions{mls: true, retries: 10}, func(p *pair) {
			p.open()
			p.step(p.b, Close{})
			p.run(20 * time.Second)
		}},
		"lost-join-reply": {pairOptions{mls: true, retries: 10}, func(p *pair) {
			p.fate = loseFirst(1, is(pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REPLY))
			p.step(p.a, Start{})
			p.run(3 * time.Second)
		}},
		"lost-welcome-ack": {pairOptions{mls: true, retries: 10}, func(p *pair) {
			p.fate = loseFirst(1, is(pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK))
			p.step(p.a, Start{})
			p.run(3 * time.Second)
		}},
		"lost-message": {pairOptions{mls: true, retries: 10}, func(p *pair) {
			p.open()
			p.publish(p.a, "one")
			p.run(10 * time.Millisecond)
			p.fate = loseFirst(1, func(o Outbound) bool { return is(pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG)(o) && o.ID == 2 })
			p.publish(p.a, "two")
			p.publish(p.a, "three")
			p.run(3 * time.Second)
		}},
		"first-message-lost": {pairOptions{mls: true, retries: 10}, func(p *pair) {
			p.open()
			p.fate = loseFirst(1, is(pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG))
			p.publish(p.a, "one")
			p.logf("      alice may publish: %v", p.a.m.CanPublish())
			p.run(3 * time.Second)
			p.logf("      alice may publish: %v", p.a.m.CanPublish())
		}},
		"nobody-there": {pairOptions{mls: true, retries: 2}, func(p *pair) {
			p.fate = loseFirst(100, func(Outbound) bool { return true })
			p.step(p.a, Start{})
			p.run(20 * time.Second)
		}},
		"rotation": {pairOptions{mls: true, retries: 10, rotateMsgs: 3}, func(p *pair) {
			p.open()
			for i := range 4 {
				p.publish(p.a, fmt.Sprint("m", i))
				p.run(20 * time.Millisecond)
			}
		}},
		"rotation-commit-lost": {pairOptions{mls: true, retries: 10, rotateMsgs: 3}, func(p *pair) {
			p.open()
			p.fate = loseFirst(1, is(pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_UPDATE))
			for i := range 4 {
				p.publish(p.a, fmt.Sprint("m", i))
				p.run(20 * time.Millisecond)
			}
			p.run(3 * time.Second)
		}},
		"rotation-ack-lost": {pairOptions{mls: true, retries: 10, rotateMsgs: 3}, func(p *pair) {
			p.open()
			p.fate = loseFirst(1, is(pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK))
			for i := range 3 {
				p.publish(p.a, fmt.Sprint("m", i))
				p.run(20 * time.Millisecond)
			}
			p.run(2 * time.Second)
		}},
		"rejoin-after-missed-commits": {pairOptions{mls: true, retries: 1}, func(p *pair) {
			p.open()
			p.a.mls.epoch += 3 // commits that bob never saw and alice no longer has
			p.run(60 * time.Second)
			p.publish(p.a, "with new keys")
			p.run(time.Second)
		}},
	}
	for scene, tc := range scenes {
		t.Run(scene, func(t *testing.T) {
			p := newPair(t, tc.opts)
			tc.play(p)
			compare(t, filepath.Join("testdata", scene+".txt"), p.log.String())
		})
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("transcript differs from %s:\n%s", file, got)
	}
}

// Under loss, duplication and reordering everything arrives once and in order,
// keys rotate meanwhile, and both sides come to an end.
func TestChaos(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := newPair(t, pairOptions{mls: seed%2 == 0, retries: 30, rotateMsgs: 10})
		p.fate = chaos(r, 0.2)
		p.step(p.a, Start{})
		p.run(40 * time.Second)
		if !p.a.opened || !p.b.opened {
			t.Fatalf("seed %d: not open\n%s", seed, p.log)
		}
		var sent [2][]string
		for i := range 60 {
			for k, s := range []*side{p.a, p.b} {
				if s.m.CanPublish() {
					text := fmt.Sprint(s.name, i)
					sent[k] = append(sent[k], text)
					p.publish(s, text)
				}
			}
			p.run(time.Duration(r.IntN(100)) * time.Millisecond)
		}
		p.run(90 * time.Second)
		if !slices.Equal(p.b.got, sent[0]) || !slices.Equal(p.a.got, sent[1]) {
			t.Fatalf("seed %d: bob got %v\nalice got %v\n%s", seed, p.b.got, p.a.got, p.log)
		}
		for k, s := range []*side{p.a, p.b} {
			for id, ok := range s.settled {
				if !ok {
					t.Errorf("seed %d: %s: message %d not acknowledged", seed, s.name, id)
				}
			}
			if n := len(sent[k]); len(s.settled) != n || n == 0 {
				t.Errorf("seed %d: %s: %d of %d settled", seed, s.name, len(s.settled), n)
			}
		}
		if seed%2 == 0 && (p.a.rotated == 0 || p.a.m.Epoch() != p.b.m.Epoch()) {
			t.Errorf("seed %d: %d rotations, epochs %d and %d", seed, p.a.rotated, p.a.m.Epoch(), p.b.m.Epoch())
		}
		p.step(p.b, Close{})
		p.run(60 * time.Second)
		if p.a.ended == nil || p.b.ended == nil {
			t.Fatalf("seed %d: not ended\n%s", seed, p.log)
		}
	}
}

func TestHalfOpenJoinExpires(t *testing.T) {
	p := newPair(t, pairOptions{mls: true, retries: 10})
	p.fate = loseFirst(1000, func(o Outbound) bool {
		return o.Type == pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REPLY
	})
	p.step(p.a, Start{})
	p.run(30 * time.Second)
	if p.b.ended == nil || p.b.ended.Reason != HalfOpen {
		t.Errorf("responder: %+v, want it half open and expired", p.b.ended)
	}
	if p.a.ended == nil || p.a.ended.Reason != NoAnswer {
		t.Errorf("initiator: %+v, want no answer", p.a.ended)
	}
}

func TestSlowPeer(t *testing.T) {
	// Round trips longer than the interval: every reply is to an old request.
	p := newPair(t, pairOptions{mls: true, retries: 10})
	p.fate = func(*side, Outbound) []time.Duration { return []time.Duration{800 * time.Millisecond} }
	p.step(p.a, Start{})
	p.run(20 * time.Second)
	if !p.a.opened || !p.b.opened {
		t.Errorf("not open:\n%s", p.log)
	}
}

func TestEndWhenLost(t *testing.T) {
	t.Run("unacknowledged", func(t *testing.T) {
		p := newPair(t, pairOptions{retries: 2, endLost: true})
		p.open()
		p.fate = func(*side, Outbound) []time.Duration { return nil }
		p.publish(p.a, "into the void")
		p.run(4 * time.Second)
		if p.a.ended == nil || p.a.ended.Reason != PeerGone || p.a.settled[1] {
			t.Errorf("ended %+v, settled %v", p.a.ended, p.a.settled)
		}
	})
	t.Run("silent", func(t *testing.T) {
		p := newPair(t, pairOptions{retries: 2, endLost: true})
		p.open()
		p.fate = func(*side, Outbound) []time.Duration { return nil }
		p.run(41 * time.Second)
		if p.a.ended == nil || p.a.ended.Reason != PeerGone {
			t.Errorf("ended %+v", p.a.ended)
		}
	})
	t.Run("idle peers stay", func(t *testing.T) {
		p := newPair(t, pairOptions{mls: true, retries: 2, endLost: true})
		p.open()
		p.run(time.Hour)
		if p.a.ended != nil || p.b.ended != nil {
			t.Errorf("ended %+v %+v", p.a.ended, p.b.ended)
		}
	})
	t.Run("link down", func(t *testing.T) {
		p := newPair(t, pairOptions{retries: 2, endLost: true})
		p.open()
		p.step(p.a, LinkDown{})
		p.publish(p.a, "waits")
		p.run(29 * time.Second)
		if p.a.ended != nil {
			t.Fatalf("ended %+v too early", p.a.ended)
		}
		p.run(2 * time.Second)
		if p.a.ended == nil || p.a.ended.Reason != LinkLost {
			t.Errorf("ended %+v", p.a.ended)
		}
	})
}

func TestLinkDownCostsNoRetry(t *testing.T) {
	p := newPair(t, pairOptions{mls: true, retries: 2})
	p.open()
	p.step(p.a, LinkDown{})
	p.step(p.b, LinkDown{})
	p.fate = func(*side, Outbound) []time.Duration { return nil }
	p.publish(p.a, "sent into a dead link")
	p.run(10 * time.Minute)
	p.fate = func(*side, Outbound) []time.Duration { return []time.Duration{time.Millisecond} }
	p.step(p.b, LinkUp{})
	p.step(p.a, LinkUp{})
	p.run(time.Second)
	if !slices.Equal(p.b.got, []string{"sent into a dead link"}) || !p.a.settled[1] {
		t.Errorf("got %v, settled %v\n%s", p.b.got, p.a.settled, p.log)
	}
}

// A peer's generous timers do not keep a place of ours for long.
func TestHalfOpenIsShort(t *testing.T) {
	p := newPair(t, pairOptions{mls: true, retries: 1000})
	p.b.m = New(p.b.cfg)
	p.step(p.b, Start{})
	if at := p.b.m.NextTimeout(); at.Sub(p.now) > MaxHalfOpen {
		t.Errorf("expires in %v", at.Sub(p.now))
	}
}

// Rejoining works when round trips take longer than the interval: the repeated
// request gets the same welcome, and no second commit.
func TestRejoinOverSlowLink(t *testing.T) {
	p := newPair(t, pairOptions{mls: true, retries: 10})
	p.open()
	p.fate = func(*side, Outbound) []time.Duration { return []time.Duration{700 * time.Millisecond} }
	p.a.mls.epoch += 3 // commits that bob never saw and alice no longer has
	p.run(60 * time.Second)
	if p.a.m.Epoch() != p.b.m.Epoch() || p.a.rotated != 1 {
		t.Errorf("epochs %d and %d after %d commits\n%s", p.a.m.Epoch(), p.b.m.Epoch(), p.a.rotated, p.log)
	}
	p.publish(p.a, "to bob")
	p.publish(p.b, "to alice")
	p.run(5 * time.Second)
	if !slices.Equal(p.b.got, []string{"to bob"}) || !slices.Equal(p.a.got, []string{"to alice"}) {
		t.Errorf("got %v and %v", p.b.got, p.a.got)
	}
}

// A lost rejoin request is repeated in time.
func TestRejoinRequestLost(t *testing.T) {
	p := newPair(t, pairOptions{mls: true, retries: 10})
	p.open()
	p.a.mls.epoch += 3
	p.fate = loseFirst(2, is(pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST))
	p.run(24 * time.Second)
	if p.a.m.Epoch() != p.b.m.Epoch() {
		t.Errorf("epochs %d and %d\n%s", p.a.m.Epoch(), p.b.m.Epoch(), p.log)
	}
}

func TestDrainEnds(t *testing.T) {
	p := newPair(t, pairOptions{retries: 10})
	p.open()
	p.fate = func(*side, Outbound) []time.Duration { return nil }
	p.publish(p.a, "into the void")
	p.run(15 * time.Second) // bob is offline now
	p.publish(p.a, "parked")
	p.step(p.a, Drain{})
	p.run(MaxDrain + 15*time.Second)
	if p.a.ended == nil || p.a.ended.Reason != Closed {
		t.Errorf("ended %+v\n%s", p.a.ended, p.log)
	}
}

// Every message a peer may send is refused if it comes from somebody else, and
// the session goes on.
func TestImpostors(t *testing.T) {
	p := newPair(t, pairOptions{mls: true, retries: 10})
	p.open()
	for typ := pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG; typ <= pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REPLY; typ++ {
		for who, change := range map[string]func(*Inbound){
			"another name":    func(in *Inbound) { in.From = name.New("org", "ns", "mallory").WithID(name.ID{Lo: 1}) },
			"another subject": func(in *Inbound) { in.Subject = "org/ns/mallory" },
			"another key":     func(in *Inbound) { in.Key = []byte("mallory") },
		} {
			in := Inbound{Type: typ, ID: 4242, From: p.b.full, Subject: p.b.subject, Key: []byte(p.b.subject)}
			change(&in)
			out := p.a.m.Step(p.now, Received{Msg: in})
			if out.Dropped == "" || len(out.Send)+len(out.Deliver) > 0 || out.Ended != nil {
				t.Errorf("%v from %s: %+v", typ, who, out)
			}
		}
	}
	p.publish(p.b, "still here")
	p.run(time.Second)
	if !slices.Equal(p.a.got, []string{"still here"}) {
		t.Errorf("got %v", p.a.got)
	}
}

func TestTamperedMessages(t *testing.T) {
	p := newPair(t, pairOptions{mls: true, retries: 10})
	p.open()
	msg := func(aad string, blob []byte) Inbound {
		return Inbound{
			Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG, ID: 1, From: p.a.full, Subject: p.a.subject,
			Key: []byte(p.a.subject), AAD: []byte(aad), App: &pb.ApplicationPayload{Blob: blob},
		}
	}
	sealed, _ := p.a.m.Seal([]byte("hello"), []byte("1/1"))
	other := &fakeMLS{subject: "org/ns/mallory", epoch: 1}
	forged, _ := other.Encrypt([]byte("hello"), []byte("1/1"))
	for what, in := range map[string]Inbound{
		"not ciphertext":     msg("1/1", []byte("x")),
		"header changed":     msg("1/2", sealed),
		"other group member": msg("1/1", forged),
		"no payload at all":  {Type: pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG, ID: 1, From: p.a.full, Subject: p.a.subject, Key: []byte(p.a.subject)},
	} {
		out := p.b.m.Step(p.now, Received{Msg: in})
		if out.Dropped == "" || len(out.Deliver)+len(out.Send) > 0 {
			t.Errorf("%s: %+v", what, out)
		}
	}
	p.publish(p.a, "hello")
	p.run(time.Second)
	if !slices.Equal(p.b.got, []string{"hello"}) {
		t.Errorf("got %v", p.b.got)
	}
}

// FuzzStep feeds machines any order of events; nothing may panic and nothing
// may be sent to anybody but the peer.
func FuzzStep(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
	f.Add([]byte("open and close and open"))
	f.Fuzz(func(t *testing.T, program []byte) {
		p := newPair(t, pairOptions{mls: len(program)%2 == 0, retries: 2, rotateMsgs: 2})
		p.b.m = New(p.b.cfg)
		p.step(p.b, Start{})
		p.step(p.a, Start{})
		for i, op := range program {
			s := p.a
			if op&0x80 != 0 {
				s = p.b
			}
			op &= 0x7f
			switch {
			case op < 30:
				in := Inbound{
					Type: Type(op), ID: MessageID(i%7 + 1), From: s.peer.full, Subject: s.peer.subject,
					Key: []byte(s.peer.subject), Command: &pb.CommandPayload{}, App: &pb.ApplicationPayload{Blob: program[:i]},
				}
				p.step(s, Received{Msg: in})
			case op == 30:
				p.step(s, Close{})
			case op == 31:
				p.step(s, Drain{})
			case op == 32:
				p.step(s, LinkDown{})
			case op == 33:
				p.step(s, LinkUp{})
			case op < 50:
				if s.m.CanPublish() {
					p.step(s, Publish{Msg: AppMessage{Payload: program[:i]}})
				}
			case op < 80:
				p.step(s, Tick{})
			default:
				p.run(time.Duration(op) * 10 * time.Millisecond)
			}
		}
		p.run(time.Minute)
	})
}
