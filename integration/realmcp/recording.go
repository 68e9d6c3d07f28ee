package realmcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

const (
	toServerSuffix = ".to-server"
	toClientSuffix = ".to-client"
)

// Recording is what passed one tap in one run of its command: lines without their newline, in order. An unfinished last line counts.
type Recording struct {
	ToServer [][]byte
	ToClient [][]byte
}

// Recordings reads all recordings of a directory, in the order in which they began.
func Recordings(dir string) ([]Recording, error) {
	starts, err := filepath.Glob(filepath.Join(dir, "*"+toServerSuffix))
	if err != nil {
		return nil, err
	}
	sort.Strings(starts)
	var all []Recording
	for _, toServer := range starts {
		in, err := os.ReadFile(toServer)
		if err != nil {
			return nil, err
		}
		out, err := os.ReadFile(strings.TrimSuffix(toServer, toServerSuffix) + toClientSuffix)
		if err != nil {
			return nil, err
		}
		all = append(all, Recording{ToServer: lines(in), ToClient: lines(out)})
	}
	return all, nil
}

func lines(b []byte) [][]byte {
	if b = bytes.TrimSuffix(b, []byte("\n")); len(b) == 0 {
		return nil
	}
	return bytes.Split(b, []byte("\n"))
}

// Difference is a frame on which two recordings disagree.
type Difference struct {
	Direction string // "to server" or "to client"
	Kind      string // "missing" in b, "extra" in b, "changed", "reordered"
	Frame     string // which one: "request 3 tools/call", "response 3", "notification notifications/progress", ...
	A, B      []byte // the frames; nil if there is none
}

func (d Difference) String() string {
	at := 0
	for at < len(d.A) && at < len(d.B) && d.A[at] == d.B[at] {
		at++
	}
	return fmt.Sprintf("%s: %s %s: differs from byte %d: %q and %q", d.Direction, d.Frame, d.Kind, at, excerpt(d.A, at), excerpt(d.B, at))
}

// excerpt shows the surroundings of byte at.
func excerpt(b []byte, at int) []byte {
	return b[min(len(b), max(0, at-20)):min(len(b), at+80)]
}

// CompareTaps compares two taps of one run, such as those on both sides of a bridge: every frame must have passed both, once, in the
// same order and with the same bytes, in each direction.
func CompareTaps(a, b Recording) []Difference {
	exact := func(frame []byte) []byte { return frame }
	diffs := compare("to server", a.ToServer, b.ToServer, exact)
	diffs = append(diffs, compare("to client", a.ToClient, b.ToClient, exact)...)
	return append(diffs, append(reordered("to server", a.ToServer, b.ToServer), reordered("to client", a.ToClient, b.ToClient)...)...)
}

// volatile is what the reference server makes up anew in each run: the time of day in dynamic resources.
var volatile = regexp.MustCompile(`created at \d+:\d+:\d+ [AP]M`)

// CompareRuns compares two runs of one scenario, such as a direct one and one through a bridge. Frames are paired by direction, method
// and id, and must be equal but for the time of day in dynamic resources. The order of independent frames is not compared. Clients
// that number concurrent requests at random (both Go SDKs in "100 calls in parallel") cannot be compared in this way.
func CompareRuns(a, b Recording) []Difference {
	steady := func(frame []byte) []byte { return volatile.ReplaceAll(frame, []byte("created at TIME")) }
	return append(compare("to server", a.ToServer, b.ToServer, steady), compare("to client", a.ToClient, b.ToClient, steady)...)
}

// compare pairs frames by name and reports those without a partner or with another content.
func compare(direction string, a, b [][]byte, normal func([]byte) []byte) []Difference {
	namesA, namesB := frameNames(a), frameNames(b)
	inB := map[string][]byte{}
	for i, name := range namesB {
		inB[name] = b[i]
	}
	var diffs []Difference
	for i, name := range namesA {
		partner, ok := inB[name]
		delete(inB, name)
		switch {
		case !ok:
			diffs = append(diffs, Difference{Direction: direction, Kind: "missing", Frame: name, A: a[i]})
		case !bytes.Equal(normal(a[i]), normal(partner)):
			diffs = append(diffs, Difference{Direction: direction, Kind: "changed", Frame: name, A: a[i], B: partner})
		}
	}
	for i, name := range namesB {
		if _, left := inB[name]; left {
			diffs = append(diffs, Difference{Direction: direction, Kind: "extra", Frame: name, B: b[i]})
		}
	}
	return diffs
}

// reordered reports the first frame that is not at the same place among the frames that both have.
func reordered(direction string, a, b [][]byte) []Difference {
	namesA, namesB := frameNames(a), frameNames(b)
	commonA, commonB := common(namesA, namesB), common(namesB, namesA)
	for i, at := range commonA {
		if namesA[at] != namesB[commonB[i]] {
			return []Difference{{Direction: direction, Kind: "reordered", Frame: namesA[at], A: a[at], B: b[commonB[i]]}}
		}
	}
	return nil
}

// common returns the places of those names that others has too.
func common(names, others []string) []int {
	has := map[string]bool{}
	for _, name := range others {
		has[name] = true
	}
	var places []int
	for i, name := range names {
		if has[name] {
			places = append(places, i)
		}
	}
	return places
}

// frameNames gives every frame a name that is unique in its list: kind, raw id, method, and a number for repetitions.
func frameNames(frames [][]byte) []string {
	names := make([]string, len(frames))
	count := map[string]int{}
	for i, frame := range frames {
		name := frameName(frame)
		count[name]++
		if n := count[name]; n > 1 {
			name = fmt.Sprintf("%s #%d", name, n)
		}
		names[i] = name
	}
	return names
}

func frameName(frame []byte) string {
	var f struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			Token json.RawMessage `json:"progressToken"`
		} `json:"params"`
	}
	switch err := json.Unmarshal(frame, &f); {
	case err != nil:
		return "line that is no JSON-RPC message"
	case f.Method == "":
		return fmt.Sprintf("response %s", f.ID)
	case f.ID != nil:
		return fmt.Sprintf("request %s %s", f.ID, f.Method)
	case f.Params.Token != nil:
		return fmt.Sprintf("notification %s %s", f.Method, f.Params.Token)
	}
	return "notification " + f.Method
}
