package slimnode

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/link"
	"github.com/slimbridge/slimbridge/slimnode/link/linktest"
)

func TestStart(t *testing.T) {
	n, err := New(Config{Listeners: []Listener{{Endpoint: "127.0.0.1:0"}, {Endpoint: "ws://0.0.0.0:0/slim"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ends := n.Endpoints()
	if len(ends) != 2 || len(n.Addrs()) != 2 || !strings.HasPrefix(ends[0], "http://127.0.0.1:") ||
		!strings.HasPrefix(ends[1], "ws://127.0.0.1:") || !strings.HasSuffix(ends[1], "/slim") {
		t.Fatalf("endpoints %v", ends)
	}
	for _, e := range ends {
		c, err := link.Dial(t.Context(), e, link.DialConfig{})
		if err != nil {
			t.Fatalf("%s: %v", e, err)
		}
		if c.PeerNodeID() != n.cfg.NodeID || !strings.HasPrefix(c.PeerNodeID(), "node-") || !c.Secured() {
			t.Errorf("%s: node %q, secured %v", e, c.PeerNodeID(), c.Secured())
		}
		c.Close()
	}
	if err := n.Start(t.Context()); err == nil {
		t.Error("started twice")
	}

	addr := n.Addrs()[0].String()
	free := freePort(t)
	second, err := New(Config{Listeners: []Listener{{Endpoint: free}, {Endpoint: addr}}})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	err = second.Start(t.Context())
	if want := addr + " is already in use"; !errors.Is(err, syscall.EADDRINUSE) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	l, err := net.Listen("tcp", free) // the first was released
	if err != nil {
		t.Error(err)
	} else {
		l.Close()
	}

	n.Close()
	n.Close()
	if err := n.Start(t.Context()); !errors.Is(err, ErrClosed) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Start after Close: %v", err)
	}
	if err := n.Serve(linktest.Listen()); !errors.Is(err, ErrClosed) {
		t.Errorf("Serve after Close: %v", err)
	}
	if err := second.Start(t.Context()); err != nil {
		t.Errorf("the port is not free after Close: %v", err)
	}
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestStartWithDeadContext(t *testing.T) {
	n, err := New(Config{Listeners: []Listener{{Endpoint: "127.0.0.1:0"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Start(ctx); err == nil {
		t.Error("started")
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
		want string // part of the error; "" is valid
	}{
		{"zero", Config{}, ""},
		{"all forms", Config{
			Listeners: []Listener{{Endpoint: "localhost:1"}, {Endpoint: "[::]:0"}, {Endpoint: ":46357"}, {Endpoint: "ws://h:1"}},
			Clients:   []Client{{Endpoint: "http://h:1"}, {Endpoint: "http://h:1/"}, {Endpoint: "ws://h:1/p"}},
		}, ""},
		{"no port", Config{Listeners: []Listener{{Endpoint: "127.0.0.1"}}}, `listener 1: endpoint "127.0.0.1": want host:port`},
		{"bad port", Config{Listeners: []Listener{{Endpoint: "h:070000"}}}, `port "070000" is not a number`},
		{"newline", Config{Listeners: []Listener{{Endpoint: "h:1\n"}}}, "white space or a line break"},
		{"scheme of a listener", Config{Listeners: []Listener{{Endpoint: "http://h:1"}}}, `a listener is written without scheme: "h:1"`},
		{"tls listener", Config{Listeners: []Listener{{Endpoint: "wss://h:1"}}}, "without TLS only"},
		{"unix listener", Config{Listeners: []Listener{{Endpoint: "unix:///s"}}}, `scheme "unix" is not supported`},
		{"query", Config{Listeners: []Listener{{Endpoint: "ws://h:1/p?q"}}}, "want ws://host:port/path"},
		{"negative timeout", Config{Listeners: []Listener{{Endpoint: "h:1", NegotiationTimeout: -1}}}, "is negative"},
		{"bare client", Config{Clients: []Client{{Endpoint: "h:1"}}}, `client 1: endpoint "h:1": a client needs a scheme, such as http://h:1`},
		{"tls client", Config{Clients: []Client{{Endpoint: "https://h:1"}}}, `scheme "https" is not supported`},
		{"path", Config{Clients: []Client{{Endpoint: "http://h:1/p"}}}, "a gRPC endpoint has no path"},
		{"link id", Config{Clients: []Client{{Endpoint: "http://h:1", LinkID: strings.Repeat("x", 1025)}}}, "more than 1024 bytes"},
		{"negative", Config{MaxConns: -1}, "MaxConns is negative"},
		{"all faults", Config{StuckTimeout: -1, Clients: []Client{{Endpoint: "h:1"}}}, "such as http://h:1\nStuckTimeout is negative"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New(tc.cfg)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// A node dials another as an EDGE link, keeps trying, and forwards between
// what is behind the two.
func TestClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := linktest.Listen()
		inner := newHarness(t, Config{NodeID: "inner", RequirePQC: true, Clients: []Client{{Endpoint: "http://outer:1", LinkID: "up", NetDial: wire.Dial}}})
		defer inner.close()
		if err := inner.node.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second) // nobody there yet

		outer := newHarness(t, Config{NodeID: "outer"})
		defer outer.close()
		outer.served.Go(func() {
			if err := outer.node.Serve(wire); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(10 * time.Second)
		ups := outer.node.snapshot()
		if len(ups) != 1 || ups[0].link.PeerNodeID() != "inner" || ups[0].link.LinkID() != "up" || !ups[0].link.Hybrid() {
			t.Fatalf("%d links up", len(ups))
		}
		ups[0].link.Close()
		time.Sleep(10 * time.Second)
		ups = outer.node.snapshot()
		if len(ups) != 1 || ups[0].id != 2 {
			t.Fatal("not dialled again under a new number")
		}
		// The upper node has no way to learn routes over an EDGE link; messages
		// that it is told to send there are forwarded by the lower one.
		b, err := link.Dial(t.Context(), "http://inner:1", link.DialConfig{Config: link.Config{PQC: true}, NetDial: inner.grpc.Dial})
		if err != nil {
			t.Fatal(err)
		}
		app := (&app{t: t, link: b}).listen()
		defer app.close()
		app.subscribe(1, bob1)
		if err := ups[0].link.Send(t.Context(), publish(bob1)); err != nil {
			t.Fatal(err)
		}
		wantCounts(t, "through the dialled link", []int{1}, app)
	})
}
