package bridge_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge"
	"github.com/slimbridge/slimbridge/bridge/stdio"
	"github.com/slimbridge/slimbridge/integration/testnet"
	"github.com/slimbridge/slimbridge/session"
)

// Every frame pipe keeps the same contract, whatever carries it.
func TestFramePipeContract(t *testing.T) {
	pairs := map[string]func(t *testing.T) (a, b bridge.FramePipe){
		"stdio": func(*testing.T) (bridge.FramePipe, bridge.FramePipe) {
			r1, w1 := io.Pipe()
			r2, w2 := io.Pipe()
			return stdio.New(r1, w2, stdio.Options{}), stdio.New(r2, w1, stdio.Options{})
		},
		"child output": func(*testing.T) (bridge.FramePipe, bridge.FramePipe) {
			r1, w1 := io.Pipe()
			r2, w2 := io.Pipe()
			return stdio.New(r1, w2, stdio.Options{Assemble: true}), stdio.New(r2, w1, stdio.Options{Assemble: true})
		},
		"in memory": func(*testing.T) (bridge.FramePipe, bridge.FramePipe) {
			a, b := mcp.NewPipe(hostName, peerName)
			return a, b
		},
		"SLIM session": sessionPair,
	}
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) { testFramePipe(t, pair) })
	}
}

func sessionPair(t *testing.T) (a, b bridge.FramePipe) {
	nw := testnet.New(t, testnet.Options{})
	l, err := nw.App(peerName.Path(), nil).Listen(session.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a, err = mcp.NewDialer(nw.App(hostName.Path(), nil), mcp.DialOptions{}).Dial(t.Context(), peerName.Path())
	if err != nil {
		t.Fatal(err)
	}
	b, err = mcp.NewListener(l).Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func testFramePipe(t *testing.T, pair func(t *testing.T) (a, b bridge.FramePipe)) {
	run := func(name string, f func(t *testing.T, a, b bridge.FramePipe)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := pair(t)
				f(t, a, b)
				for range 2 { // repeatedly, from either end
					_, _ = a.Close(), b.Close()
				}
			})
		})
	}
	run("bytes and order are kept", func(t *testing.T, a, b bridge.FramePipe) {
		frames := []string{
			`{"id": 9007199254740993,"x":"\u00e9é"}`, `{}`, `{"a":"` + strings.Repeat("x", 200<<10) + `"}`,
			`{"a":"` + strings.Repeat("y", mcp.MaxMessage-8) + `"}`,
		}
		go func() {
			for _, f := range frames {
				_ = a.WriteFrame(t.Context(), []byte(f)) // a loss shows below
			}
		}()
		for i, want := range frames {
			got, err := b.ReadFrame(t.Context())
			if err != nil || !bytes.Equal(got, []byte(want)) {
				t.Fatalf("frame %d: got %d bytes %v, want %d", i, len(got), err, len(want))
			}
		}
	})
	run("both directions", func(t *testing.T, a, b bridge.FramePipe) {
		for _, ends := range [][2]bridge.FramePipe{{a, b}, {b, a}} {
			go func() { _ = ends[0].WriteFrame(t.Context(), []byte("{}")) }() // a loss shows below
			if got, err := ends[1].ReadFrame(t.Context()); err != nil || string(got) != "{}" {
				t.Fatalf("got %q, %v", got, err)
			}
		}
	})
	run("the end of ctx unblocks reading and costs no frame", func(t *testing.T, a, b bridge.FramePipe) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.ReadFrame(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		go func() { _ = a.WriteFrame(t.Context(), []byte("{}")) }() // a loss shows below
		if got, err := b.ReadFrame(t.Context()); err != nil || string(got) != "{}" {
			t.Fatalf("got %q, %v", got, err)
		}
	})
	run("Close unblocks reading at both ends", func(t *testing.T, a, b bridge.FramePipe) {
		ended := make(chan error, 2)
		for _, end := range []bridge.FramePipe{a, b} {
			go func() {
				_, err := end.ReadFrame(t.Context())
				ended <- err
			}()
		}
		synctest.Wait()
		_ = a.Close()
		for range 2 {
			if err := <-ended; err != io.EOF {
				t.Errorf("got %v", err)
			}
		}
	})
	run("writing after Close fails", func(t *testing.T, a, b bridge.FramePipe) {
		_ = a.Close()
		synctest.Wait()
		if err := a.WriteFrame(t.Context(), []byte("{}")); err == nil {
			t.Error("near end took a frame")
		}
		if err := b.WriteFrame(t.Context(), []byte("{}")); err == nil {
			t.Error("far end took a frame")
		}
	})
}
