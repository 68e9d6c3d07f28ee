package bridge_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/bridge"
)

// A person may take longer to answer than a request may: the request that asked
// waits for the answer, and then has its whole time again.
func TestPersonAnswersLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(initialize)
		p := h.peer()
		p.want(initialize)
		p.send(result("0"))
		h.want(result("0"))
		h.send(request("1", "tools/call"))
		p.want(request("1", "tools/call"))
		p.send(request("9", "elicitation/create"))
		h.want(request("9", "elicitation/create"))
		time.Sleep(5 * time.Minute)
		h.send(result("9"))
		p.want(result("9"))
		time.Sleep(50 * time.Second)
		p.send(result("1"))
		h.want(result("1"))
		h.nothing()
	})
}

// A host that repeats server/discover after nobody was there is probed for then.
func TestProbeAfterFailedDial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, func(c *bridge.ConnectConfig) { c.Era = bridge.EraAuto })
		h.dialer.fail(errNoPeer)
		h.send(discover)
		h.wantError(`"d"`, -32603, "no SLIM app named")
		h.dialer.fail(nil)
		h.send(discover)
		p := h.peer()
		p.want(discover) // and stays silent, as a legacy proxy does
		h.wantError(`"d"`, -32601, "server/discover")
		<-p.pipe.Done()
		h.send(initialize)
		h.peer().want(initialize)
	})
}

// A probe that outlives its request's time leaves nothing for the session that
// follows.
func TestProbeExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, func(c *bridge.ConnectConfig) { c.Era, c.Timeout = bridge.EraAuto, 2*time.Second })
		h.send(discover)
		p := h.peer()
		p.want(discover)
		h.wantError(`"d"`, -32603, "no answer")
		<-p.pipe.Done()
		h.send(initialize)
		h.peer().want(initialize)
	})
}

// What the peer said before it went reaches the host, also if the host's next
// message finds it gone.
func TestAnswersBeforeTheEndAreKept(t *testing.T) {
	for range 100 {
		h := connect(t, nil)
		h.send(request("1", "a"))
		p := h.peer()
		p.read()
		p.send(`{"jsonrpc":"2.0","method":"n1"}`, `{"jsonrpc":"2.0","method":"n2"}`, result("1"))
		_ = p.pipe.Close()
		h.send(`{"jsonrpc":"2.0","method":"notifications/x"}`)
		for line := range h.lines {
			if !strings.Contains(line, `"id":1`) {
				continue
			}
			if strings.Contains(line, "error") {
				t.Fatalf("a given answer was replaced by %s", line)
			}
			break
		}
		h.cancel()
	}
}

// A request that waits keeps its id, not its megabytes.
func TestPendingKeepsNoFrame(t *testing.T) {
	h := connect(t, func(c *bridge.ConnectConfig) { c.Timeout = bridge.NoTimeout })
	pad := strings.Repeat("x", 3_000_000)
	var p *peer
	const n = 30
	for i := range n {
		h.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"subscriptions/listen","params":{"p":"%s"}}`, i, pad))
		if p == nil {
			p = h.peer()
		}
		p.read()
	}
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if mb := m.HeapAlloc >> 20; mb > 2*n/3*3/2 {
		t.Errorf("%d MB of heap hold %d delivered requests of 3 MB", mb, n)
	}
}

func TestLongIDsAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := connect(t, nil)
		h.send(request(`"`+strings.Repeat("i", 2000)+`"`, "tools/list"))
		h.wantError("null", -32600, "1024")
	})
}
