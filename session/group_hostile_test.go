package session_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// As the hostile tests of 1:1 sessions: what a node does to a group, and members
// that are none any more.

const (
	leaveType  = pb.SessionMessageType_SESSION_MESSAGE_TYPE_LEAVE_REQUEST
	updateType = pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_UPDATE
	closeType  = pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_CLOSE
)

func TestGroupHostileNodeAltersMessages(t *testing.T) {
	var first []byte
	for what, change := range map[string]func(m *pb.Message){
		"bit flipped in the ciphertext": func(m *pb.Message) {
			b := m.GetPublish().GetMsg().GetAppPayload().GetBlob()
			b[len(b)-1] ^= 1
		},
		"content of another message": func(m *pb.Message) {
			a := m.GetPublish().GetMsg().GetAppPayload()
			if first == nil {
				first = slices.Clone(a.Blob)
				return
			}
			a.Blob = slices.Clone(first)
		},
		"made a letter": func(m *pb.Message) { m.GetPublish().GetSession().MessageId |= 1 << 31 },
		"of a 1:1 session": func(m *pb.Message) {
			m.GetPublish().GetSession().SessionType = pb.SessionType_SESSION_TYPE_POINT_TO_POINT
		},
		"sent to somebody else": func(m *pb.Message) {
			m.GetPublish().GetHeader().GetDestination().GetName().GetNameId().Id_0++
		},
		"of another member": func(m *pb.Message) { m.GetPublish().GetHeader().GetSource().GetName().GetNameId().Id_0++ },
		"a token of nobody": func(m *pb.Message) { m.GetPublish().GetHeader().Identity = "garbage" },
	} {
		t.Run(what, func(t *testing.T) {
			first = nil
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				h := newHall(t, nw, 2, session.GroupOptions{})
				h.talk()
				m := &mallet{n: 3, change: change}
				nw.Tap(m.tap)
				h.talk()
				h.talk()
				nw.Tap(nil)
				if m.hit != 3 {
					t.Errorf("%d messages were altered, want 3", m.hit)
				}
			})
		})
	}
}

// Each alteration hits twice while a member enters and another is removed.
func TestGroupHostileNodeAltersControl(t *testing.T) {
	update := func(m *pb.Message) *pb.GroupUpdatePayload {
		return m.GetPublish().GetMsg().GetCommandPayload().GetGroupUpdate()
	}
	unsigned := func(m *pb.Message) { delete(m.Metadata, wire.MetaPayloadSig) }
	for what, change := range map[string]func(m *pb.Message) bool{
		"commit of another epoch": func(m *pb.Message) bool {
			u := update(m)
			if u != nil {
				u.Mls.CommitId++
			}
			return u != nil
		},
		"commit altered, signature taken off": func(m *pb.Message) bool {
			u := update(m)
			if u != nil {
				u.Mls.MlsContent[len(u.Mls.MlsContent)-1] ^= 1
				unsigned(m)
			}
			return u != nil
		},
		"roster emptied": func(m *pb.Message) bool {
			u := update(m)
			if u != nil {
				u.Participants = nil
			}
			return u != nil
		},
		"removal of everybody": func(m *pb.Message) bool {
			u := update(m)
			if u != nil {
				u.Op = pb.GroupUpdateOp_REMOVE
				u.Participant.Name = m.GetPublish().GetHeader().GetDestination()
			}
			return u != nil
		},
		"farewell in the place of a change": func(m *pb.Message) bool {
			if update(m) == nil {
				return false
			}
			m.GetPublish().GetSession().SessionMessageType = closeType
			return true
		},
		"welcome to another channel": func(m *pb.Message) bool {
			j := m.GetPublish().GetMsg().GetCommandPayload().GetJoinRequest()
			if j != nil {
				j.Channel.Name.NameId.Id_0++
				unsigned(m)
			}
			return j != nil
		},
		"acknowledgements of somebody else": func(m *pb.Message) bool {
			p := m.GetPublish()
			if p.GetMsg().GetCommandPayload().GetGroupAck() == nil {
				return false
			}
			p.GetHeader().GetSource().GetName().GetNameId().Id_0++
			return true
		},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				h := newHall(t, nw, 2, session.GroupOptions{})
				hits := 0
				nw.Tap(testnet.Rewrite(func(m *pb.Message) bool {
					if hits == 2 || !change(m) {
						return false
					}
					hits++
					return true
				}))
				h.invite("org/ns/third", session.RequireMLS)
				if err := h.groups[0].Remove(t.Context(), h.groups[1].Local(), session.RemoveOptions{}); err != nil {
					t.Fatal(err)
				}
				h.out(h.groups[1])
				nw.Tap(nil)
				if hits != 2 {
					t.Errorf("%d messages were altered, want 2", hits)
				}
				time.Sleep(30 * time.Second)
				h.agree()
				h.talk()
			})
		})
	}
}

// Everything that is said comes twice, and all of it again later: the changes
// of the group, the acknowledgements, the heartbeats.
func TestGroupReplay(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		old := map[name.Key][]*wire.Frame{}
		again := false
		nw.Tap(func(f *wire.Frame) []*wire.Frame {
			to := f.Header().Destination.Key()
			if again {
				return append(slices.Clone(old[to]), f)
			}
			old[to] = append(old[to], f)
			return []*wire.Frame{f, f}
		})
		h := newHall(t, nw, 3, session.GroupOptions{})
		h.talk()
		if err := h.groups[0].Remove(t.Context(), h.groups[2].Local(), session.RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
		h.out(h.groups[2])
		h.talk()
		again = true
		h.talk()
		nw.Tap(nil)
		time.Sleep(time.Minute)
		h.agree()
		h.talk()
	})
}

// A member that is removed and kept from hearing of it goes on talking into the
// channel: nobody reads it, and it reads nobody.
func TestGroupRemovedMemberGoesOn(t *testing.T) {
	for what, o := range map[string]session.GroupOptions{"mls": {}, "plain": {Security: session.AllowPlain}} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				h := newHall(t, nw, 3, o)
				h.talk()
				removed := h.groups[2]
				nw.Tap(func(f *wire.Frame) []*wire.Frame {
					broadcast := testnet.Type(f) == updateType && f.Header().Destination.ID != removed.Local().ID &&
						!slices.ContainsFunc(h.groups, func(g *session.Group) bool { return g.Local().ID == f.Header().Destination.ID })
					if broadcast || testnet.Type(f) == leaveType {
						return nil
					}
					return testnet.Pass(f)
				})
				if err := h.groups[0].Remove(t.Context(), removed.Local(), session.RemoveOptions{}); err != nil {
					t.Fatal(err)
				}
				h.out(removed)
				for range 5 {
					if _, err := removed.Publish(t.Context(), session.Message{Payload: []byte("I am still here")}); err != nil {
						t.Fatal(err)
					}
					if _, err := removed.PublishTo(t.Context(), h.groups[1].Local(), session.Message{Payload: []byte("are you?")}); err != nil {
						t.Fatal(err)
					}
					h.talk()
				}
				h.agree()
				time.Sleep(time.Minute)
				if o.Security == session.AllowPlain {
					return // plain messages are for everybody who hears them
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if m, err := removed.Receive(ctx); err == nil || m.Payload != nil {
					t.Errorf("the removed member reads %q of %s", m.Payload, m.Source.Path())
				}
			})
		})
	}
}

// A node shows a member what another one was told alone.
func TestGroupNodeShowsWhatOthersAreTold(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 3, session.GroupOptions{})
		h.talk()
		one, two := h.groups[1], h.groups[2]
		var shown []*wire.Frame
		nw.Tap(func(f *wire.Frame) []*wire.Frame {
			switch to := f.Header().Destination.ID; {
			case to == two.Local().ID && (testnet.Type(f) == leaveType || testnet.Type(f) == msgType):
				shown = append(shown, f)
			case to == one.Local().ID:
				return append(slices.Clone(shown), f)
			}
			return testnet.Pass(f)
		})
		r, err := h.groups[0].PublishTo(t.Context(), two.Local(), session.Message{Payload: []byte("for two")})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m, err := two.Receive(t.Context()); err != nil || string(m.Payload) != "for two" || !m.Direct {
			t.Fatal(m, err)
		}
		if err := h.groups[0].Remove(t.Context(), two.Local(), session.RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
		h.out(two)
		h.talk()
		h.talk()
		nw.Tap(nil)
		if len(shown) != 2 {
			t.Errorf("%d messages were shown, want 2", len(shown))
		}
		if one.Err() != nil {
			t.Errorf("the wrong member is out: %v", one.Err())
		}
	})
}
