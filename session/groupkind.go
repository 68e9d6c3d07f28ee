package session

import (
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

func (g *Group) multicast() bool { return true }

// hears what is said to all or to us. A node could show us what a member was
// told alone: that it is removed, or a [Message] that is Direct. Discovery asks
// for any instance, but not for one that is in the group.
func (g *Group) hears(to name.Key) bool {
	return to == g.local.Key() || to == g.names[0].Key() || to == g.names[1].Key()
}

func (g *Group) peer() name.Name { return g.names[0] }

// from reports whether n is the group's moderator.
func (g *Group) from(n name.Name) bool { return g.chair.Key() == n.Key() }

// remember updates what the application sees and does what a group wants of the
// app.
func (g *Group) remember(d *driver, out control.Output) *Error {
	if out.Subscribe {
		g.app.wg.Go(g.enter)
	}
	if out.Unsubscribe {
		g.app.wg.Go(g.exit)
	}
	if len(out.Members) > 0 || out.Opened || len(out.Done) > 0 {
		g.list(d.core.Roster())
	}
	for _, done := range out.Done { // whoever waits sees the new roster
		if result := g.take(done.Op); result != nil {
			result <- done.Err
		}
	}
	for _, m := range out.Members {
		g.tell(GroupEvent{Kind: eventKinds[m.What], Member: m.Name, Subject: m.Subject, Epoch: d.core.Epoch(), Err: m.Err})
	}
	if out.Rotated {
		g.tell(GroupEvent{Kind: EpochChanged, Epoch: d.core.Epoch()})
	}
	return nil
}

func (g *Group) list(entries []control.RosterEntry) {
	roster := make([]Participant, 0, len(entries))
	for _, e := range entries {
		p := Participant{Name: e.Name, Subject: e.Subject, Online: e.Online, Self: e.Self, Moderator: e.Moderator}
		if e.Self {
			p.Subject = g.app.cfg.Identity.Subject()
		}
		roster = append(roster, p)
	}
	g.mu.Lock()
	g.roster = roster
	g.mu.Unlock()
}

// enter subscribes the channel and tells the core.
func (g *Group) enter() {
	g.subscribing.Lock()
	defer g.subscribing.Unlock()
	if g.left {
		return // before it was our turn
	}
	var err error
	if !g.entered {
		for i, n := range g.names {
			if err = g.app.enterChannel(g.app.ctx, n); err != nil {
				if i == 1 {
					g.app.leaveChannel(g.names[0])
				}
				break
			}
		}
		g.entered = err == nil
	}
	select {
	case g.orders <- control.Subscribed{Err: err}:
	case <-g.done:
	}
}

// exit undoes enter.
func (g *Group) exit() {
	g.subscribing.Lock()
	defer g.subscribing.Unlock()
	g.left = true
	if g.entered {
		g.entered = false
		for _, n := range g.names {
			g.app.leaveChannel(n)
		}
	}
}

func (g *Group) info() infoRecord {
	return infoRecord{
		ID: g.id, Group: true, Local: g.local, Peer: g.chair, Subject: g.subject, Names: g.names, Metadata: g.metadata,
		Initiator: g.initiator, Reliable: g.reliable, MLS: g.encrypted,
	}
}

func (g *Group) announce() bool {
	if !g.initiator {
		g.app.openedResponder(g.subject)
	}
	return g.listener == nil || g.listener.offer(g)
}

// forget takes the ended group out of the tables.
func (g *Group) forget(wasOpen bool) {
	a := g.app
	a.wg.Go(g.exit)
	close(g.events)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.groups[g.id] == g {
		delete(a.groups, g.id)
	}
	if g.initiator {
		return
	}
	if !wasOpen {
		a.joinEnded(g.subject)
		return
	}
	a.tombs.put(g.id, g.chair.Key(), tombstone{local: g.local, subject: g.subject}, time.Now())
}
