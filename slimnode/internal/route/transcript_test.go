package route

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// TestTranscripts runs testdata/table.txt: a command in, the exact result
// after "=>". A line "# title" starts a new table and names it.
func TestTranscripts(t *testing.T) {
	f, err := os.Open("testdata/table.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var tab *Table
	lines, title := bufio.NewScanner(f), ""
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if s, ok := strings.CutPrefix(line, "# "); ok {
			tab, title = New(Limits{}), s
			continue
		}
		if line == "" || strings.HasPrefix(line, "//") {
			continue
		}
		cmd, want, _ := strings.Cut(line, " => ")
		if got := run(t, tab, strings.Fields(cmd)); got != want {
			t.Errorf("line %d (%s): %s\n got %s\nwant %s", n, title, cmd, got, want)
		}
	}
	if lines.Err() != nil || title == "" {
		t.Fatalf("read transcripts: %v", lines.Err())
	}
}

func run(t *testing.T, tab *Table, w []string) string {
	t.Helper()
	num := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%v: %v", w, err)
		}
		return n
	}
	key := func(s string) name.Key {
		app, id, specific := strings.Cut(s, "#")
		n := name.New("org", "ns", app)
		if specific {
			n.ID = name.ID{Lo: num(id)}
		}
		return n.Key()
	}
	result := func(err error) string {
		if err != nil {
			return err.Error()
		}
		return "ok"
	}
	c := ConnID(0)
	if len(w) > 1 {
		c = ConnID(num(w[1]))
	}
	switch w[0] {
	case "conn":
		tab.AddConn(c, map[string]LinkType{"local": Local, "remote": Remote, "peer": Peer, "edge": Edge}[w[2]])
		return "ok"
	case "sub":
		return result(tab.Subscribe(c, SubscriptionID(num(w[2])), key(w[3])))
	case "unsub":
		return result(tab.Unsubscribe(c, SubscriptionID(num(w[2])), key(w[3])))
	case "drop":
		return fmt.Sprint(tab.DropConn(c))
	case "one": // from conn, destination
		if to, ok := tab.MatchOne(key(w[2]), c); ok {
			return fmt.Sprint(to)
		}
		return "none"
	case "all":
		return fmt.Sprint(tab.MatchAll(key(w[2]), c, nil))
	case "size":
		return fmt.Sprintf("%d subscriptions, %d names, %d prefixes", tab.Len(), tab.Names(), len(tab.entries))
	}
	t.Fatalf("unknown command %v", w)
	return ""
}
