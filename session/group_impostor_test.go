package session_test

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/link"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

const (
	discoveryType   = pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REQUEST
	discoveredType  = pb.SessionMessageType_SESSION_MESSAGE_TYPE_DISCOVERY_REPLY
	joinReplyType   = pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REPLY
	heartbeatType   = pb.SessionMessageType_SESSION_MESSAGE_TYPE_HEARTBEAT
	rejoinType      = pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REQUEST
	rejoinReplyType = pb.SessionMessageType_SESSION_MESSAGE_TYPE_REJOIN_REPLY
	stateType       = pb.SessionMessageType_SESSION_MESSAGE_TYPE_UPDATE_PARTICIPANT_STATE
)

// rogue has a good identity and a link of its own, and says what it likes.
type rogue struct {
	t    *testing.T
	id   *identity.SharedSecret
	name name.Name
	conn *link.Conn
	next uint32

	mu    sync.Mutex
	heard []pb.SessionMessageType
}

func newRogue(t *testing.T, nw *testnet.Network, path string, id *identity.SharedSecret) *rogue {
	t.Helper()
	conn, err := link.Dial(t.Context(), testnet.Endpoint, link.DialConfig{NetDial: nw.Dial, LinkID: "rogue " + path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &rogue{t: t, id: id, name: name.MustParse(path).WithID(name.IDOf(id.Subject())), conn: conn, next: 1}
}

// say sends a signed control message of a group.
func (r *rogue) say(group session.ID, to name.Name, typ pb.SessionMessageType, c *pb.CommandPayload) {
	r.t.Helper()
	token, err := r.id.Token(time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	p := &pb.Publish{
		Header: &pb.SLIMHeader{
			Source: wire.FromName(r.name), Destination: wire.FromName(to), Identity: token, Fanout: wire.FanoutAll, Version: "1.0.0", Ttl: wire.DefaultTTL,
		},
		Session: &pb.SessionHeader{
			SessionType: pb.SessionType_SESSION_TYPE_MULTICAST, SessionMessageType: typ, SessionId: uint32(group), MessageId: r.next,
		},
		Msg: &pb.Content{ContentType: &pb.Content_CommandPayload{CommandPayload: c}},
	}
	r.next++
	aad := wire.HeaderAAD(p)
	header, err := r.id.Signer().Sign(aad)
	if err != nil {
		r.t.Fatal(err)
	}
	p.Header.E2EHeaderSig = header
	payload, err := r.id.Signer().Sign(wire.PayloadSigInput(aad, p, nil))
	if err != nil {
		r.t.Fatal(err)
	}
	f, err := wire.Encode(&pb.Message{
		MessageType: &pb.Message_Publish{Publish: p},
		Metadata:    map[string]string{wire.MetaPayloadSig: base64.StdEncoding.EncodeToString(payload)},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.conn.Send(r.t.Context(), f); err != nil {
		r.t.Fatal(err)
	}
}

// orders are all the control messages that only a moderator may send, and those
// that a member may only send about itself.
func orders(about, moderator name.Name) map[pb.SessionMessageType]*pb.CommandPayload {
	who := &pb.Participant{Name: wire.FromName(about)}
	roster := []*pb.Participant{{Name: wire.FromName(moderator)}}
	mls := &pb.MlsPayload{CommitId: 3, MlsContent: []byte{0, 1, 0, 1}}
	return map[pb.SessionMessageType]*pb.CommandPayload{
		joinType: join(name.Name{}, name.Name{}),
		welcomeType: {CommandPayloadType: &pb.CommandPayload_GroupWelcome{
			GroupWelcome: &pb.GroupWelcomePayload{Participants: roster, Mls: mls}}},
		updateType: {CommandPayloadType: &pb.CommandPayload_GroupUpdate{
			GroupUpdate: &pb.GroupUpdatePayload{Op: pb.GroupUpdateOp_REMOVE, Participant: who, Participants: roster, Mls: mls}}},
		leaveType:       {CommandPayloadType: &pb.CommandPayload_LeaveRequest{LeaveRequest: &pb.LeaveRequestPayload{}}},
		closeType:       {CommandPayloadType: &pb.CommandPayload_GroupClose{GroupClose: &pb.GroupClosePayload{}}},
		rejoinReplyType: {CommandPayloadType: &pb.CommandPayload_RejoinReply{RejoinReply: &pb.RejoinReplyPayload{CommitId: 9}}},
		stateType: {CommandPayloadType: &pb.CommandPayload_UpdateParticipantState{
			UpdateParticipantState: &pb.UpdateParticipantStatePayload{Participant: who.Name, NewState: pb.ParticipantState_OFFLINE}}},
		rejoinType: {CommandPayloadType: &pb.CommandPayload_RejoinRequest{
			RejoinRequest: &pb.RejoinRequestPayload{Participant: who.Name, KeyPackage: []byte{0, 1, 0, 5}}}},
		heartbeatType: {CommandPayloadType: &pb.CommandPayload_Heartbeat{Heartbeat: &pb.HeartbeatPayload{Epoch: 99}}},
	}
}

func join(channel, control name.Name) *pb.CommandPayload {
	j := &pb.JoinRequestPayload{TimerSettings: &pb.TimerSettings{Timeout: 1000, MaxRetries: 3}, MlsSettings: &pb.MlsSettings{}}
	if !channel.IsZero() {
		j.Channel, j.Control = wire.FromName(channel), wire.FromName(control)
	}
	return &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_JoinRequest{JoinRequest: j}}
}

// Strangers, members and those who call themselves the moderator give orders.
func TestGroupImpostors(t *testing.T) {
	for what, tc := range map[string]struct {
		path string
		mine bool // it is a member
	}{
		"stranger":                  {path: "org/ns/mallory"},
		"somebody with our name":    {path: "org/ns/member0"},
		"somebody like a moderator": {path: "org/ns/moderator"},
		"member":                    {path: "org/ns/traitor", mine: true},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				h := newHall(t, nw, 2, session.GroupOptions{})
				id := testnet.Identity(t, testnet.Secret, tc.path)
				if tc.mine {
					h.inviteAs("org/ns/traitor", id)
				}
				r := newRogue(t, nw, tc.path, id)
				moderator, victim := h.groups[0].Local(), h.groups[1].Local()
				for _, to := range []name.Name{victim, moderator, h.groups[0].Channel()} {
					said := orders(victim, moderator)
					for _, typ := range slices.Sorted(maps.Keys(said)) {
						if typ == leaveType && tc.mine && to != victim {
							continue // it may leave
						}
						r.say(h.groups[0].ID(), to, typ, proto.CloneOf(said[typ]))
					}
				}
				synctest.Wait()
				h.agree()
				h.talk()
				time.Sleep(time.Minute)
				h.agree()
				h.talk()
			})
		})
	}
}

// inviteAs adds an app with a given identity.
func (h *hall) inviteAs(path string, id *identity.SharedSecret) {
	h.t.Helper()
	app := h.nw.App(path, func(c *session.Config) { c.Identity, c.Verifier = id, id })
	l, err := app.ListenGroups(session.GroupListenOptions{AnyModerator: true})
	if err != nil {
		h.t.Fatal(err)
	}
	h.apps = append(h.apps, app)
	h.enter(app, l)
}

// Somebody invites members to a group with the id of theirs: it is not answered,
// neither as discovery nor as a join, and the group goes on.
func TestGroupInvitationToTakenID(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 1, session.GroupOptions{})
		app := nw.App("org/ns/open", nil)
		l, err := app.ListenGroups(session.GroupListenOptions{AnyModerator: true})
		if err != nil {
			t.Fatal(err)
		}
		h.apps = append(h.apps, app)
		g := h.enter(app, l)
		r := newRogue(t, nw, "org/ns/mallory", testnet.Identity(t, testnet.Secret, "org/ns/mallory"))
		r.watch(nw)
		r.discover(g.ID(), app.Name().Service())
		r.invite(g.ID(), app.Name(), chatChannel)
		time.Sleep(time.Second)
		if got := r.answers(); len(got) > 0 {
			t.Errorf("answers to an invitation to a taken id: %v", got)
		}
		h.talk()
		time.Sleep(time.Minute)
		h.agree()
		h.talk()
		// but another id is free
		r.discover(g.ID()^1, app.Name().Service())
		r.invite(g.ID()^1, app.Name(), chatChannel)
		time.Sleep(time.Second)
		want := []pb.SessionMessageType{discoveredType, joinReplyType}
		if got := r.answers(); !slices.Equal(got, want) {
			t.Errorf("answers to a good invitation: %v, want %v", got, want)
		}
	})
}

// watch notes what would reach r. The node knows of it by its subscription.
func (r *rogue) watch(nw *testnet.Network) {
	r.t.Helper()
	f, err := wire.Encode(&pb.Message{MessageType: &pb.Message_Subscribe{Subscribe: &pb.Subscribe{
		Header: &pb.SLIMHeader{Source: wire.FromName(r.name), Destination: wire.FromName(r.name), Fanout: wire.FanoutOne, Ttl: wire.DefaultTTL},
	}}})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.conn.Send(r.t.Context(), f); err != nil {
		r.t.Fatal(err)
	}
	nw.Tap(func(f *wire.Frame) []*wire.Frame {
		if f.Header().Destination.ID == r.name.ID {
			r.mu.Lock()
			r.heard = append(r.heard, testnet.Type(f))
			r.mu.Unlock()
		}
		return testnet.Pass(f)
	})
}

// answers are what came since the last call.
func (r *rogue) answers() []pb.SessionMessageType {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.heard
	r.heard = nil
	return got
}

func (r *rogue) discover(group session.ID, to name.Name) {
	r.say(group, to, discoveryType, &pb.CommandPayload{CommandPayloadType: &pb.CommandPayload_DiscoveryRequest{
		DiscoveryRequest: &pb.DiscoveryRequestPayload{}}})
}

// invite asks to join a channel of the rogue.
func (r *rogue) invite(group session.ID, to, channel name.Name) {
	data, control, ok := name.ChannelIDs(r.id.Subject(), channel)
	if !ok {
		r.t.Fatal("no channel ids")
	}
	r.say(group, to, joinType, join(channel.WithID(data), channel.WithID(control)))
}

// A moderator names as its channel what is not its own: above all a name of the
// invited one, which would lose it when the group ends.
func TestGroupChannelOfSomebodyElse(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		app := nw.App("org/ns/open", nil)
		if _, err := app.ListenGroups(session.GroupListenOptions{AnyModerator: true}); err != nil {
			t.Fatal(err)
		}
		r := newRogue(t, nw, "org/ns/mallory", testnet.Identity(t, testnet.Secret, "org/ns/mallory"))
		r.watch(nw)
		other, otherControl, _ := name.ChannelIDs("somebody else", chatChannel)
		data, control, _ := name.ChannelIDs(r.id.Subject(), chatChannel)
		service := app.Name().Service()
		_, own, _ := name.ChannelIDs(r.id.Subject(), service)
		for i, names := range [][2]name.Name{
			{app.Name(), service.WithID(own)},
			{chatChannel.WithID(other), chatChannel.WithID(otherControl)},
			{chatChannel.WithID(data), chatChannel.WithID(otherControl)},
			{chatChannel.WithID(control), chatChannel.WithID(data)},
			{chatChannel.WithID(data), name.MustParse("org/ns/other").WithID(control)},
		} {
			r.say(session.ID(i), app.Name(), joinType, join(names[0], names[1]))
		}
		time.Sleep(time.Second)
		if got := r.answers(); len(got) > 0 || app.Dropped() != 5 {
			t.Errorf("answers %v, %d messages were dropped, want 5", got, app.Dropped())
		}
	})
}

// Invitations that go no further take the places of one subject only, for half a
// minute at most.
func TestGroupInvitationFlood(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 0, session.GroupOptions{})
		app := nw.App("org/ns/open", nil)
		l, err := app.ListenGroups(session.GroupListenOptions{AnyModerator: true})
		if err != nil {
			t.Fatal(err)
		}
		r := newRogue(t, nw, "org/ns/mallory", testnet.Identity(t, testnet.Secret, "org/ns/mallory"))
		r.watch(nw)
		flood := func(from int) int {
			for i := range 100 {
				r.invite(session.ID(from+i), app.Name(), chatChannel)
				synctest.Wait()
			}
			return len(r.answers())
		}
		if n := flood(0); n != 16 {
			t.Errorf("%d invitations of one subject were answered, want 16", n)
		}
		h.apps = append(h.apps, app)
		h.enter(app, l) // others still can
		h.talk()
		time.Sleep(time.Minute)
		r.answers() // farewells
		if n := flood(1000); n != 16 {
			t.Errorf("%d invitations were answered after a minute, want 16", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if g, err := l.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("accepted %v, %v", g, err)
		}
	})
}
