package bridge_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/bridge"
)

func TestSizes(t *testing.T) {
	fill := func(head string, size int) string { return head + strings.Repeat("x", size-len(head)-2) + `"}` }
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		largest := fill(`{"jsonrpc":"2.0","id":1,"method":"a","params":"`, mcp.MaxMessage)
		h.send(largest)
		p := h.peer()
		p.want(largest)
		p.send(result("1"))
		h.want(result("1"))
		h.send(fill(`{"jsonrpc":"2.0","id":2,"method":"a","params":"`, mcp.MaxMessage+1))
		h.wantError("2", mcp.CodeInternal, "message of 3600001 bytes exceeds the SLIM limit of 3600000 bytes")
		h.send(fill(`{"jsonrpc":"2.0","method":"a","params":"`, mcp.MaxMessage+1)) // notification
		h.send(fill(`"`, mcp.MaxMessage+1))
		h.wantError("null", mcp.CodeParse, "exceeds")
		p.send(request("9", "sampling/createMessage"))
		h.want(request("9", "sampling/createMessage"))
		h.send(fill(`{"jsonrpc":"2.0","id":9,"result":"`, mcp.MaxMessage+1))
		if got := p.read(); !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":9,"error":{"code":-32603`) {
			t.Errorf("peer got %.200s", got)
		}
		p.nothing()
	})
}

// A host that floods a peer which does not read is not read either.
func TestBackPressure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, func(c *bridge.ConnectConfig) { c.Timeout = bridge.NoTimeout })
		const total = 500
		sent := make(chan int, total)
		go func() {
			for i := range total {
				h.send(request(fmt.Sprint(i), "a"))
				sent <- i
			}
		}()
		p := h.peer()
		synctest.Wait()
		if n := len(sent); n < 128 || n > 140 { // both queues and what is in hand
			t.Errorf("%d messages were taken", n)
		}
		// a peer that answers one by one, before reading the next, is not stuck
		for i := range total {
			p.want(request(fmt.Sprint(i), "a"))
			p.send(result(fmt.Sprint(i)))
			h.want(result(fmt.Sprint(i)))
		}
	})
}

func TestTooManyRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(request("-1", "a"))
		p := h.peer()
		p.read()
		for i := range 1023 {
			h.send(request(fmt.Sprint(i), "a"))
			p.read()
		}
		h.send(request("1023", "a"))
		h.wantError("1023", mcp.CodeInternal, "too many requests")
	})
}
