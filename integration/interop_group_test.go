package integration

import (
	"context"
	"fmt"
	"testing"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
)

// Groups of members of all kinds under a moderator of every kind, over our node
// and over a real one, with and without MLS: everybody hears everybody; a
// removal, a leave and the close are seen by all.
func TestInteropGroup(t *testing.T) {
	p := realslim.Require(t)
	for _, node := range allKinds {
		t.Run("node="+string(node), func(t *testing.T) {
			endpoint := startNode(t, p, node, realslim.NodeOptions{Strict: true})
			guests := startGuests(t, p, endpoint, realslim.Core22, realslim.Core34, ours, ours, realslim.Core22, realslim.Core34, ours)
			for _, moderator := range guests[:3] {
				for _, mls := range []bool{false, true} {
					t.Run(fmt.Sprintf("moderator=%s/mls=%v", moderator.kind(), mls), func(t *testing.T) {
						assemble(t, moderator, guests[3:], mls)
					})
				}
			}
		})
	}
}

// assemble takes a group through its life.
func assemble(t *testing.T, moderator guest, guests []guest, mls bool) {
	t.Helper()
	c := newCircle(t, moderator, "org/ns/hall", mls)
	for _, g := range guests {
		c.invite(g)
		c.talk()
	}
	removed, left := c.ofKind(realslim.Core22), c.ofKind(realslim.Core34)
	c.remove(removed)
	c.talk()
	c.leave(left)
	c.talk()
	c.invite(removed.guest)
	c.invite(left.guest)
	c.talk()
	ourOwn := c.ofKind(ours)
	c.remove(ourOwn)
	c.leave(c.ofKind(ours))
	c.talk()
	c.invite(ourOwn.guest)
	c.talk()
	c.close()
}

// A message to one member reaches that one alone, and so does its answer.
func TestInteropGroupReply(t *testing.T) {
	p := realslim.Require(t)
	for _, kind := range realslim.Kinds {
		for _, mls := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s mls=%v", kind, mls), func(t *testing.T) {
				endpoint := startNode(t, p, ours, realslim.NodeOptions{})
				answerer := p.StartApp(t, kind, realslim.AppOptions{
					Endpoint: endpoint, Name: "org/ns/answerer", Strict: true, Accept: realslim.Echo, ReplyTo: true,
				})
				others := startGuests(t, p, endpoint, ours, ours, kind)
				c := newCircle(t, others[0], "org/ns/hall", mls)
				c.invite(realGuest{answerer, kind})
				listener, third := c.invite(others[1]), c.invite(others[2])
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				moderator := c.moderator().end.(ourEnd)

				// To the real one that answers everything: only we hear of it.
				if err := moderator.tell(ctx, answerer.Path, "you alone"); err != nil {
					t.Fatal(err)
				}
				m, err := moderator.Receive(ctx)
				if err != nil || string(m.Payload) != "you alone" || !m.Direct || m.Source.Path() != answerer.Path {
					t.Fatalf("the moderator hears %q of %s (direct: %v), %v", m.Payload, m.Source, m.Direct, err)
				}
				// To the real one that is driven, and to ours.
				for _, s := range []*seat{third, listener} {
					if err := moderator.tell(ctx, s.path(), "for "+s.path()); err != nil {
						t.Fatalf("to %s: %v", s, err)
					}
					if m, err := s.end.hear(ctx); err != nil || m != (heard{c.moderator().path(), "for " + s.path()}) {
						t.Fatalf("%s hears %v, %v", s, m, err)
					}
				}
				// All hear the next message, and nobody heard the answers.
				if err := moderator.say(ctx, "to all"); err != nil {
					t.Fatal(err)
				}
				for _, s := range []*seat{third, listener} {
					if m, err := s.end.hear(ctx); err != nil || m.text != "to all" {
						t.Fatalf("%s hears %v, %v", s, m, err)
					}
				}
				if m, err := moderator.Receive(ctx); err != nil || string(m.Payload) != "to all" || !m.Direct {
					t.Fatalf("the moderator hears %q (direct: %v), %v", m.Payload, m.Direct, err)
				}
				c.close()
			})
		}
	}
}

// tell publishes to one member and waits for its acknowledgement.
func (e ourEnd) tell(ctx context.Context, path, text string) error {
	for _, p := range e.Members() {
		if p.Name.Path() != path {
			continue
		}
		r, err := e.PublishTo(ctx, p.Name, session.Message{Payload: []byte(text)})
		if err != nil {
			return err
		}
		return r.Wait(ctx)
	}
	return fmt.Errorf("%s is no member", path)
}
