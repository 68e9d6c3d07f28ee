package simulate

import (
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// node is the one node between all apps: who is subscribed to what, and what
// happens to messages on their way.
type node struct {
	down bool
	subs map[name.Key][]*app
	last map[[2]int]time.Time // latest arrival between two apps
}

func (n *node) subscribe(a *app, k name.Key) {
	if !slices.Contains(n.subs[k], a) {
		n.subs[k] = append(n.subs[k], a)
	}
}

func (n *node) unsubscribe(a *app, k name.Key) {
	n.subs[k] = slices.DeleteFunc(n.subs[k], func(o *app) bool { return o == a })
	if len(n.subs[k]) == 0 {
		delete(n.subs, k)
	}
}

// disconnect forgets an app whose link broke.
func (n *node) disconnect(a *app) {
	for k := range n.subs {
		n.unsubscribe(a, k)
	}
}

// packet is a message with its envelope.
type packet struct {
	talk *conversation
	to   name.Name
	wide bool // for all subscribers
	in   control.Inbound
}

// receivers are the apps that the node hands p to: all subscribers of a
// channel, the one with an id, or any one instance of a service.
func (w *world) receivers(from *app, p *packet) []*app {
	var to []*app
	for _, a := range w.net.subs[p.to.Key()] {
		if a != from {
			to = append(to, a)
		}
	}
	if !p.wide && len(to) > 1 {
		to = to[w.r.IntN(len(to)):][:1]
	}
	return to
}

// send gives a message of from to the node.
func (w *world) send(from *app, p *packet) {
	w.mix(uint64(p.in.Type), uint64(p.in.ID), uint64(from.index))
	to := w.receivers(from, p)
	var lost []*app
	for _, a := range to {
		fates := w.fate(from, a, p)
		if len(fates) == 0 {
			lost = append(lost, a)
		}
		for _, d := range fates {
			w.fly(from, a, p, d)
		}
	}
	if w.cfg.Trace {
		w.traceSend(from, p, to, lost)
	}
}

// fly delivers p after d, if the link of its receiver is still the same then.
func (w *world) fly(from, to *app, p *packet, d time.Duration) {
	if (w.inOrder || w.healed) && d < strayFrom {
		pair := [2]int{from.index, to.index}
		at := w.now.Add(d)
		if at.Before(w.net.last[pair]) {
			at = w.net.last[pair]
		}
		w.net.last[pair], d = at, at.Sub(w.now)
	}
	link := to.link
	w.later(d, func() {
		if to.up && to.link == link {
			to.arrive(p)
		}
	})
}

// strayFrom is the least delay of stray messages; they do not hold up others.
const strayFrom = 4 * time.Second

// fate says how many copies of p reach to, and after which times.
func (w *world) fate(from, to *app, p *packet) []time.Duration {
	if from.unheard || to.deaf || w.net.down {
		return nil
	}
	jitter := func() time.Duration { return time.Millisecond + w.upTo(15*time.Millisecond) }
	if w.healed {
		return []time.Duration{jitter()}
	}
	if w.chance(w.lossy) && p.in.Type != typeHeartbeat { // three lost in a row are trouble enough to look like an absence
		return nil
	}
	fates := []time.Duration{jitter()}
	if w.chance(w.double) {
		fates = append(fates, jitter()+w.upTo(30*time.Millisecond))
	}
	if w.chance(w.slow) {
		fates[0] += w.upTo(w.lag)
	}
	if w.chance(w.stray) && !control.IsCommand(p.in.Type) {
		fates = append(fates, strayFrom+w.upTo(36*time.Second))
	}
	return fates
}

// outage restarts the node: all links break, all subscriptions are forgotten.
func (w *world) outage(d time.Duration) {
	if w.net.down {
		return
	}
	w.logf("the node stops for %v", d)
	w.net.down = true
	for _, a := range w.apps {
		a.cut()
	}
	w.later(d, func() {
		w.logf("the node is back")
		w.net.down = false
		for _, a := range w.apps {
			w.later(w.upTo(2*time.Second), a.connect)
		}
	})
}

const (
	typeMessage          = pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG
	typeMessageAck       = pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG_ACK
	typeRTXRequest       = pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REQUEST
	typeRTXReply         = pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REPLY
	typeDiscoveryRequest = pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REQUEST
	typeDiscoveryReply   = pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REPLY
	typeJoinRequest      = pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REQUEST
	typeLeaveRequest     = pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST
	typeGroupClose       = pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_CLOSE
	typeGroupUpdate      = pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_UPDATE
	typeGroupAck         = pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_ACK
	typeGroupNack        = pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_NACK
	typeJoinReply        = pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REPLY
	typeLeaveReply       = pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REPLY
	typeRejoinReply      = pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REPLY
	typeHeartbeat        = pb.SessionMessageType_SESSION_MESSAGE_TYPE_HEARTBEAT
)
