package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
)

// Resumed returns the sessions and groups that came out of Config.State when
// the app was dialled, in no order. Those who were told of their end, but had
// messages that were not confirmed, are among them: they are over, and can be
// read. So are those that cannot go on, for example because their peer's token
// cannot be verified any more; their Err has CodeState. They stay stored, and are
// tried again by the next Dial, until Close is called on them. What was published
// before and not acknowledged is sent again by itself.
func (a *App) Resumed() ([]*Session, []*Group) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.resumedSessions), slices.Clone(a.resumedGroups)
}

// Suspend ends the app without a farewell: its sessions go on with the next Dial
// that is given the same State. Others see us as they see somebody whose link is
// down. Without State it is an abrupt end. It waits for all goroutines.
func (a *App) Suspend() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel(&Error{Code: CodeClosed})
	a.wg.Wait()
	a.release()
	a.shutdown(&Error{Code: CodeClosed}) // not before: a listener closes what nobody has accepted
	return nil
}

// resume brings the sessions of Config.State back to life. They wait for the
// link.
func (a *App) resume() error {
	owner, kept, err := readState(a.cfg.State)
	if err == nil {
		err = a.checkOwner(owner)
	}
	if err != nil {
		return &Error{Code: CodeState, Err: err}
	}
	var revived []*revived
	changes := map[string][]byte{}
	for _, k := range kept {
		if k.core == nil && len(k.inbox) == 0 { // a crash came before it was dropped
			changes[recordRoot+k.token+"/info"] = nil
			continue
		}
		r, err := a.reviveOrShelve(k, changes)
		if err != nil {
			return &Error{Code: CodeState, Peer: k.info.Peer, Err: fmt.Errorf("session %d cannot be resumed: %w", k.info.ID, err)}
		}
		revived = append(revived, r)
	}
	// Before anything is encrypted: what the keys were skipped for must not be
	// skipped for again.
	if len(changes) > 0 {
		if err := a.cfg.State.Write(changes); err != nil {
			return &Error{Code: CodeState, Err: err}
		}
	}
	for _, r := range revived {
		r.start()
	}
	return nil
}

// revived is a session that is about to go on.
type revived struct {
	*conversation
	session *Session
	group   *Group
	closing bool
	cannot  error // why it cannot go on in this process
}

// reviveOrShelve adds to changes what the session is stored as when it goes on.
// One that cannot, because its peer cannot be verified any more or its state does
// not fit together, must not take the others with it: it is over for this process
// and stays stored as it is.
func (a *App) reviveOrShelve(k *keptSession, changes map[string][]byte) (*revived, error) {
	r, err := a.revive(k)
	if err == nil {
		err = r.saveAgain(changes)
	}
	if err == nil || k.core == nil {
		return r, err
	}
	a.log.Error().Err(err).Uint32("session", uint32(k.info.ID)).Stringer("peer", k.info.Peer).Msg("session cannot be resumed; it stays stored")
	k.core = nil
	r, again := a.revive(k)
	if again == nil {
		r.cannot = err
	}
	return r, again
}

func (a *App) revive(k *keptSession) (*revived, error) {
	keep := &keeper{state: a.cfg.State, prefix: recordRoot + k.token + "/", known: true, stored: map[string]bool{}}
	for key := range k.messages {
		keep.stored[key] = true
	}
	r := &revived{}
	cfg := control.Config{Local: k.info.Local, Peer: k.info.Peer, Reliable: k.info.Reliable, Metadata: k.info.Metadata}
	var core control.Core
	if k.core != nil {
		saved, err := control.ReadSaved(k.core)
		if err != nil {
			return nil, err
		}
		if cfg, core, err = a.restore(saved, k); err != nil {
			return nil, err
		}
		r.closing = saved.Closing() || k.info.Closing
	}
	if k.info.Group {
		r.group = a.reviveGroup(k.info, &cfg, core)
		r.conversation = &r.group.conversation
	} else {
		r.session = a.reviveSession(k.info, &cfg, core)
		r.conversation = &r.session.conversation
	}
	r.id, r.initiator, r.encrypted, r.keep = k.info.ID, k.info.Initiator, k.info.MLS, keep
	close(r.opened)
	return r, r.refill(k)
}

// restore makes the core anew.
func (a *App) restore(saved *control.Saved, k *keptSession) (control.Config, control.Core, error) {
	cfg := saved.Config()
	a.fill(&cfg)
	moderator := ""
	if cfg.Role == control.Responder {
		moderator = saved.PeerSubject()
	}
	var err error
	if cfg.MLS, err = a.group(saved.Encrypted(), moderator); err != nil {
		return cfg, nil, err
	}
	if !k.info.Group {
		inPair(cfg.MLS)
	}
	core, err := saved.Restore(time.Now(), cfg, k.message)
	return cfg, core, err
}

func (a *App) reviveSession(info *infoRecord, cfg *control.Config, core control.Core) *Session {
	s := &Session{request: make(chan struct{}, 1)}
	s.setUp(a, cfg, s)
	s.state = snapshot{peer: info.Peer, subject: info.Subject}
	if core != nil {
		s.machine = core.(*control.Machine)
		s.core = s.machine
		s.state = snapshot{peer: s.machine.Peer(), subject: s.machine.PeerSubject(), online: s.machine.PeerOnline()}
	}
	return s
}

func (a *App) reviveGroup(info *infoRecord, cfg *control.Config, core control.Core) *Group {
	cfg.Channel, cfg.Control = info.Names[0], info.Names[1]
	g := makeGroup(cfg)
	g.setUp(a, cfg, g)
	g.chair, g.subject = info.Peer, info.Subject
	if core != nil {
		g.core = core
		g.list(core.Roster())
		g.entered = true
	}
	return g
}

// refill shows the application again what it did not confirm.
func (r *revived) refill(k *keptSession) error {
	for _, n := range slices.Sorted(maps.Keys(k.inbox)) {
		head, payload, err := parseRecord(k.inbox[n])
		if err != nil {
			return err
		}
		r.inQueue.expectConfirmation(n, len(k.inbox[n]))
		r.inQueue.push(head.item(payload, mark{r.keep, n}))
		r.keep.marks = max(r.keep.marks, n)
	}
	return nil
}

// saveAgain adds the session as it is now.
func (r *revived) saveAgain(changes map[string][]byte) error {
	if r.core == nil {
		return nil
	}
	d := &driver{conversation: r.conversation}
	own, err := d.changes()
	if err == nil && r.closing { // the core begins to close only when there is a link
		info := r.kind.info()
		info.Closing = true
		own[r.keep.prefix+"info"], err = json.Marshal(info)
	}
	maps.Copy(changes, own)
	return err
}

// start lets the session go on. It is called before the first link.
func (r *revived) start() {
	a := r.app
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case r.session != nil:
		a.resumedSessions = append(a.resumedSessions, r.session)
		if r.core != nil {
			a.sessions[sessionKey{r.id, r.session.state.peer.Key()}] = r.session
		}
	default:
		a.resumedGroups = append(a.resumedGroups, r.group)
		if r.core != nil {
			a.groups[r.id] = r.group
			r.group.subscribe()
		}
	}
	if r.core == nil {
		if r.shelved = r.cannot != nil; r.shelved {
			r.err = &Error{Code: CodeState, Peer: r.kind.peer(), Err: r.cannot}
		} else {
			r.err = &Error{Code: CodeClosed, Err: errOverBefore}
			r.unread().Add(1)
			r.inQueue.finish()
		}
		close(r.done)
		if r.group != nil {
			close(r.group.events)
		}
		return
	}
	a.wg.Add(1)
	go r.resume(r.closing)
}

var errOverBefore = errors.New("it was over before the restart; what was not confirmed can still be read")

// resume is the goroutine of a session that goes on.
func (c *conversation) resume(closing bool) {
	defer c.app.wg.Done()
	d := &driver{conversation: c, queued: map[dataKey]bool{}, isOpen: true, parting: closing}
	d.onLink()
	d.live()
}

// subscribe adds the group's channel to what the first link subscribes. It is
// called with App.mu held.
func (g *Group) subscribe() {
	for _, n := range g.names {
		use := g.app.channels[n.Key()]
		if use == nil {
			use = &channelUse{name: n, turn: make(chan struct{}, 1)}
			g.app.channels[n.Key()] = use
		}
		use.users++
	}
	g.app.subsGen++
}
