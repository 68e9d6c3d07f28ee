package integration

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
)

const (
	castMembers  = 9
	castRounds   = 5   // groups per kind; figures are medians of them
	castMessages = 300 // of a stream at full speed
	castSingles  = 50  // of those sent one at a time
	// castWindow is how many messages a stream at full speed sends before all have
	// acknowledged the first. SLIM 2.2 and 3.4 get slower with more.
	castWindow = 32
)

// A caster is an application in a process of its own, ours or a real one.
type caster interface {
	create(ctx context.Context, channel string) (castEnd, error)
	// entered is the next group that it was invited to.
	entered(ctx context.Context) (castEnd, error)
	PID() int
}

// A castEnd is its end of one group with MLS.
type castEnd interface {
	invite(ctx context.Context, path string) error
	close(ctx context.Context) error
	closed(ctx context.Context) error
	Stream(ctx context.Context, l realslim.Load) (began float64, err error)
	Collect(ctx context.Context, l realslim.Load) (realslim.Collected, error)
}

// realCaster is a genuine application.
type realCaster struct{ realGuest }

func (r realCaster) create(ctx context.Context, channel string) (castEnd, error) {
	return endOf(r.createGroup(ctx, channel, true))
}

func (r realCaster) entered(ctx context.Context) (castEnd, error) {
	return endOf(r.realGuest.entered(ctx))
}

func endOf(end groupEnd, err error) (castEnd, error) {
	if err != nil {
		return nil, err
	}
	return end.(realEnd), nil
}

// cast is what one kind of library was measured to do.
type cast map[castFigure][]float64

// castFigure is one line of the table.
type castFigure struct {
	name, unit string
	size       int // of the messages of a rate; 0: a time, of which less is better
	format     string
}

var (
	setUp   = castFigure{name: "set-up of the group", unit: "setup-ms", format: "%.0f ms"}
	latency = castFigure{name: "one message of 256 B, publish to last receive", unit: "last-ms", format: "%.1f ms"}
	// figures are the lines of the table.
	figures = []castFigure{setUp, latency, rateOf(256), rateOf(1024), cpuOf(256), cpuOf(1024)}
)

func rateOf(size int) castFigure {
	return castFigure{name: fmt.Sprintf("1 to 8, %d B each", size), unit: fmt.Sprintf("%dB-msgs/s", size), size: size, format: "%.0f/s"}
}

// cpuOf is what all nine processes together take. Unlike a rate it hardly depends on
// what else the machine does.
func cpuOf(size int) castFigure {
	return castFigure{name: fmt.Sprintf("CPU of all nine for each, %d B", size), unit: fmt.Sprintf("%dB-cpu-ms/msg", size), format: "%.2f ms"}
}

func (c cast) add(f castFigure, v float64) { c[f] = append(c[f], v) }

func (c cast) median(f castFigure) float64 {
	v := slices.Sorted(slices.Values(c[f]))
	return v[len(v)/2]
}

// BenchmarkGroupOf9 sets up groups of nine members with MLS, and lets the first
// send to the other eight, for ours, SLIM 2.2 and SLIM 3.4 in turns, over one node
// of ours in a process of its own. Every member is a process of its own, too, as
// agents are; theirs in the languages that the library exists for, through its
// asynchronous calls. Set-up is from the creation of the group until all eight are
// in and know it; a rate is that of the last of the eight.
//
// Others on the machine change the figures, so that ratios are only good within one
// run; those of CPU time are the steadiest.
func BenchmarkGroupOf9(b *testing.B) {
	p := realslim.Require(b)
	node := "http://" + freePort(b)
	start(b, []string{"HOME=" + b.TempDir()}, "listening", "node", "--listen", strings.TrimPrefix(node, "http://"))
	compareCasts(b, p, castRounds, func(realslim.Kind) string { return node })
}

// BenchmarkGroupOverOwnNode is the same with each kind over a node of its kind.
func BenchmarkGroupOverOwnNode(b *testing.B) {
	p := realslim.Require(b)
	compareCasts(b, p, 1, func(k realslim.Kind) string {
		if k != ours {
			return p.StartNode(b, k, realslim.NodeOptions{Strict: true}).Endpoint
		}
		address := freePort(b)
		start(b, []string{"HOME=" + b.TempDir()}, "listening", "node", "--listen", address)
		return "http://" + address
	})
}

// compareCasts takes the kinds in turns, so that what else the machine does meets
// all of them.
func compareCasts(b *testing.B, p realslim.Peers, rounds int, node func(realslim.Kind) string) {
	b.Helper()
	kinds := []realslim.Kind{ours, realslim.Core22, realslim.Core34}
	apps, results := make([][]caster, len(kinds)), map[realslim.Kind]cast{}
	for i, k := range kinds {
		apps[i] = startCasters(b, p, k, node(k), fmt.Sprintf("org/kind%d", i))
		results[k] = cast{}
	}
	for round := range rounds {
		for i, k := range kinds {
			if err := measureCast(b.Context(), apps[i], fmt.Sprintf("org/kind%d", i), round, results[k]); err != nil {
				b.Fatalf("%s: %v", k, err)
			}
		}
	}
	known := slices.DeleteFunc(slices.Clone(figures), func(f castFigure) bool { return results[ours].median(f) == 0 })
	for _, k := range kinds {
		b.Run(strings.ReplaceAll(string(k), " ", "-"), func(b *testing.B) {
			b.ReportMetric(0, "ns/op") // means nothing here
			for _, f := range known {
				b.ReportMetric(results[k].median(f), f.unit)
				if k != ours {
					b.ReportMetric(timesBetter(f, results[ours], results[k]), "x-"+f.unit)
				}
			}
		})
	}
	// What a benchmark with parts logs is not shown.
	fmt.Printf("%s, nine processes per kind, medians of %d; in brackets, how many times as good ours is\n%s", b.Name(), rounds, castTable(kinds, known, results))
}

// timesBetter is how many times as good ours is.
func timesBetter(f castFigure, ours, theirs cast) float64 {
	if f.size == 0 {
		return theirs.median(f) / ours.median(f)
	}
	return ours.median(f) / theirs.median(f)
}

func castTable(kinds []realslim.Kind, figures []castFigure, results map[realslim.Kind]cast) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, k := range kinds {
		fmt.Fprintf(w, "\t%s", k)
	}
	fmt.Fprintln(w)
	for _, f := range figures {
		fmt.Fprint(w, f.name)
		for _, k := range kinds {
			v := results[k].median(f)
			fmt.Fprintf(w, "\t"+f.format, v)
			if f.size > 0 {
				fmt.Fprintf(w, ", %.2f MB/s", v*float64(f.size)/1e6)
			}
			if k != ours {
				fmt.Fprintf(w, " (%.1f)", timesBetter(f, results[ours], results[k]))
			}
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // to memory
	return text.String()
}

// startCasters starts the nine applications of one kind, namespace/m0 to m8.
func startCasters(b *testing.B, p realslim.Peers, k realslim.Kind, endpoint, namespace string) []caster {
	b.Helper()
	apps, errs := make([]caster, castMembers), make([]error, castMembers)
	var wg sync.WaitGroup
	for i := range apps {
		wg.Go(func() {
			path := fmt.Sprintf("%s/m%d", namespace, i)
			if k == ours {
				apps[i], errs[i] = startRemote(b, endpoint, path)
				return
			}
			app, err := p.TryApp(b, k, realslim.AppOptions{
				Endpoint: endpoint, Name: path, Strict: true, Accept: realslim.Drive, StartTimeout: patience, LogLevel: "error",
			})
			apps[i], errs[i] = realCaster{realGuest{app, k}}, err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	return apps
}

// measureCast is one group of a kind, from its creation to its end.
func measureCast(ctx context.Context, apps []caster, namespace string, round int, c cast) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	ends := make([]castEnd, len(apps))
	var err error
	start := time.Now()
	if ends[0], err = apps[0].create(ctx, fmt.Sprintf("%s/channel%d", namespace, round)); err != nil {
		return err
	}
	for i := 1; i < len(apps); i++ {
		if err := ends[0].invite(ctx, fmt.Sprintf("%s/m%d", namespace, i)); err != nil {
			return err
		}
	}
	for i := 1; i < len(apps); i++ {
		if ends[i], err = apps[i].entered(ctx); err != nil {
			return err
		}
	}
	c.add(setUp, float64(time.Since(start).Microseconds())/1000)
	for _, l := range []realslim.Load{
		{Count: 100, Size: 256, Window: castWindow}, // to warm up
		{Count: castSingles, Size: 256, Window: 1},
		{Count: castMessages, Size: 256, Window: castWindow},
		{Count: castMessages, Size: 1024, Window: castWindow},
	} {
		before := cpuTime(apps)
		if err := streamCast(ctx, ends, l, c); err != nil {
			return err
		}
		if l.Count == castMessages {
			c.add(cpuOf(l.Size), float64(cpuTime(apps)-before)/float64(time.Millisecond)/float64(l.Count))
		}
	}
	if err := ends[0].close(ctx); err != nil {
		return err
	}
	for _, e := range ends[1:] {
		if err := e.closed(ctx); err != nil {
			return err
		}
	}
	return nil
}

// cpuTime is what the processes have used so far; it is only known on Linux.
func cpuTime(apps []caster) (sum time.Duration) {
	for _, a := range apps {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", a.PID()))
		_, rest, _ := bytes.Cut(stat, []byte(") ")) // from the state on: see proc_pid_stat(5)
		if fields := strings.Fields(string(rest)); len(fields) > 12 {
			user, _ := strconv.Atoi(fields[11])
			system, _ := strconv.Atoi(fields[12])
			sum += time.Duration(user+system) * time.Second / 100 // USER_HZ
		}
	}
	return sum
}

// streamCast sends from the first to all others.
func streamCast(ctx context.Context, ends []castEnd, l realslim.Load, c cast) error {
	got, errs := make([]realslim.Collected, len(ends)), make([]error, len(ends))
	var began float64
	var wg sync.WaitGroup
	wg.Go(func() { began, errs[0] = ends[0].Stream(ctx, l) })
	for i, e := range ends[1:] {
		wg.Go(func() { got[i+1], errs[i+1] = e.Collect(ctx, l) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	last := slices.MaxFunc(got, func(a, b realslim.Collected) int { return cmp.Compare(a.Ended, b.Ended) })
	switch l.Count {
	case castSingles:
		ages := make([]float64, l.Count)
		for i := range ages {
			for _, g := range got[1:] {
				ages[i] = max(ages[i], g.Age[i])
			}
		}
		slices.Sort(ages)
		c.add(latency, ages[len(ages)/2]/1000)
	case castMessages:
		c.add(rateOf(l.Size), float64(l.Count)/(last.Ended-began)*1e6)
	}
	return nil
}
