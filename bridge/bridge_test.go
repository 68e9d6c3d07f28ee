package bridge_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge"
	"github.com/slimbridge/slimbridge/bridge/stdio"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

var (
	hostName = name.MustParse("org/mcp/host")
	peerName = name.MustParse("org/mcp/server")
)

var errNoPeer = errors.New("no SLIM app named org/mcp/server is reachable through http://127.0.0.1:46357")

// fakeDialer yields in-memory sessions and hands their far ends to the test.
type fakeDialer struct {
	mu    sync.Mutex
	err   error // what Dial returns instead
	dials int
	far   chan *mcp.Pipe
}

func (d *fakeDialer) Dial(context.Context, string) (mcp.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dials++
	if d.err != nil {
		return nil, d.err
	}
	near, far := mcp.NewPipe(hostName, peerName)
	d.far <- far
	return near, nil
}

func (d *fakeDialer) fail(err error) {
	d.mu.Lock()
	d.err = err
	d.mu.Unlock()
}

func (d *fakeDialer) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dials
}

// host is an MCP host on the standard input and output of Connect.
type host struct {
	t      *testing.T
	stdin  *io.PipeWriter
	stdout *io.PipeReader
	lines  chan string
	dialer *fakeDialer
	result chan error
	cancel context.CancelFunc
}

func connect(t *testing.T, change func(*bridge.ConnectConfig)) *host {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	h := &host{t: t, stdin: inW, stdout: outR, lines: make(chan string, 10_000), result: make(chan error, 1),
		dialer: &fakeDialer{far: make(chan *mcp.Pipe, 100)}}
	c := bridge.ConnectConfig{
		Front:  stdio.New(inR, outW, stdio.Options{}),
		Dialer: h.dialer, Peer: peerName.Path(), Node: "http://127.0.0.1:46357", Era: bridge.EraModern,
	}
	if change != nil {
		change(&c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() { h.result <- bridge.Connect(ctx, c) }()
	go func() {
		defer close(h.lines)
		in := bufio.NewReader(outR)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			h.lines <- strings.TrimSuffix(line, "\n")
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = inW.Close()
		for range h.lines { // closed when Connect has ended
		}
	})
	return h
}

func (h *host) send(frames ...string) {
	h.t.Helper()
	for _, f := range frames {
		if _, err := io.WriteString(h.stdin, f+"\n"); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *host) want(frame string) {
	h.t.Helper()
	select {
	case got, ok := <-h.lines:
		if !ok {
			h.t.Fatalf("the bridge ended, want %s", frame)
		}
		if got != frame {
			h.t.Errorf("host got  %.300s\nhost want %.300s", got, frame)
		}
	case <-time.After(time.Hour):
		h.t.Fatalf("nothing came, want %s", frame)
	}
}

// wantError expects an error response that contains text.
func (h *host) wantError(id string, code int, text string) {
	h.t.Helper()
	select {
	case got := <-h.lines:
		prefix := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":"`, id, code)
		if !strings.HasPrefix(got, prefix) || !strings.Contains(got, text) {
			h.t.Errorf("host got  %s\nwant %s ... %s", got, prefix, text)
		}
	case <-time.After(time.Hour):
		h.t.Fatalf("nothing came, want error for %s", id)
	}
}

// nothing checks that the host is not told anything.
func (h *host) nothing() {
	h.t.Helper()
	synctest.Wait()
	select {
	case got := <-h.lines:
		h.t.Errorf("host got %s", got)
	default:
	}
}

func (h *host) end(want error) {
	h.t.Helper()
	if err := <-h.result; !errors.Is(err, want) {
		h.t.Errorf("Connect returned %v, want %v", err, want)
	}
}

// peer is the app at the far end of a session.
type peer struct {
	t    *testing.T
	pipe *mcp.Pipe
}

func (h *host) peer() *peer {
	h.t.Helper()
	select {
	case p := <-h.dialer.far:
		return &peer{h.t, p}
	case <-time.After(time.Hour):
		h.t.Fatal("no session was opened")
		return nil
	}
}

func (p *peer) want(frame string) {
	p.t.Helper()
	if got := p.read(); got != frame {
		p.t.Errorf("peer got  %.300s\npeer want %.300s", got, frame)
	}
}

func (p *peer) read() string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Hour)
	defer cancel()
	got, err := p.pipe.ReadFrame(ctx)
	if err != nil {
		p.t.Fatalf("peer: %v", err)
	}
	return string(got)
}

func (p *peer) send(frames ...string) {
	p.t.Helper()
	for _, f := range frames {
		if err := p.pipe.WriteFrame(p.t.Context(), []byte(f)); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *peer) nothing() {
	p.t.Helper()
	synctest.Wait()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Nanosecond)
	defer cancel()
	if got, err := p.pipe.ReadFrame(ctx); err == nil {
		p.t.Errorf("peer got %s", got)
	}
}

func request(id, method string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `"}`
}

func result(id string) string { return `{"jsonrpc":"2.0","id":` + id + `,"result":{"ok":true}}` }

// bubble runs a test in fake time; a goroutine left over fails it.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestMain(m *testing.M) {
	if runAsChild() {
		return
	}
	goleak.VerifyTestMain(m)
}
