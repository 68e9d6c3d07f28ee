package wire_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// vector is one file of testdata/*.vec.
type vector struct {
	name string
	head map[string]string
	data []byte
}

func loadVector(t testing.TB, name string) vector {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	head, body, ok := strings.Cut(string(b), "\n\n")
	if !ok {
		t.Fatalf("%s: no blank line", name)
	}
	v := vector{name: name, head: map[string]string{}, data: unhex(t, body)}
	for line := range strings.SplitSeq(head, "\n") {
		key, val, _ := strings.Cut(line, ": ")
		v.head[key] = val
	}
	for _, key := range []string{"source", "made-by", "expect"} {
		if v.head[key] == "" {
			t.Errorf("%s: no %q line", name, key)
		}
	}
	return v
}

// frameVectors are the vectors that hold a whole Message.
var frameVectors = []string{
	"link-request.vec", "link-reply.vec", "subscription-ack.vec", "subscribe-signed.vec",
	"publish-signed.vec", "publish-forwarded.vec", "join-request-payload-signature.vec",
}

type traced struct {
	Type string
	Hex  string
	data []byte
}

func loadTraces(t testing.TB) []traced {
	t.Helper()
	var out []traced
	for _, name := range []string{"trace-p2p-plain.jsonl", "trace-p2p-mls.jsonl"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		sc := bufio.NewScanner(bytes.NewReader(b))
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			var l traced
			if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			l.data = unhex(t, l.Hex)
			out = append(out, l)
		}
	}
	return out
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, b []byte) *wire.Frame {
	t.Helper()
	f, err := wire.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
