package realslim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	startTimeout   = 30 * time.Second // until the event "ready"; loading the native library takes one or two on a busy machine
	commandTimeout = 90 * time.Second // of a command whose context has no deadline
	stopTimeout    = 5 * time.Second  // from the end of standard input to SIGKILL
	shownLog       = 100              // lines of log that a failed test prints per process
	maxLog         = 8 << 20          // bytes of log kept per process; the rest is dropped
)

// message is every line that a script writes: a reply (ID is set) or an event.
type message struct {
	ID     uint64          `json:"id"`
	Result json.RawMessage `json:"result"`
	Event  string          `json:"event"`
	Error  string          `json:"error"`

	App       Name              `json:"app"`
	Session   int               `json:"session"`
	SessionID uint32            `json:"session_id"`
	Peer      Name              `json:"peer"`
	Initiator bool              `json:"initiator"`
	Metadata  map[string]string `json:"metadata"`
}

// process is a child that runs one script.
type process struct {
	label string
	cmd   *exec.Cmd
	log   logBuffer
	ready chan ready    // one item: the outcome of the start
	done  chan struct{} // closed when the child is gone and its output is read

	onEvent func(message) // called by the reader, in order

	stdin   io.WriteCloser
	writing sync.Mutex // one line at a time

	mu      sync.Mutex
	lastID  uint64
	pending map[uint64]chan message
}

type ready struct {
	message message
	err     error
}

// launch says how to start a child.
type launch struct {
	kind    Kind
	role    string         // "node" or "app"
	options map[string]any // of the role
	env     []string
	onEvent func(message) // called by the reader, in order
	timeout time.Duration // until the event "ready"; default startTimeout
}

// start runs a script and waits until it is ready; it returns the event that said so.
func (p Peers) start(t testing.TB, l launch) (*process, message, error) {
	t.Helper()
	options, err := json.Marshal(l.options)
	if err != nil {
		return nil, message{}, err
	}
	argv, err := p.command(l.kind, t.TempDir())
	if err != nil {
		return nil, message{}, err
	}
	argv = append(argv, l.role, string(options))
	c := &process{
		label:   fmt.Sprintf("%s of %s", l.role, l.kind),
		cmd:     exec.Command(argv[0], argv[1:]...),
		ready:   make(chan ready, 1),
		done:    make(chan struct{}),
		onEvent: l.onEvent,
		pending: map[uint64]chan message{},
	}
	c.cmd.Env = append(l.env, "NO_COLOR=1", "PYTHONDONTWRITEBYTECODE=1", "SLIMBRIDGE_PEERS="+p.dir,
		"PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"), "TMPDIR="+os.TempDir())
	if err := c.run(); err != nil {
		return nil, message{}, err
	}
	t.Cleanup(func() {
		c.stop()
		if t.Failed() {
			lines := c.Log()
			t.Logf("end of the log of the %s:\n%s", c.label, strings.Join(lines[max(0, len(lines)-shownLog):], "\n"))
		}
	})
	if l.timeout == 0 {
		l.timeout = startTimeout
	}
	select {
	case r := <-c.ready:
		return c, r.message, r.err
	case <-time.After(l.timeout):
		return nil, message{}, fmt.Errorf("%s: not ready within %v", c.label, l.timeout)
	}
}

func (c *process) run() error {
	events, w, err := os.Pipe()
	if err != nil {
		return err
	}
	c.cmd.ExtraFiles = []*os.File{w} // file descriptor 3 of the child
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	ownGroup(c.cmd)
	c.cmd.WaitDelay = time.Second // for a grandchild that keeps the output open
	c.stdin, err = c.cmd.StdinPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	w.Close()
	if err != nil {
		events.Close()
		return err
	}
	go func() {
		c.read(events)
		events.Close()
		err := c.cmd.Wait()
		c.deliver(message{}, fmt.Errorf("%s: ended: %v", c.label, err))
		c.abandon()
		close(c.done)
	}()
	return nil
}

// read dispatches lines until the child closes its end.
func (c *process) read(events io.Reader) {
	in := bufio.NewReaderSize(events, 1<<16)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			c.deliver(message{}, fmt.Errorf("%s: bad line: %w", c.label, err))
			continue
		}
		switch {
		case m.ID != 0:
			c.reply(m)
		case m.Event == "ready":
			c.deliver(m, nil)
		case m.Event == "failed":
			c.deliver(message{}, fmt.Errorf("%s: %s", c.label, m.Error))
		default:
			c.onEvent(m)
		}
	}
}

// deliver reports the outcome of the start; only the first one counts.
func (c *process) deliver(m message, err error) {
	select {
	case c.ready <- ready{m, err}:
	default:
	}
}

func (c *process) reply(m message) {
	c.mu.Lock()
	ch := c.pending[m.ID]
	delete(c.pending, m.ID)
	c.mu.Unlock()
	if ch != nil {
		ch <- m // has room for its one reply
	}
}

// abandon fails all commands that wait, when the child is gone.
func (c *process) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, ch := range c.pending {
		ch <- message{Error: "the process ended"}
		delete(c.pending, id)
	}
	c.pending = nil
}

// call runs a command and unmarshals its result into result, unless that is nil.
func (c *process) call(ctx context.Context, cmd string, args map[string]any, result any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, commandTimeout)
		defer cancel()
	}
	id, ch, err := c.submit(cmd, args)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", c.label, cmd, err)
	}
	select {
	case m := <-ch:
		if m.Error != "" {
			return fmt.Errorf("%s: %s: %s", c.label, cmd, m.Error)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-ctx.Done():
		c.forget(id)
		return fmt.Errorf("%s: %s: %w", c.label, cmd, ctx.Err())
	}
}

func (c *process) submit(cmd string, args map[string]any) (uint64, <-chan message, error) {
	c.mu.Lock()
	if c.pending == nil {
		c.mu.Unlock()
		return 0, nil, errors.New("the process ended")
	}
	c.lastID++
	id := c.lastID
	ch := make(chan message, 1)
	c.pending[id] = ch
	c.mu.Unlock()

	line := map[string]any{"id": id, "cmd": cmd}
	maps.Copy(line, args)
	text, err := json.Marshal(line)
	if err == nil {
		err = c.write(append(text, '\n'))
	}
	if err != nil {
		c.forget(id)
	}
	return id, ch, err
}

// write does not hold mu: the child may have to write replies before it reads on.
func (c *process) write(line []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.stdin.Write(line)
	return err
}

func (c *process) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// stop closes standard input, which ends the script, and waits; a child that stays is killed with its process group.
func (c *process) stop() {
	c.stdin.Close()
	select {
	case <-c.done:
	case <-time.After(stopTimeout):
		c.kill()
	}
}

// kill ends the process group at once and waits.
func (c *process) kill() {
	// The group exists as long as its leader is not reaped, which happens before done is closed.
	select {
	case <-c.done:
	default:
		_ = killGroup(c.cmd)
	}
	<-c.done
}

// PID is the process id.
func (c *process) PID() int { return c.cmd.Process.Pid }

// Stop ends the process in order and waits for it. It may be called again.
func (c *process) Stop() { c.stop() }

// Kill ends the process without a goodbye (SIGKILL) and waits for it. It may be called again.
func (c *process) Kill() { c.kill() }

// Log returns the lines that the library and its runtime logged so far, on standard output and standard error.
func (c *process) Log() []string {
	return strings.Split(strings.TrimSuffix(c.log.String(), "\n"), "\n")
}

// Warnings returns the logged lines of level WARN and ERROR, without those that are known to be harmless.
func (c *process) Warnings() []string {
	var found []string
	for _, line := range c.Log() {
		if (strings.Contains(line, " WARN ") || strings.Contains(line, " ERROR ")) && !harmless(line) {
			found = append(found, line)
		}
	}
	return found
}

func harmless(line string) bool {
	return strings.Contains(line, "require_header_mac differs") || strings.Contains(line, "requested to delete unknown session")
}

// IdentityWarnings returns the warnings of the identity checks of core 3.4 (binding mode "warn" or "enforce"). Core 2.2 has none.
func (c *process) IdentityWarnings() []string {
	var found []string
	for _, line := range c.Warnings() {
		if strings.Contains(line, "identity") || strings.Contains(line, "isn't signed") || strings.Contains(line, "verification") {
			found = append(found, line)
		}
	}
	return found
}

// logBuffer keeps the first maxLog bytes written to it.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if room := maxLog - b.buf.Len(); room > 0 {
		b.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
