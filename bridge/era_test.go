package bridge_test

import (
	"errors"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge"
)

func TestLostLegacySession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(initialize)
		p := h.peer()
		p.want(initialize)
		p.send(result("0"))
		h.want(result("0"))
		h.send(request("1", "a"), request("2", "b"))
		p.want(request("1", "a"))
		p.want(request("2", "b"))
		p.pipe.Lose(errors.New("peer gone"))
		h.wantError("1", mcp.CodeInternal, "SLIM session lost: peer gone")
		h.wantError("2", mcp.CodeInternal, "SLIM session lost: peer gone")
		h.end(bridge.ErrSessionLost)
	})
}

func TestLostModernSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(request("1", "tools/call"), request("2", "subscriptions/listen"))
		p := h.peer()
		p.want(request("1", "tools/call"))
		p.want(request("2", "subscriptions/listen"))
		h.dialer.fail(errNoPeer)
		_ = p.pipe.Close()
		h.wantError("1", mcp.CodeInternal, "the peer closed it")
		h.wantError("2", mcp.CodeInternal, "the peer closed it") // so the host issues it again
		time.Sleep(61 * time.Second)                             // 0.5 + 1 + 2 + 4 + 8 + 16 + 30
		if n := h.dialer.count(); n != 1+6 {
			t.Errorf("%d dials", n)
		}
		h.dialer.fail(nil)
		h.send(request("3", "tools/call")) // does not wait for the backoff
		q := h.peer()
		q.want(request("3", "tools/call"))
		q.send(result("3"))
		h.want(result("3"))
		q.pipe.Lose(nil)
		time.Sleep(500 * time.Millisecond)
		r := h.peer() // by itself
		h.send(request("4", "a"))
		r.want(request("4", "a"))
	})
}

const discover = `{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`

func TestProbe(t *testing.T) {
	auto := func(c *bridge.ConnectConfig) { c.Era = bridge.EraAuto }
	modern := map[string]string{
		"result":              `{"jsonrpc":"2.0","id":"d","result":{"supportedVersions":["2026-07-28"],"capabilities":{}}}`,
		"unsupported version": `{"jsonrpc":"2.0","id":"d","error":{"code":-32022,"message":"x","data":{"supported":[]}}}`,
	}
	for name, answer := range modern {
		t.Run("modern "+name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := connect(t, auto)
				h.send(discover)
				p := h.peer()
				p.want(discover)
				p.send(`{"jsonrpc":"2.0","method":"early"}`, answer)
				h.want(`{"jsonrpc":"2.0","method":"early"}`)
				h.want(answer)
				h.send(request("1", "a"))
				p.want(request("1", "a")) // the same session
			})
		})
	}
	legacy := map[string]func(*peer){
		"unknown method": func(p *peer) {
			p.send(`{"jsonrpc":"2.0","id":"d","error":{"code":-32601,"message":"server/discover? never heard of it"}}`)
		},
		"bad parameters": func(p *peer) { p.send(`{"jsonrpc":"2.0","id":"d","error":{"code":-32602,"message":"x"}}`) },
		"other result":   func(p *peer) { p.send(`{"jsonrpc":"2.0","id":"d","result":{"protocolVersion":"2025-11-25"}}`) },
		"session closed": func(p *peer) { _ = p.pipe.Close() },
		"silence":        func(*peer) {},
	}
	for name, behave := range legacy {
		t.Run("legacy "+name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := connect(t, auto)
				start := time.Now()
				h.send(discover)
				p := h.peer()
				p.want(discover)
				behave(p)
				h.wantError(`"d"`, mcp.CodeMethodNotFound, "server/discover")
				if d := time.Since(start); d > 3*time.Second {
					t.Errorf("took %v", d)
				}
				<-p.pipe.Done()
				h.send(initialize)
				h.peer().want(initialize) // the first message of a fresh session
				h.send(discover)
				h.wantError(`"d"`, mcp.CodeMethodNotFound, "server/discover")
			})
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			h := connect(t, auto)
			h.dialer.fail(errNoPeer)
			h.send(discover)
			h.wantError(`"d"`, mcp.CodeInternal, "no SLIM app named")
		})
	})
	t.Run("told legacy", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			h := connect(t, func(c *bridge.ConnectConfig) { c.Era = bridge.EraLegacy })
			h.send(discover)
			h.wantError(`"d"`, mcp.CodeMethodNotFound, "server/discover")
			if h.dialer.count() != 0 {
				t.Error("dialled")
			}
		})
	})
	t.Run("legacy host", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			h := connect(t, auto)
			h.send(initialize)
			p := h.peer()
			p.want(initialize)
			h.send(discover) // not the first message
			p.want(discover)
		})
	})
}
