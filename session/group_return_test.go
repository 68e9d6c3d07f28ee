package session_test

import (
	"testing"

	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
)

// While a member is away another is removed and invited again, all within the
// second that its token is dated with. Its messages begin anew and must not be
// taken for old ones.
func TestGroupMemberReplacedWhileAway(t *testing.T) {
	bubble(t, func(t *testing.T, nw *testnet.Network) {
		h := newHall(t, nw, 2, session.GroupOptions{})
		app := nw.App("org/ns/replaced", nil)
		l, err := app.ListenGroups(session.GroupListenOptions{AnyModerator: true})
		if err != nil {
			t.Fatal(err)
		}
		replaced := h.enter(app, l)
		h.talk()
		h.talk()
		away := h.groups[1]
		if err := away.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := h.groups[0].Remove(t.Context(), app.Name(), session.RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
		<-replaced.Done()
		h.out(replaced)
		h.enter(app, l)
		if err := away.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.talk()
	})
}
