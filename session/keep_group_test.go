package session_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// A group in which everybody keeps the session, and crashes.
func TestGroupSurvivesRestart(t *testing.T) {
	for _, o := range []session.GroupOptions{{}, {Security: session.AllowPlain}} {
		t.Run(fmt.Sprintf("plain=%v", o.Security == session.AllowPlain), func(t *testing.T) {
			bubble(t, func(t *testing.T, nw *testnet.Network) {
				h := &hall{t: t, nw: nw}
				var keep []*keeping
				for i := range 4 {
					keep = append(keep, newKeeping(t, nw, []string{"org/ns/moderator", "org/ns/bob", "org/ns/carol", "org/ns/dave"}[i]))
				}
				g, err := keep[0].CreateGroup(t.Context(), chatChannel, o)
				if err != nil {
					t.Fatal(err)
				}
				h.groups = append(h.groups, g)
				for _, k := range keep[1:3] {
					h.admit(k, o)
				}
				h.confirms = true
				h.talk()
				for i, k := range keep[:3] {
					k.crash()
					k.dial()
					_, groups := k.Resumed()
					if len(groups) != 1 {
						t.Fatalf("%d groups were resumed", len(groups))
					}
					if r := groups[0]; r.ID() != g.ID() || r.Channel().Key() != g.Channel().Key() || r.Moderating() != (i == 0) || len(r.Members()) != 3 {
						t.Errorf("%s resumed another group: %v", k.path, r.Members())
					}
					h.groups[i] = groups[0]
					h.settle()
					h.talk()
				}
				h.admit(keep[3], o)
				h.settle()
				h.talk()
				h.agree()
				if err := h.groups[0].Remove(t.Context(), name.MustParse("org/ns/bob"), session.RemoveOptions{}); err != nil {
					t.Fatal(err)
				}
				h.groups = append(h.groups[:1], h.groups[2:]...)
				h.settle()
				h.talk()
				if err := h.groups[0].Close(); err != nil {
					t.Fatal(err)
				}
				for _, g := range h.groups {
					<-g.Done()
				}
				synctest.Wait()
				for _, k := range keep {
					if n := k.state.count("/"); n != 1 {
						t.Errorf("%s keeps %d records of a group that is over", k.path, n-1)
					}
				}
			})
		})
	}
}

// admit lets a new member in.
func (h *hall) admit(k *keeping, o session.GroupOptions) {
	h.t.Helper()
	l, err := k.ListenGroups(session.GroupListenOptions{AnyModerator: true, Security: o.Security})
	if err != nil {
		h.t.Fatal(err)
	}
	h.enter(k.App, l)
}

// settle waits until everybody sees everybody.
func (h *hall) settle() {
	h.t.Helper()
	for range 1200 {
		all := true
		for _, g := range h.groups {
			for _, p := range g.Members() {
				all = all && p.Online
			}
			all = all && len(g.Members()) == len(h.groups)
		}
		if all {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	h.t.Fatal("not everybody is seen by everybody")
}
