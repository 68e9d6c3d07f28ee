package session_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Everything here is done by a node, or by somebody who holds no secret. In
// each case nothing wrong may reach the application, and the session goes on.

const (
	msgType      = pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG
	ackType      = pb.SessionMessageType_SESSION_MESSAGE_TYPE_MSG_ACK
	rtxReplyType = pb.SessionMessageType_SESSION_MESSAGE_TYPE_RTX_REPLY
	joinType     = pb.SessionMessageType_SESSION_MESSAGE_TYPE_JOIN_REQUEST
	welcomeType  = pb.SessionMessageType_SESSION_MESSAGE_TYPE_GROUP_WELCOME
)

// mallet changes the first n messages that it is given, and passes the rest.
type mallet struct {
	n      int
	change func(m *pb.Message) // in place
	hit    int
}

func (h *mallet) tap(f *wire.Frame) []*wire.Frame {
	return testnet.Rewrite(func(m *pb.Message) bool {
		if h.hit >= h.n || m.GetPublish().GetSession().GetSessionMessageType() != msgType {
			return false
		}
		before := proto.Clone(m)
		h.change(m)
		if proto.Equal(before, m) {
			return false
		}
		h.hit++
		return true
	})(f)
}

func TestHostileNodeAltersMessages(t *testing.T) {
	var lifted string
	var first []byte
	for what, change := range map[string]func(m *pb.Message){
		"bit flipped in the ciphertext": func(m *pb.Message) {
			b := m.GetPublish().GetMsg().GetAppPayload().GetBlob()
			b[len(b)-1] ^= 1
		},
		"ciphertext cut short": func(m *pb.Message) {
			a := m.GetPublish().GetMsg().GetAppPayload()
			a.Blob = a.Blob[:len(a.Blob)/2]
		},
		"ciphertext replaced by plaintext": func(m *pb.Message) {
			m.GetPublish().GetMsg().GetAppPayload().Blob = []byte("forged")
		},
		"payload type changed": func(m *pb.Message) {
			m.GetPublish().GetMsg().GetAppPayload().PayloadType = "other"
		},
		"message id changed": func(m *pb.Message) {
			m.GetPublish().GetSession().MessageId++
		},
		"content of another message": func(m *pb.Message) {
			a := m.GetPublish().GetMsg().GetAppPayload()
			if first == nil {
				first = bytes.Clone(a.Blob)
				return
			}
			a.Blob = bytes.Clone(first)
		},
		"token of another message": func(m *pb.Message) {
			h := m.GetPublish().GetHeader()
			if lifted == "" {
				lifted = h.GetIdentity()
				return
			}
			h.Identity = lifted
		},
		"token garbled": func(m *pb.Message) { m.GetPublish().GetHeader().Identity = "garbage" },
		"no token":      func(m *pb.Message) { m.GetPublish().GetHeader().Identity = "" },
		"source id of nobody": func(m *pb.Message) {
			m.GetPublish().GetHeader().GetSource().GetName().GetNameId().Id_0++
		},
		"source name of somebody else": func(m *pb.Message) {
			s := m.GetPublish().GetHeader().GetSource()
			s.Name.Component_2++
			s.StrName = nil
		},
		"source strings that do not hash to the name": func(m *pb.Message) {
			m.GetPublish().GetHeader().GetSource().GetStrName().StrComponent_2 = "mallory"
		},
		"session type changed": func(m *pb.Message) {
			m.GetPublish().GetSession().SessionType = pb.SessionType_SESSION_TYPE_MULTICAST
		},
		"no content": func(m *pb.Message) { m.GetPublish().Msg = nil },
	} {
		t.Run(what, func(t *testing.T) {
			lifted, first = "", nil
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				a, b := pairUp(t, nw, session.Options{}, session.ListenOptions{})
				h := &mallet{n: 3, change: change}
				nw.Tap(h.tap)
				var wg sync.WaitGroup
				for _, dir := range [][2]*session.Session{{a, b}, {b, a}} {
					for i := range 10 {
						send(t, dir[0], fmt.Sprint(i))
					}
					wg.Go(func() {
						for i := range 10 {
							expect(t, dir[1], fmt.Sprint(i))
						}
					})
				}
				wg.Wait()
				if h.hit != 3 {
					t.Errorf("%d messages were altered, want 3", h.hit)
				}
			})
		})
	}
}

// A node that delivers the messages of one session under the other's id.
func TestNodeSwapsSessions(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice, bob := nw.App("org/ns/alice", nil), nw.App("org/ns/bob", nil)
		l, err := bob.Listen(session.ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var a, b [2]*session.Session
		for i := range 2 {
			if a[i], err = alice.Open(t.Context(), bob.Name().Service(), session.Options{}); err != nil {
				t.Fatal(err)
			}
			if b[i], err = l.Accept(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		swapped := 0
		nw.Tap(testnet.Rewrite(func(m *pb.Message) bool {
			s := m.GetPublish().GetSession()
			if s.GetSessionMessageType() != msgType || swapped >= 4 {
				return false
			}
			swapped++
			s.SessionId = uint32(a[0].ID()) ^ uint32(a[1].ID()) ^ s.SessionId
			return true
		}))
		for i := range 2 {
			send(t, a[i], fmt.Sprint("for session ", i))
			send(t, b[i], fmt.Sprint("from session ", i))
		}
		for i := range 2 {
			expect(t, b[i], fmt.Sprint("for session ", i))
			expect(t, a[i], fmt.Sprint("from session ", i))
		}
		if swapped != 4 {
			t.Errorf("%d messages were swapped", swapped)
		}
	})
}

// Every message comes twice, and once more much later.
func TestReplay(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		a, b := pairUp(t, nw, session.Options{}, session.ListenOptions{})
		var old []*wire.Frame
		nw.Tap(func(f *wire.Frame) []*wire.Frame {
			out := append([]*wire.Frame{f, f}, old...)
			if testnet.Type(f) == msgType && len(old) < 20 {
				old = append(old, f)
			}
			if testnet.Type(f) == ackType {
				return testnet.Pass(f)
			}
			return out
		})
		for i := range 20 {
			send(t, a, fmt.Sprint(i))
			expect(t, b, fmt.Sprint(i))
		}
		nw.Tap(nil)
		send(t, a, "end")
		expect(t, b, "end") // and nothing between
	})
}

// What a signed control message says cannot be changed on the way.
func TestHostileNodeAltersControl(t *testing.T) {
	for what, change := range map[string]func(m *pb.Message) bool{
		"join without its MLS settings": func(m *pb.Message) bool {
			j := m.GetPublish().GetMsg().GetCommandPayload().GetJoinRequest()
			if j == nil {
				return false
			}
			j.MlsSettings = nil
			return true
		},
		"join with other timers": func(m *pb.Message) bool {
			j := m.GetPublish().GetMsg().GetCommandPayload().GetJoinRequest()
			if j == nil {
				return false
			}
			j.TimerSettings.MaxRetries = 99999
			return true
		},
		"join without header signature": func(m *pb.Message) bool {
			if m.GetPublish().GetSession().GetSessionMessageType() != joinType {
				return false
			}
			m.GetPublish().GetHeader().E2EHeaderSig = nil
			return true
		},
		"welcome for somebody else": func(m *pb.Message) bool {
			w := m.GetPublish().GetMsg().GetCommandPayload().GetGroupWelcome()
			if w == nil {
				return false
			}
			w.Mls.MlsContent[len(w.Mls.MlsContent)-1] ^= 1
			return true
		},
		"welcome without MLS content": func(m *pb.Message) bool {
			w := m.GetPublish().GetMsg().GetCommandPayload().GetGroupWelcome()
			if w == nil {
				return false
			}
			w.Mls = nil
			// An older peer signs no payload: the node takes the signature off too.
			delete(m.Metadata, wire.MetaPayloadSig)
			return true
		},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				hits := 0
				nw.Tap(testnet.Rewrite(func(m *pb.Message) bool {
					if hits == 2 || !change(m) {
						return false
					}
					hits++
					return true
				}))
				a, b := pairUp(t, nw, session.Options{}, session.ListenOptions{})
				if hits != 2 {
					t.Errorf("%d messages were altered, want 2", hits)
				}
				if !a.Encrypted() || !b.Encrypted() {
					t.Error("a node took the encryption away")
				}
				send(t, a, "hello")
				expect(t, b, "hello")
			})
		})
	}
}

// lateIdentity mints tokens of another time.
type lateIdentity struct {
	*identity.SharedSecret
	shift time.Duration
}

func (l lateIdentity) Token(now time.Time) (string, error) {
	return l.SharedSecret.Token(now.Add(l.shift))
}

func TestBadCredentials(t *testing.T) {
	for what, tc := range map[string]struct {
		secret string
		shift  time.Duration
		hint   string
	}{
		"wrong secret":           {strings.Repeat("x", 40), 0, "same secret"},
		"expired token":          {testnet.Secret, -2 * time.Hour, "clocks"},
		"token of the day after": {testnet.Secret, 24 * time.Hour, "clocks"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nw := testnet.New(t, testnet.Options{})
				var log lockedBuffer
				bob := nw.App("org/ns/bob", func(c *session.Config) { c.Logger = zerolog.New(&log) })
				if _, err := bob.Listen(session.ListenOptions{}); err != nil {
					t.Fatal(err)
				}
				mallory := nw.App("org/ns/mallory", func(c *session.Config) {
					id := lateIdentity{testnet.Identity(t, tc.secret, "org/ns/mallory"), tc.shift}
					c.Identity, c.Verifier = id, id
				})
				_, err := mallory.Open(t.Context(), bob.Name().Service(), session.Options{MaxRetries: 1})
				if !isCode(err, session.CodeNoPeer) || !strings.Contains(err.Error(), "same secret") {
					t.Errorf("open: %v", err)
				}
				if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, tc.hint) {
					t.Errorf("log: %q, want one line with %q", text, tc.hint)
				}
			})
		})
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestPinnedSubject(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		alice := nw.App("org/ns/alice", nil)
		id := testnet.Identity(t, testnet.Secret, "org/ns/bob")
		bob := nw.App("org/ns/bob", func(c *session.Config) { c.Identity, c.Verifier = id, id })
		l, err := bob.Listen(session.ListenOptions{Accept: func(inv session.Invitation) error {
			if !strings.HasPrefix(inv.Subject, "org/ns/alice_") || !inv.MLS {
				t.Errorf("invitation of %q, MLS %v", inv.Subject, inv.MLS)
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		o := session.Options{MaxRetries: 1, PeerSubject: "org/ns/bob_somebody"}
		if _, err := alice.Open(t.Context(), bob.Name().Service(), o); !isCode(err, session.CodeNoPeer) {
			t.Errorf("open with another subject: %v", err)
		}
		o.PeerSubject = id.Subject()
		s, err := alice.Open(t.Context(), bob.Name().Service(), o)
		if err != nil {
			t.Fatal(err)
		}
		if s.PeerSubject() != id.Subject() {
			t.Errorf("peer subject %q", s.PeerSubject())
		}
		if _, err := l.Accept(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
