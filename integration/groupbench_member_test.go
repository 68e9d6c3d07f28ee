package integration

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/rpc"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

// memberArg makes the test binary one member of a group of ours, as the scripts
// of package realslim are one of theirs.
const memberArg = "integration-group-member"

// init does not return in such a process; the tests' own main must not run there.
func init() {
	if len(os.Args) != 4 || os.Args[1] != memberArg {
		return
	}
	m := &Member{}
	if err := m.dial(os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := rpc.Register(m); err != nil {
		panic(err) // a method of Member has a wrong form
	}
	rpc.ServeConn(pipes{os.Stdin, os.Stdout})
	os.Exit(0)
}

// pipes are one connection: that of a process to its parent, or to its child.
type pipes struct {
	io.ReadCloser
	out io.WriteCloser
}

func (p pipes) Write(b []byte) (int, error) { return p.out.Write(b) }
func (p pipes) Close() error                { return errors.Join(p.out.Close(), p.ReadCloser.Close()) }

// Member is an app of ours that is driven by net/rpc: hence its exported methods.
type Member struct {
	app      *session.App
	listener *session.GroupListener
	group    *session.Group
}

// None is for calls without argument or without result.
type None struct{}

func (m *Member) dial(endpoint, path string) error {
	secret, err := identity.NewSecret([]byte(realslim.Secret))
	if err != nil {
		return err
	}
	id, err := identity.NewSharedSecret(secret, path)
	if err != nil {
		return err
	}
	ctx, cancel := bounded()
	defer cancel()
	m.app, err = session.Dial(ctx, session.Config{Name: name.MustParse(path), Identity: id, Verifier: id, Node: endpoint})
	if err != nil {
		return err
	}
	m.listener, err = m.app.ListenGroups(session.GroupListenOptions{AnyModerator: true})
	return err
}

func bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// Ready tells that the app is there.
func (m *Member) Ready(None, *None) error { return nil }

// Create makes a group with MLS.
func (m *Member) Create(channel string, _ *None) (err error) {
	ctx, cancel := bounded()
	defer cancel()
	m.group, err = m.app.CreateGroup(ctx, name.MustParse(channel), session.GroupOptions{})
	return err
}

// Invite returns once the member of that name is in.
func (m *Member) Invite(path string, _ *None) error {
	ctx, cancel := bounded()
	defer cancel()
	return m.group.Invite(ctx, name.MustParse(path), session.InviteOptions{})
}

// Entered waits until the app is in a group.
func (m *Member) Entered(None, *None) (err error) {
	ctx, cancel := bounded()
	defer cancel()
	m.group, err = m.listener.Accept(ctx)
	return err
}

// Close closes the group for all.
func (m *Member) Close(None, *None) error { return m.group.Close() }

// Closed waits until the moderator has closed the group.
func (m *Member) Closed(None, *None) error {
	select {
	case <-m.group.Done():
		return nil
	case <-time.After(patience):
		return errors.New("the group is still open")
	}
}

func micros() float64 { return float64(time.Now().UnixNano()) / 1000 }

// Stream is what [realslim.Session.Stream] is for theirs.
func (m *Member) Stream(l realslim.Load, began *float64) error {
	ctx, cancel := bounded()
	defer cancel()
	var sent []*session.Receipt
	*began = micros()
	for i := range l.Count {
		if i >= l.Window {
			if err := sent[i-l.Window].Wait(ctx); err != nil {
				return err
			}
		}
		payload := make([]byte, l.Size)
		binary.BigEndian.PutUint64(payload, math.Float64bits(micros()))
		r, err := m.group.Publish(ctx, session.Message{Payload: payload, Type: "application/octet-stream"})
		if err != nil {
			return err
		}
		sent = append(sent, r)
	}
	for _, r := range sent {
		if err := r.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Collect is what [realslim.Session.Collect] is for theirs.
func (m *Member) Collect(l realslim.Load, c *realslim.Collected) error {
	ctx, cancel := bounded()
	defer cancel()
	for len(c.Age) < l.Count {
		message, err := m.group.Receive(ctx)
		if err != nil {
			return fmt.Errorf("%d of %d messages: %w", len(c.Age), l.Count, err)
		}
		if len(message.Payload) != l.Size {
			return fmt.Errorf("a message of %d bytes", len(message.Payload))
		}
		c.Ended = micros()
		c.Age = append(c.Age, c.Ended-math.Float64frombits(binary.BigEndian.Uint64(message.Payload)))
	}
	return nil
}

// remote is a Member in another process.
type remote struct {
	*rpc.Client
	pid int
}

// PID is that of the process.
func (r remote) PID() int { return r.pid }

// startRemote starts one and waits until it is connected.
func startRemote(b *testing.B, endpoint, path string) (remote, error) {
	b.Helper()
	cmd := exec.Command(testBinary(b), memberArg, endpoint, path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return remote{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return remote{}, err
	}
	if err := cmd.Start(); err != nil {
		return remote{}, err
	}
	r := remote{rpc.NewClient(pipes{out, in}), cmd.Process.Pid}
	b.Cleanup(func() {
		_ = r.Client.Close() // the end of its input ends the process
		_ = cmd.Wait()
	})
	return r, r.call(b.Context(), "Ready", None{}, nil)
}

func (r remote) call(ctx context.Context, method string, args, reply any) error {
	if reply == nil {
		reply = &None{}
	}
	select {
	case c := <-r.Go("Member."+method, args, reply, make(chan *rpc.Call, 1)).Done:
		return c.Error
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

func (r remote) create(ctx context.Context, channel string) (castEnd, error) {
	return r, r.call(ctx, "Create", channel, nil)
}

func (r remote) entered(ctx context.Context) (castEnd, error) {
	return r, r.call(ctx, "Entered", None{}, nil)
}

func (r remote) invite(ctx context.Context, path string) error {
	return r.call(ctx, "Invite", path, nil)
}
func (r remote) close(ctx context.Context) error  { return r.call(ctx, "Close", None{}, nil) }
func (r remote) closed(ctx context.Context) error { return r.call(ctx, "Closed", None{}, nil) }

func (r remote) Stream(ctx context.Context, l realslim.Load) (began float64, err error) {
	err = r.call(ctx, "Stream", l, &began)
	return began, err
}

func (r remote) Collect(ctx context.Context, l realslim.Load) (c realslim.Collected, err error) {
	err = r.call(ctx, "Collect", l, &c)
	return c, err
}
