package simulate

import (
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Bug is one way to make the machines wrong on purpose. It is done from outside
// them, so that nothing of it can be switched on in an application.
type Bug int

// The bugs. Some show only with the stand-in for MLS.
const (
	NoBug Bug = iota
	// AckLost: of some messages no copy is ever acknowledged.
	AckLost
	// WindowEdge: the lower edge of the receive window is off by one, so the
	// oldest missing message counts as received.
	WindowEdge
	// CommitTwice: some commits are applied twice.
	CommitTwice
	// DuplicateDelivered: a repeated message is delivered again.
	DuplicateDelivered
	// RemovedHeard: what a removed member says is still delivered.
	RemovedHeard
	// AckedEarly: a change of the group is acknowledged when it arrives, even
	// if it cannot be applied yet.
	AckedEarly
	// StaleEpoch: messages of epochs that are over, or were before our time,
	// still decrypt.
	StaleEpoch
	// RTXIgnored: requests for retransmission are not answered.
	RTXIgnored
	// HalfOpen: who is invited waits for ever to be let in.
	HalfOpen
	// AckTwice: an acknowledgement that comes twice counts for two members.
	AckTwice
	// RefusedAcked: a message for which there is no room is acknowledged.
	RefusedAcked
	// OldTokens: who checks the age of tokens is not known to.
	OldTokens
	// KeysAgain: a restored session does not skip the keys that it may have used.
	KeysAgain
	// SavedLate: messages leave before what they tell of is stored.
	SavedLate
)

// Bugs are all of them.
var Bugs = []Bug{AckLost, WindowEdge, CommitTwice, DuplicateDelivered, RemovedHeard, AckedEarly, StaleEpoch, RTXIgnored,
	HalfOpen, AckTwice, RefusedAcked, OldTokens, KeysAgain, SavedLate}

func (b Bug) String() string {
	return [...]string{"no bug", "ack lost", "window edge", "commit twice", "duplicate delivered", "removed heard",
		"acked early", "stale epoch", "RTX ignored", "half open", "ack twice", "refused acked", "old tokens", "keys again", "saved late"}[b]
}

// bend wraps the machine of s if there is a bug to show.
func (w *world) bend(s *session) control.Core {
	if w.cfg.Bug == NoBug {
		return s.core
	}
	return &bentCore{
		Core: s.core, s: s, bug: w.cfg.Bug, streams: map[name.Key]*bentStream{},
		read: map[bentID]control.Delivery{}, gone: map[name.Key]bool{}, acks: map[bentID]bool{},
	}
}

// bentCore bends what goes into a machine and what comes out.
type bentCore struct {
	control.Core
	s       *session
	bug     Bug
	streams map[name.Key]*bentStream
	read    map[bentID]control.Delivery
	gone    map[name.Key]bool // members that are no more
	acks    map[bentID]bool   // acknowledgements that came
}

type bentID struct {
	from name.Key
	id   control.MessageID
}

// bentStream is a receive window with a wrong edge.
type bentStream struct {
	floor, newest control.MessageID
	got           map[control.MessageID]bool
	swallowed     map[control.MessageID]bool
}

// inSequence reports whether id belongs to a stream, not to a letter.
func inSequence(id control.MessageID) bool { return id < 1<<31 }

func (c *bentCore) Step(now time.Time, ev control.Event) control.Output {
	r, received := ev.(control.Received)
	in := &r.Msg
	_, tick := ev.(control.Tick)
	switch {
	case tick && c.bug == HalfOpen && !c.s.opened && !c.s.leads():
		return control.Output{}
	case received && c.bug == AckTwice && in.Type == typeMessageAck:
		c.countAgain(in)
		ev = control.Received{Msg: *in}
	case received && c.bug == RTXIgnored && in.Type == typeRTXRequest:
		return control.Output{}
	case received && c.bug == WindowEdge && c.swallows(in):
		return control.Output{Send: []control.Outbound{{Type: typeMessageAck, ID: in.ID, To: in.From}}}
	}
	out := c.Core.Step(now, ev)
	switch c.bug {
	case AckLost:
		out.Send = slices.DeleteFunc(out.Send, func(o control.Outbound) bool {
			return o.Type == typeMessageAck && o.ID%16 == 5
		})
	case DuplicateDelivered:
		if received && in.Type == typeMessage {
			c.again(in, &out)
		}
	case RemovedHeard:
		for _, m := range out.Members {
			if m.What == control.Left || m.What == control.Expelled {
				c.gone[m.Name.Key()] = true
			}
		}
		if received && in.Type == typeMessage && c.gone[in.From.Key()] {
			c.hear(in, &out)
		}
	case RefusedAcked:
		if out.Dropped == "message beyond the receive window" {
			out.Send = append(out.Send, control.Outbound{Type: typeMessageAck, ID: in.ID, To: in.From})
		}
	case AckedEarly:
		if received && in.Type == typeGroupUpdate && out.Ended == nil && in.From.Key() == c.s.cfg.Peer.Key() {
			ackEarly(in, &out)
		}
	}
	return out
}

// NextTimeout leaves out the end of a half-open join.
func (c *bentCore) NextTimeout() time.Time {
	if c.bug == HalfOpen && !c.s.opened && !c.s.leads() {
		return time.Time{}
	}
	return c.Core.NextTimeout()
}

// countAgain turns an acknowledgement that came before into that of another
// member. (Inside it would be a counter that goes down twice.)
func (c *bentCore) countAgain(in *control.Inbound) {
	if !c.acks[bentID{in.From.Key(), in.ID}] {
		c.acks[bentID{in.From.Key(), in.ID}] = true
		return
	}
	for _, e := range c.Roster() {
		o := c.s.talk.current(e.Name)
		if !e.Self && o != nil && !c.acks[bentID{e.Name.Key(), in.ID}] {
			in.From, in.Subject, in.Key = e.Name, o.app.subject, o.app.identity.public
			return
		}
	}
}

// swallows keeps the window with the wrong edge.
func (c *bentCore) swallows(in *control.Inbound) bool {
	if in.Type != typeMessage && in.Type != typeRTXReply || !inSequence(in.ID) {
		return false
	}
	w := c.streams[in.From.Key()]
	if w == nil {
		w = &bentStream{got: map[control.MessageID]bool{}, swallowed: map[control.MessageID]bool{}}
		if c.s.talk.group {
			w.floor = in.ID - 1
		}
		c.streams[in.From.Key()] = w
	}
	if w.swallowed[in.ID] {
		return true
	}
	if in.ID == w.floor+1 && w.newest > in.ID && !w.got[in.ID] {
		w.swallowed[in.ID] = true
	}
	w.got[in.ID] = true
	w.newest = max(w.newest, in.ID)
	for w.got[w.floor+1] {
		w.floor++
	}
	return w.swallowed[in.ID]
}

// again delivers a repeated message again.
func (c *bentCore) again(in *control.Inbound, out *control.Output) {
	id := bentID{in.From.Key(), in.ID}
	if d, ok := c.read[id]; ok && len(out.Deliver) == 0 && out.Dropped == "" {
		out.Deliver = append(out.Deliver, d)
	} else if len(out.Deliver) == 1 && out.Deliver[0].Missing == 0 {
		c.read[id] = out.Deliver[0]
	}
}

// hear delivers a message of one that is no member.
func (c *bentCore) hear(in *control.Inbound, out *control.Output) {
	if listed(c.Roster(), in.From) {
		delete(c.gone, in.From.Key())
		return
	}
	payload, subject := in.App.GetBlob(), ""
	if m, ok := take[standInMessage](&c.s.w.vault, payload); ok {
		payload, subject = m.text, m.sender.subject
	}
	out.Deliver = append(out.Deliver, control.Delivery{
		From: in.From, Subject: subject, Direct: !inSequence(in.ID), Msg: control.AppMessage{Payload: payload},
	})
}

func ackEarly(in *control.Inbound, out *control.Output) {
	for _, o := range out.Send {
		if o.Type == typeGroupAck && o.ID == in.ID {
			return
		}
	}
	out.Send = append(out.Send, control.Outbound{
		Type: typeGroupAck, ID: in.ID, To: in.From,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_GroupAck{GroupAck: &pb.GroupAckPayload{}}},
	})
}
