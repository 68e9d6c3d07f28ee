package integration

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// BenchmarkBridgePath is the round trip of a small tool call, directly over
// stdio and through the whole path: stdio, session with MLS, node, session,
// stdio, each hop a process of its own. The difference of the medians is what
// the bridge adds.
func BenchmarkBridgePath(b *testing.B) {
	b.Run("direct", func(b *testing.B) {
		roundTrips(b, exec.Command(testBinary(b), childArg))
	})
	b.Run("through SLIM", func(b *testing.B) {
		path := newPath(b, []string{testBinary(b), childArg})
		cmd := exec.Command(path.connect[0], path.connect[1:]...)
		cmd.Env = path.env
		roundTrips(b, cmd)
	})
}

func roundTrips(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	outPipe, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	out := bufio.NewReaderSize(outPipe, 1<<20)
	ask := func(format string, args ...any) {
		if _, err := fmt.Fprintf(in, format+"\n", args...); err != nil {
			b.Fatal(err)
		}
		if _, err := out.ReadSlice('\n'); err != nil {
			b.Fatal(err)
		}
	}
	ask(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`)
	if _, err := io.WriteString(in, `{"jsonrpc":"2.0","method":"notifications/initialized"}`+"\n"); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for i := 1; b.Loop(); i++ {
		start := time.Now()
		ask(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"a tool call of a usual size, to be echoed"}}}`, i)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		b.Error(err)
	}
}
