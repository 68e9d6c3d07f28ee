package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/rpc"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
)

// groupKills is how often ours is killed while all talk.
const groupKills = 6

// A process of ours that is a member of a group under a real moderator, or that
// is the moderator of real members, is killed again and again while all talk, and
// goes on from its state file: everybody hears everybody, everything once. The
// group can be changed afterwards.
func TestInteropRestartGroup(t *testing.T) {
	p := realslim.Require(t)
	for _, moderator := range []realslim.Kind{realslim.Core22, realslim.Core34, ours} {
		t.Run("moderator="+string(moderator), func(t *testing.T) {
			t.Parallel() // it waits most of the time
			endpoint := startNode(t, p, ours, realslim.NodeOptions{Strict: true})
			mortal := newMortalGuest(t, endpoint)
			guests := []guest{mortal}
			for _, kind := range realslim.Kinds {
				guests = append(guests, realMember(t, p, kind, endpoint, "member-"+string(kind)[5:]))
			}
			chair := guest(mortal)
			if moderator != ours {
				chair = realMember(t, p, moderator, endpoint, "moderator")
			} else {
				guests = guests[1:]
			}
			c := newCircle(t, chair, mortalSpace+"hall", true)
			for _, g := range guests {
				c.invite(g)
			}
			talks := func() {
				for range 4 {
					c.talk()
				}
			}
			for range groupKills {
				mortal.dieDuring(talks)
			}
			c.acknowledge()
			removed := c.ofKind(realslim.Core22)
			c.remove(removed)
			c.talk()
			mortal.dieDuring(talks)
			c.invite(removed.guest)
			c.talk()
			mortal.dieDuring(talks)
			c.talk()
			c.acknowledge()
			c.close()
			if err := mortal.end(); err != nil {
				t.Error(err)
			}
			t.Logf("%d kills in %d rounds of talk; %d calls cut off, %d messages shown again", mortal.kills, c.round, mortal.cut.Load(), mortal.again)
		})
	}
}

// acknowledge waits until the real ones have all acknowledgements: some died with
// the process that was to send them.
func (c *circle) acknowledge() {
	c.t.Helper()
	ctx, cancel := c.bounded()
	defer cancel()
	for _, s := range c.seats {
		if e, ok := s.end.(realEnd); ok {
			if err := e.Settle(ctx); err != nil {
				c.fatalf("%s: %v", s, err)
			}
		}
	}
}

func realMember(t *testing.T, p realslim.Peers, kind realslim.Kind, endpoint, app string) guest {
	t.Helper()
	return realGuest{p.StartApp(t, kind, realslim.AppOptions{
		Endpoint: endpoint, Name: mortalSpace + app, Strict: true, Accept: realslim.Drive, LogLevel: "error",
	}), kind}
}

// mortalGuest is a guest, and a groupEnd, whose process may be killed at any time
// but for the moment in which it publishes.
type mortalGuest struct {
	*lives
	name string

	publishing sync.Mutex // or being restarted

	mu     sync.Mutex
	client *rpc.Client
	group  session.ID

	unsure *Heard // what it confirmed last, if that may have been in vain
	again  int    // messages that were shown again

	cut atomic.Int32 // calls that a kill has ended
}

func newMortalGuest(t *testing.T, endpoint string) *mortalGuest {
	t.Helper()
	m := &mortalGuest{name: mortalSpace + "ours"}
	m.lives = newLives(t, orders{Role: roleMember, Endpoint: endpoint, Name: m.name})
	m.connect()
	if err := m.call(t.Context(), "Resumed", None{}, new(session.ID)); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mortalGuest) connect() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.client = rpc.NewClient(pipes{m.out, m.in})
}

func (m *mortalGuest) current() *rpc.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.client
}

// dieDuring runs what, and kills the process at some moment of it.
func (m *mortalGuest) dieDuring(what func()) {
	m.t.Helper()
	var dying sync.WaitGroup
	defer dying.Wait()
	dying.Go(func() {
		time.Sleep(rand.N(100 * time.Millisecond))
		if err := m.rise(); err != nil {
			m.t.Error(err)
		}
	})
	what()
}

// rise restarts the process, which must still have its group.
func (m *mortalGuest) rise() error {
	m.publishing.Lock()
	defer m.publishing.Unlock()
	if err := m.restart(); err != nil {
		return err
	}
	m.connect()
	ctx, cancel := bounded()
	defer cancel()
	var id session.ID
	if err := m.once(ctx, m.current(), "Resumed", None{}, &id); err != nil {
		return err
	}
	if id != m.group {
		return fmt.Errorf("after %d kills it is in group %d, was in %d", m.kills, id, m.group)
	}
	return nil
}

func (m *mortalGuest) once(ctx context.Context, client *rpc.Client, method string, args, reply any) error {
	select {
	case c := <-client.Go("Mortal."+method, args, reply, make(chan *rpc.Call, 1)).Done:
		return c.Error
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// errDied says that the process was killed during a call, and that the next one runs.
var errDied = errors.New("killed during the call")

func (m *mortalGuest) call(ctx context.Context, method string, args, reply any) error {
	client := m.current()
	err := m.once(ctx, client, method, args, reply)
	if _, answered := errors.AsType[rpc.ServerError](err); err == nil || answered || ctx.Err() != nil {
		return err
	}
	m.publishing.Lock() // until it is restarted
	defer m.publishing.Unlock()
	if m.current() == client {
		return err
	}
	m.cut.Add(1)
	return errDied
}

// insist calls until no kill comes in between.
func (m *mortalGuest) insist(ctx context.Context, method string, args, reply any) error {
	for {
		if err := m.call(ctx, method, args, reply); err != errDied {
			return err
		}
	}
}

func (m *mortalGuest) kind() realslim.Kind { return ours }
func (m *mortalGuest) path() string        { return m.name }

func (m *mortalGuest) createGroup(ctx context.Context, channel string, mls bool) (groupEnd, error) {
	if !mls {
		return nil, errors.New("only with MLS")
	}
	return m, m.call(ctx, "Create", channel, &m.group)
}

func (m *mortalGuest) entered(ctx context.Context) (groupEnd, error) {
	return m, m.call(ctx, "Entered", None{}, &m.group)
}

func (m *mortalGuest) invite(ctx context.Context, path string) error {
	return m.call(ctx, "Invite", path, &None{})
}

func (m *mortalGuest) remove(ctx context.Context, path string) error {
	return m.call(ctx, "Remove", path, &None{})
}

func (m *mortalGuest) pause(context.Context) error  { return errors.ErrUnsupported }
func (m *mortalGuest) resume(context.Context) error { return errors.ErrUnsupported }
func (m *mortalGuest) complaints() []string         { return nil }

func (m *mortalGuest) close(ctx context.Context) error {
	return m.call(ctx, "Close", None{}, &None{})
}

// closed also lets the process end.
func (m *mortalGuest) closed(ctx context.Context) error {
	return errors.Join(m.call(ctx, "Closed", None{}, &None{}), m.current().Close())
}

// say does not wait for acknowledgements: the next process could not.
func (m *mortalGuest) say(ctx context.Context, text string) error {
	m.publishing.Lock()
	defer m.publishing.Unlock()
	return m.once(ctx, m.current(), "Publish", text, &None{})
}

func (m *mortalGuest) roster(ctx context.Context) (list map[string]bool, err error) {
	return list, m.insist(ctx, "Roster", None{}, &list)
}

// hear confirms what it returns. If the process is killed meanwhile the message
// may be shown again, at once.
func (m *mortalGuest) hear(ctx context.Context) (heard, error) {
	for {
		var h Heard
		if err := m.insist(ctx, "Receive", None{}, &h); err != nil {
			return heard{}, err
		}
		repeated := m.unsure != nil && *m.unsure == h
		m.unsure = nil
		switch err := m.call(ctx, "Confirm", None{}, &None{}); {
		case err == errDied:
			m.unsure = &h
		case err != nil:
			return heard{}, err
		}
		if repeated {
			m.again++
			continue
		}
		return heard{h.From, h.Text}, nil
	}
}
