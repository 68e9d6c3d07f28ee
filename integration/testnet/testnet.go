// Package testnet is an in-memory SLIM network for tests: one node of ours, any
// number of apps, and taps that drop, duplicate, delay or rewrite what passes
// the node. It runs inside a testing/synctest bubble as well as outside.
//
//	nw := testnet.New(t, testnet.Options{})
//	alice, bob := nw.App("org/ns/alice", nil), nw.App("org/ns/bob", nil)
//	nw.Tap(testnet.Drop(2, testnet.OfType(joinReply)))
//	s, err := alice.Open(ctx, bob.Name(), session.Options{})
//
// All methods are safe for concurrent use.
package testnet

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/slimnode"
	"github.com/slimbridge/slimbridge/slimnode/link/linktest"
	"github.com/slimbridge/slimbridge/slimnode/name"
	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Secret is the shared secret of all apps that are given no other.
const Secret = "testnet-shared-secret-0123456789abcdef"

// Endpoint is what apps dial; the address means nothing.
const Endpoint = "http://node:46357"

// A Tap sees every Publish that the node is about to queue and returns what is
// queued instead: itself, nothing, several, something else.
type Tap func(f *wire.Frame) []*wire.Frame

// Network is one node and its apps.
type Network struct {
	t        testing.TB
	opts     Options
	mu       sync.Mutex
	node     *slimnode.Node
	listener *linktest.Listener
	tap      Tap
}

// Options of a Network.
type Options struct {
	Logger zerolog.Logger
	// Node may alter the node's configuration.
	Node func(*slimnode.Config)
}

// New starts a node that listens in memory. It ends with the test, which may
// live for linktest.MaxLife.
func New(t testing.TB, o Options) *Network {
	t.Helper()
	nw := &Network{t: t, opts: o}
	linktest.Watchdog(t)
	nw.StartNode()
	t.Cleanup(nw.StopNode)
	return nw
}

// StartNode starts the node, as a new process would be.
func (nw *Network) StartNode() {
	nw.t.Helper()
	cfg := slimnode.Config{
		Logger: nw.opts.Logger,
		Tap:    func(_, _ slimnode.ConnID, f *wire.Frame) []*wire.Frame { return nw.onFrame(f) },
	}
	if nw.opts.Node != nil {
		nw.opts.Node(&cfg)
	}
	node, err := slimnode.New(cfg)
	if err != nil {
		nw.t.Fatal(err)
	}
	if err := node.Start(context.Background()); err != nil {
		nw.t.Fatal(err)
	}
	l := linktest.Listen()
	nw.mu.Lock()
	nw.node, nw.listener = node, l
	nw.mu.Unlock()
	go func() { _ = node.Serve(l) }() // ends with node.Close, which waits
}

// StopNode ends the node and all its links.
func (nw *Network) StopNode() {
	nw.mu.Lock()
	node, l := nw.node, nw.listener
	nw.node, nw.listener = nil, nil
	nw.mu.Unlock()
	if node != nil {
		_ = l.Close()
		_ = node.Close()
	}
}

// Node is the running node, nil between StopNode and StartNode.
func (nw *Network) Node() *slimnode.Node {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	return nw.node
}

// Dial connects to the node that is running now.
func (nw *Network) Dial(ctx context.Context, addr string) (net.Conn, error) {
	nw.mu.Lock()
	l := nw.listener
	nw.mu.Unlock()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "memory", Err: context.DeadlineExceeded}
	}
	return l.Dial(ctx, addr)
}

// Identity makes an identity from a secret.
func Identity(t testing.TB, secret, base string) *identity.SharedSecret {
	t.Helper()
	s, err := identity.NewSecret([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.NewSharedSecret(s, base)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// App connects an app; change may alter its configuration. It ends with the
// test.
func (nw *Network) App(path string, change func(*session.Config)) *session.App {
	nw.t.Helper()
	id := Identity(nw.t, Secret, path)
	cfg := session.Config{
		Name: name.MustParse(path), Identity: id, Verifier: id,
		Node: Endpoint, NetDial: nw.Dial, Logger: nw.opts.Logger,
	}
	if change != nil {
		change(&cfg)
	}
	app, err := session.Dial(context.Background(), cfg)
	if err != nil {
		nw.t.Fatal(err)
	}
	nw.t.Cleanup(func() { _ = app.Close() })
	return app
}

// Tap installs what happens to frames from now on; nil lets them pass.
func (nw *Network) Tap(tap Tap) {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	nw.tap = tap
}

func (nw *Network) onFrame(f *wire.Frame) []*wire.Frame {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	if nw.tap == nil {
		return nil
	}
	if out := nw.tap(f); out != nil {
		return out
	}
	return []*wire.Frame{}
}

// Pass is what a Tap returns to let f through.
func Pass(f *wire.Frame) []*wire.Frame { return []*wire.Frame{f} }

// Type is the session message type of a Publish.
func Type(f *wire.Frame) pb.SessionMessageType {
	m, err := f.Message()
	if err != nil {
		return 0
	}
	return m.GetPublish().GetSession().GetSessionMessageType()
}

// Drop loses the first n frames of a type.
func Drop(n int, typ pb.SessionMessageType) Tap {
	return func(f *wire.Frame) []*wire.Frame {
		if n > 0 && Type(f) == typ {
			n--
			return nil
		}
		return Pass(f)
	}
}

// Chaos drops, duplicates or holds back the given share of all frames; held
// frames follow some frames later. The seed makes it repeatable.
func Chaos(seed uint64, share float64) Tap {
	r := rand.New(rand.NewPCG(seed, 99))
	held := map[name.Key][]*wire.Frame{} // by target, so that none goes astray
	return func(f *wire.Frame) []*wire.Frame {
		to := f.Header().Destination.Key()
		out := held[to]
		delete(held, to)
		if r.Float64() >= share {
			return append(Pass(f), out...)
		}
		switch r.IntN(3) {
		case 0:
		case 1:
			out = append(out, f, f)
		default:
			held[to] = append(held[to], f)
		}
		return out
	}
}

// Rewrite changes the decoded message of frames for which change returns true.
func Rewrite(change func(m *pb.Message) bool) Tap {
	return func(f *wire.Frame) []*wire.Frame {
		m, err := f.Message()
		if err != nil || !change(m) {
			return Pass(f)
		}
		g, err := wire.Encode(m)
		if err != nil {
			return nil
		}
		return Pass(g)
	}
}

// Wait is a deadline for a test that runs in real time.
const Wait = 20 * time.Second
