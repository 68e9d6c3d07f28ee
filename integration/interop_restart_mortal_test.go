package integration

import (
	"errors"
	"net/rpc"
	"os"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// Mortal is one member of a group that keeps it in a file. It is driven by
// net/rpc over standard input and output: hence its exported methods. Every run
// of the process has its own, with the group of the runs before.
type Mortal struct {
	app      *session.App
	listener *session.GroupListener
	group    *session.Group
	last     session.Message // of Receive
}

// serveMortal returns when standard input ends.
func serveMortal(app *session.App) error {
	m := &Mortal{app: app}
	_, groups := app.Resumed()
	if len(groups) > 1 {
		return errors.New("more than one group was resumed")
	}
	if len(groups) == 1 {
		m.group = groups[0]
	}
	var err error
	if m.listener, err = app.ListenGroups(session.GroupListenOptions{AnyModerator: true}); err != nil {
		return err
	}
	if err := rpc.Register(m); err != nil {
		return err
	}
	rpc.ServeConn(pipes{os.Stdin, os.Stdout})
	return nil
}

// Resumed tells the id of the group that was there already, 0 if none was.
func (m *Mortal) Resumed(_ None, id *session.ID) error {
	if m.group != nil {
		*id = m.group.ID()
	}
	return nil
}

// Create makes a group with MLS.
func (m *Mortal) Create(channel string, id *session.ID) (err error) {
	ctx, cancel := bounded()
	defer cancel()
	m.group, err = m.app.CreateGroup(ctx, name.MustParse(channel), session.GroupOptions{})
	if err != nil {
		return err
	}
	*id = m.group.ID()
	return nil
}

// Entered waits until the app is in a group.
func (m *Mortal) Entered(_ None, id *session.ID) (err error) {
	ctx, cancel := bounded()
	defer cancel()
	if m.group, err = m.listener.Accept(ctx); err != nil {
		return err
	}
	*id = m.group.ID()
	return nil
}

// Invite returns once the member of that name is in.
func (m *Mortal) Invite(path string, _ *None) error {
	ctx, cancel := bounded()
	defer cancel()
	return m.group.Invite(ctx, name.MustParse(path), session.InviteOptions{})
}

// Remove returns once the member of that name is out.
func (m *Mortal) Remove(path string, _ *None) error {
	ctx, cancel := bounded()
	defer cancel()
	return m.group.Remove(ctx, name.MustParse(path), session.RemoveOptions{})
}

// Publish returns when the message is stored.
func (m *Mortal) Publish(text string, _ *None) error {
	ctx, cancel := bounded()
	defer cancel()
	_, err := m.group.Publish(ctx, session.Message{Payload: []byte(text)})
	return err
}

// Heard is a message and who sent it.
type Heard struct{ From, Text string }

// Receive waits for the next message, which it does not confirm.
func (m *Mortal) Receive(_ None, h *Heard) (err error) {
	ctx, cancel := bounded()
	defer cancel()
	if m.last, err = m.group.Receive(ctx); err != nil {
		return err
	}
	*h = Heard{m.last.Source.Path(), string(m.last.Payload)}
	return nil
}

// Confirm confirms what Receive returned last.
func (m *Mortal) Confirm(None, *None) error { return m.group.Confirm(m.last) }

// Roster tells who is online, and itself.
func (m *Mortal) Roster(_ None, list *map[string]bool) error {
	*list = map[string]bool{}
	for _, p := range m.group.Members() {
		(*list)[p.Name.Path()] = p.Online || p.Self
	}
	return nil
}

// Close closes the group for all.
func (m *Mortal) Close(None, *None) error { return m.group.Close() }

// Closed waits until the group is over.
func (m *Mortal) Closed(None, *None) error {
	ctx, cancel := bounded()
	defer cancel()
	select {
	case <-m.group.Done():
		return nil
	case <-ctx.Done():
		return errors.New("the group is still open")
	}
}
