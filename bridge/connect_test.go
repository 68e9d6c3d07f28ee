package bridge_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge"
)

const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`

func TestBytesInAreBytesOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		ids := []string{"0", `""`, `"x"`, "1.0", "9007199254740993", "-9223372036854775808"}
		var p *peer
		for _, id := range ids {
			frame := `{ "method":"tools/call","params" : {"z":1e400,"a":"\u00e9é"},"id":` + id + `,"jsonrpc":"2.0","extra":[1.50]}`
			h.send(frame + "\r")
			if p == nil {
				p = h.peer()
			}
			p.want(frame)
			answer := `{"result":{"n":12345678901234567890,  "b":null},"id":` + id + `,"jsonrpc":"2.0"}`
			p.send(answer)
			h.want(answer)
		}
		p.send("{\n \"jsonrpc\":\"2.0\",\n \"method\":\"notifications/x\", \"params\":{\"n\":1.0} }\n")
		h.want(`{"jsonrpc":"2.0","method":"notifications/x","params":{"n":1.0}}`)
		if n := h.dialer.count(); n != 1 {
			t.Errorf("%d sessions for one host", n)
		}
	})
}

func TestSessionIsOpenedByTheFirstMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send("", "  ")
		time.Sleep(time.Hour)
		if h.dialer.count() != 0 {
			t.Error("opened a session for nobody")
		}
		_ = h.stdin.Close()
		h.end(nil)
	})
}

func TestEqualIDsInBothDirections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(request("1", "tools/call"))
		p := h.peer()
		p.want(request("1", "tools/call"))
		p.send(request("1", "sampling/createMessage"))
		h.want(request("1", "sampling/createMessage"))
		h.send(result("1"))
		p.want(result("1"))
		p.send(result("1"))
		h.want(result("1"))
		h.send(result("1"), result("77")) // nobody asked
		p.send(result("1"), result("78"))
		p.nothing()
		h.nothing()
	})
}

func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send("nonsense")
		h.wantError("null", mcp.CodeParse, "not valid JSON")
		h.send("\xff\xfe")
		h.wantError("null", mcp.CodeParse, "UTF-8")
		h.send("17")
		h.wantError("null", mcp.CodeInvalidRequest, "object")
		h.send("[]")
		h.wantError("null", mcp.CodeInvalidRequest, "object")
		h.send(request("null", "a"))
		h.wantError("null", mcp.CodeInvalidRequest, "id")
		h.send(`{"id":3,"method":"a"}`)
		h.wantError("3", mcp.CodeInvalidRequest, "jsonrpc")
		if h.dialer.count() != 0 {
			t.Error("opened a session for garbage")
		}
		h.send(request(`"a/b"`, "first"))
		p := h.peer()
		p.want(request(`"a/b"`, "first"))
		h.send(request(`"a\/b"`, "second"))
		h.wantError(`"a\/b"`, mcp.CodeInvalidRequest, "still running")
		p.send(result(`"a\/b"`)) // as PHP writes it
		h.want(result(`"a\/b"`))
		p.nothing()
	})
}

func TestGarbageOfThePeerIsNotForwarded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(request("1", "a"))
		p := h.peer()
		p.want(request("1", "a"))
		p.send("nonsense", "17", request("null", "x"), `{"level":"info"}`, `[{"jsonrpc":"2.0","method":"n"},`+result("1")+`]`)
		h.want(`{"jsonrpc":"2.0","method":"n"}`)
		h.want(result("1"))
		p.nothing()
	})
}

func TestBatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send("[" + request("1", "a") + `, {"jsonrpc":"2.0","method":"n"}, 5, ` + request("2", "b") + "]")
		p := h.peer()
		p.want(request("1", "a"))
		p.want(`{"jsonrpc":"2.0","method":"n"}`)
		p.want(request("2", "b"))
		p.send(result("2"))
		h.nothing()
		p.send(result("1"))
		h.want(`[{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"a message must be a JSON object"}},` + result("2") + "," + result("1") + "]")
		// nothing to answer, and one of two cancelled
		h.send(`[{"jsonrpc":"2.0","method":"n"}]`)
		p.want(`{"jsonrpc":"2.0","method":"n"}`)
		h.nothing()
		h.send("[" + request("3", "a") + "," + request("4", "b") + "]")
		p.want(request("3", "a"))
		p.want(request("4", "b"))
		p.send(result("4"))
		cancel := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}`
		h.send(cancel)
		p.want(cancel)
		h.want("[" + result("4") + "]")
	})
}

func TestDialFailureIsAnsweredPerRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.dialer.fail(errNoPeer)
		h.send(initialize)
		h.wantError("0", mcp.CodeInternal, "no SLIM app named org/mcp/server is reachable through http://127.0.0.1:46357")
		h.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
		time.Sleep(time.Minute)
		if n := h.dialer.count(); n != 1 {
			t.Errorf("%d dials without a request", n)
		}
		h.dialer.fail(nil)
		h.send(request("1", "a"))
		p := h.peer()
		p.want(request("1", "a"))
		p.send(result("1"))
		h.want(result("1"))
	})
}

func TestTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(request("7", "tools/call"))
		p := h.peer()
		p.want(request("7", "tools/call"))
		start := time.Now()
		h.wantError("7", mcp.CodeInternal, "no answer to tools/call within 1m0s")
		if d := time.Since(start); d != time.Minute {
			t.Errorf("after %v", d)
		}
		p.want(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"reason":"timeout"}}`)
		p.send(result("7")) // late
		h.nothing()
		h.send(initialize) // never cancelled
		p.want(initialize)
		h.wantError("0", mcp.CodeInternal, "no answer to initialize")
		h.send(`{"jsonrpc":"2.0","id":"s","method":"subscriptions/listen"}`)
		p.read()
		time.Sleep(time.Hour)
		h.nothing()
		p.nothing()
	})
}

func TestProgressResetsTheTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		frame := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"tok"}}}`
		h.send(frame)
		p := h.peer()
		p.want(frame)
		start := time.Now()
		go func() {
			for time.Since(start) < 11*time.Minute {
				time.Sleep(50 * time.Second)
				p.send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"tok","progress":1}}`)
			}
		}()
		for {
			if line := <-h.lines; strings.Contains(line, `"error"`) {
				break
			}
		}
		if d := time.Since(start); d != 10*time.Minute {
			t.Errorf("hard limit after %v", d)
		}
		time.Sleep(2 * time.Minute) // the sender ends
	})
}

func TestNoTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, func(c *bridge.ConnectConfig) { c.Timeout = bridge.NoTimeout })
		h.send(request("1", "a"))
		p := h.peer()
		p.want(request("1", "a"))
		time.Sleep(24 * time.Hour)
		p.send(result("1"))
		h.want(result("1"))
	})
}

func TestCancelRaces(t *testing.T) {
	cancel := func(id string) string {
		return `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `}}`
	}
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(request("1", "a"))
		p := h.peer()
		p.want(request("1", "a"))
		h.send(cancel("1")) // the cancellation wins
		p.want(cancel("1"))
		p.send(result("1"))
		h.nothing()
		h.send(request("2", "a"))
		p.want(request("2", "a"))
		p.send(result("2")) // the answer wins
		h.want(result("2"))
		h.send(cancel("2"), cancel("99"))
		p.nothing()
		h.send(initialize, cancel("0"))
		p.want(initialize)
		p.nothing()
		p.send(result("0"))
		h.want(result("0"))
		p.send(request("1", "roots/list"), cancel("1")) // the other direction
		h.want(request("1", "roots/list"))
		h.want(cancel("1"))
		h.send(result("1"))
		p.nothing()
		h.send(request("5", "subscriptions/listen")) // ended by the server
		p.want(request("5", "subscriptions/listen"))
		p.send(cancel("5"))
		h.want(cancel("5"))
		h.send(request("5", "a")) // the id is free again
		p.want(request("5", "a"))
	})
}

func TestPingOfThePeer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(initialize)
		p := h.peer()
		p.want(initialize)
		p.send(request("-8446744073709551617", "ping"))
		h.want(request("-8446744073709551617", "ping"))
		start := time.Now()
		p.want(`{"jsonrpc":"2.0","id":-8446744073709551617,"result":{}}`)
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("after %v", d)
		}
		h.send(result("-8446744073709551617")) // late
		p.nothing()
		p.send(request("2", "ping"))
		h.want(request("2", "ping"))
		h.send(result("2"))
		p.want(result("2"))
	})
}

func TestHostEndsInput(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(request("1", "a"), request("2", "subscriptions/listen"))
		p := h.peer()
		p.want(request("1", "a"))
		p.want(request("2", "subscriptions/listen"))
		p.send(request("1", "sampling/createMessage"))
		h.want(request("1", "sampling/createMessage"))
		_ = h.stdin.Close()
		if got := p.read(); !strings.Contains(got, "the other side has ended") {
			t.Errorf("peer got %s", got)
		}
		time.Sleep(time.Second)
		p.send(result("1"))
		h.want(result("1"))
		h.wantError("2", mcp.CodeInternal, "stopping")
		h.end(nil)
		if _, err := p.pipe.ReadFrame(t.Context()); err != io.EOF {
			t.Errorf("the session ended with %v", err)
		}
	})
}

func TestStopWaitsTwoSeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(request("1", "a"))
		h.peer().want(request("1", "a"))
		start := time.Now()
		h.cancel()
		h.wantError("1", mcp.CodeInternal, "stopping")
		h.end(nil)
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

func TestHostStopsReading(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(request("1", "a"))
		p := h.peer()
		p.want(request("1", "a"))
		_ = h.stdout.CloseWithError(errors.New("broken pipe"))
		p.send(result("1"))
		h.end(nil)
	})
}

func TestConnectConfig(t *testing.T) {
	if err := bridge.Connect(t.Context(), bridge.ConnectConfig{}); err == nil || strings.Count(err.Error(), "required") != 3 {
		t.Errorf("got %v", err)
	}
	for _, s := range []string{"auto", "legacy", "modern"} {
		if e, err := bridge.ParsePeerEra(s); err != nil || e.String() != s {
			t.Errorf("%s: %v, %v", s, e, err)
		}
	}
	if _, err := bridge.ParsePeerEra("old"); !errors.Is(err, bridge.ErrUnknownEra) {
		t.Errorf("got %v", err)
	}
}
