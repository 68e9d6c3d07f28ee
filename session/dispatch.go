package session

import (
	"errors"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

const (
	discoveryRequest = pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REQUEST
	discoveryReply   = pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REPLY
	joinRequest      = pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REQUEST
	leaveRequest     = pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST
	groupClose       = pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_CLOSE
)

// incoming is a Publish that arrived, not yet verified.
type incoming struct {
	publish  *pb.Publish
	metadata map[string]string
	source   name.Name
}

func (in *incoming) typ() control.Type { return in.publish.GetSession().GetSessionMessageType() }
func (in *incoming) id() ID            { return ID(in.publish.GetSession().GetSessionId()) }
func (in *incoming) multicast() bool {
	return in.publish.GetSession().GetSessionType() == pb.SessionType_SESSION_TYPE_MULTICAST
}
func (in *incoming) typeName() string   { return in.typ().String() }
func (in *incoming) sourcePath() string { return in.source.Path() }
func (in *incoming) destination() name.Key {
	d, _ := wire.ToName(in.publish.GetHeader().GetDestination())
	return d.Key()
}

// onFrame sorts what arrives on the link. It runs on the link's reader: it may
// wait for a session's inbox, which always drains, and for nothing else.
func (a *App) onFrame(f *wire.Frame) {
	switch f.Kind() {
	case wire.KindSubscriptionAck:
		a.onAck(f)
	case wire.KindPublish:
		if f.Header().TTL <= 1 {
			a.dropped.Add(1)
			return
		}
		m, err := f.Message()
		if err != nil {
			a.dropped.Add(1)
			return
		}
		source, ok := wire.ToName(m.GetPublish().GetHeader().GetSource())
		if !ok {
			a.dropped.Add(1)
			return
		}
		a.route(&incoming{publish: m.GetPublish(), metadata: m.GetMetadata(), source: source})
	}
}

// route finds the session of a message.
func (a *App) route(in *incoming) {
	a.mu.Lock()
	c := a.conversationOf(in)
	buried := c == nil && a.tombs.has(in.id(), in.source.Key())
	to := in.destination()
	_, ours := a.subs[to.Prefix]
	a.mu.Unlock()
	if c != nil && !c.kind.hears(to) {
		a.dropped.Add(1)
		return
	}
	if c != nil {
		c.receive(in)
		return
	}
	switch t := in.typ(); {
	case ours && (t == discoveryRequest || t == joinRequest), buried && (t == leaveRequest || t == groupClose):
		select {
		case a.invites <- in:
		default:
			a.dropped.Add(1) // the sender asks again
		}
	default:
		a.dropped.Add(1)
	}
}

// conversationOf is called with mu held. 1:1 sessions are found by id and
// sender, since ids are only unique per moderator. Of two groups with one id
// the first counts: which members it has, and who may say what, is for its
// core.
func (a *App) conversationOf(in *incoming) *conversation {
	if in.multicast() {
		if g := a.groups[in.id()]; g != nil && (in.typ() != joinRequest || g.from(in.source)) {
			return &g.conversation
		}
		return nil
	}
	s := a.sessions[sessionKey{in.id(), in.source.Key()}]
	if s == nil && in.typ() == discoveryReply {
		s = a.opening[in.id()]
	}
	if s == nil {
		return nil
	}
	return &s.conversation
}

// acceptLoop verifies invitations, one after the other: signatures cost time
// that must not be taken from the link's reader.
func (a *App) acceptLoop() {
	for {
		select {
		case <-a.ctx.Done():
			return
		case in := <-a.invites:
			msg, err := a.codec.authenticate(in.publish, in.metadata, time.Now())
			if err != nil {
				a.drop(in, err)
				continue
			}
			switch {
			case in.typ() == discoveryRequest:
				a.onDiscovery(in, msg)
			case in.typ() == joinRequest && in.multicast():
				a.onGroupJoin(in, msg)
			case in.typ() == joinRequest:
				a.onJoin(in, msg)
			default:
				a.repeatFarewell(in, msg)
			}
		}
	}
}

// called returns the subscribed name that a message is addressed to, with our
// id.
func (a *App) called(in *incoming) (name.Name, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := in.destination()
	n, ok := a.subs[d.Prefix]
	return n, ok && (d.ID == name.Any || d.ID == n.ID) && !a.closed
}

// listeners are those of 1:1 sessions and of groups; nil if there is none.
func (a *App) listeners() (*Listener, *GroupListener) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.listener, a.invited
}

// findable reports whether an invitation of the message's kind has a chance.
func (a *App) findable(in *incoming) bool {
	l, g := a.listeners()
	if in.multicast() {
		return g != nil && !g.full()
	}
	return l != nil && !l.full()
}

// onDiscovery answers: here is an instance of that name.
func (a *App) onDiscovery(in *incoming, msg control.Inbound) {
	n, ok := a.called(in)
	if !ok || !a.findable(in) {
		return
	}
	a.emit(in, n, control.Outbound{
		Type: discoveryReply, ID: msg.ID, To: in.source,
		Command: &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_DiscoveryReply{
			DiscoveryReply: &pb.DiscoveryReplyPayload{}}},
	})
}

// emit sends a message outside any session. It waits for the outbox, which
// back-pressures invitations only.
func (a *App) emit(in *incoming, source name.Name, o control.Outbound) {
	f, err := a.codec.encode(o, envelope{source: source, session: uint32(in.id()), multicast: in.multicast()}, time.Now())
	if err != nil {
		a.log.Error().Err(err).Msg("cannot build a reply")
		return
	}
	select {
	case a.out <- f:
	case <-a.ctx.Done():
	}
}

// Refusals of a join, each logged on our side; the peer's side runs into its
// timeout, as the protocol has no message to refuse with.
var (
	errNoMLS       = errors.New("the peer wants a session without MLS")
	errTooMany     = errors.New("too many sessions are open")
	errTooMuchMeta = errors.New("join with too much metadata")
)

func (a *App) onJoin(in *incoming, msg control.Inbound) {
	n, ok := a.called(in)
	l, _ := a.listeners()
	if !ok || l == nil {
		return
	}
	join := msg.Command.GetJoinRequest()
	if join.GetChannel() != nil || join.GetControl() != nil {
		a.drop(in, errSessionTypeMixed)
		return
	}
	mls := join.GetMlsSettings() != nil
	meta := publicMetadata(msg.Metadata)
	switch {
	case !mls && l.opts.Security == RequireMLS:
		a.drop(in, errNoMLS)
	case checkMetadata(meta) != nil:
		a.drop(in, errTooMuchMeta)
	case l.full():
		a.drop(in, errTooMany)
	default:
		inv := Invitation{Peer: in.source, Subject: msg.Subject, To: n, MLS: mls, Metadata: meta}
		if l.opts.Accept != nil {
			if err := l.opts.Accept(inv); err != nil {
				a.drop(in, err)
				return
			}
		}
		a.newResponder(in, msg, inv, l)
	}
}

var errSessionTypeMixed = errors.New("group join in a 1:1 session")

// repeatFarewell answers a farewell once more whose answer got lost.
func (a *App) repeatFarewell(in *incoming, msg control.Inbound) {
	a.mu.Lock()
	t, ok := a.tombs.get(in.id(), in.source.Key())
	a.mu.Unlock()
	if !ok || t.subject != msg.Subject {
		return
	}
	reply := control.FarewellAnswer(in.typ(), in.source)
	reply.ID = msg.ID
	a.emit(in, t.local, reply)
}

// hint says what to do about a refusal.
func hint(err error) string {
	switch {
	case errors.Is(err, errNoMLS):
		return "let the peer use MLS, or allow plain sessions here"
	case errors.Is(err, identity.ErrForged):
		return "give both sides the same secret"
	case errors.Is(err, identity.ErrExpired), errors.Is(err, identity.ErrNotYetValid):
		return "set the clocks of both machines"
	case errors.Is(err, identity.ErrName):
		return "set Config.Names if the peer may use this name"
	case errors.Is(err, identity.ErrUntrusted), errors.Is(err, identity.ErrNoKeys):
		return "give the verifier the keys of the peer's issuer"
	case errors.Is(err, identity.ErrAudience), errors.Is(err, identity.ErrIssuer), errors.Is(err, identity.ErrSubject), errors.Is(err, identity.ErrNoPublicKey):
		return "let the peer's tokens say what the verifier wants"
	case errors.Is(err, errUninvited):
		return "add the moderator to GroupListenOptions if it may invite"
	case errors.Is(err, errTooMany):
		return "close sessions or raise the limit"
	case errors.Is(err, errNoPayloadSig):
		return "the peer is older than SLIM 3.4"
	}
	return "the peer or a node on the way is faulty or hostile"
}
