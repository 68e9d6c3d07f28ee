package stdio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// readAll returns every frame of an input, and "id/method/size" in angle brackets
// for those that were too long.
func readAll(t *testing.T, input string, o Options) []string {
	t.Helper()
	p := New(io.NopCloser(strings.NewReader(input)), io.Discard, o)
	defer p.Close() //nolint:errcheck // in memory
	var got []string
	for {
		frame, err := p.ReadFrame(t.Context())
		var tooLong *TooLongError
		switch {
		case errors.As(err, &tooLong):
			s := "<" + string(tooLong.ID)
			if tooLong.Method {
				s += " method"
			}
			got = append(got, s+">")
		case err == io.EOF:
			return got
		case err != nil:
			t.Fatal(err)
		default:
			got = append(got, string(frame))
		}
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 100)
	tests := []struct {
		name, input string
		want        []string
	}{
		{"line ends and blank lines", "{\"a\":1}\r\n\n  \r\n{\"b\":2}\n", []string{`{"a":1}`, `{"b":2}`}},
		{"no last line end", `{"a":1}`, []string{`{"a":1}`}},
		{"garbage passes", "hello\n", []string{"hello"}},
		{"exactly the limit", strings.Repeat("y", 80) + "\r\n", []string{strings.Repeat("y", 80)}},
		{"too long, then fine", `{"id":1,"method":"a","x":"` + long + "\"}\n{}\n", []string{"<1 method>", "{}"}},
		{"id behind", `{"method":"a","params":{"id":7,"x":"` + long + `"},"jsonrpc":"2.0","id":"b\"c"}`, []string{`<"b\"c" method>`}},
		{"response", `{"jsonrpc":"2.0","id":3,"result":{"method":"` + long + `"}}`, []string{"<3>"}},
		{"no id", long + "\n", []string{"<>"}},
		{"null id", `{"id":null,"method":"` + long + `"}`, []string{"< method>"}},
		{"id inside only", `{"params":{"id":1,"x":"` + long + `"},"y":["id",1]}`, []string{"<>"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := readAll(t, test.input, Options{MaxLine: 80})
			if strings.Join(got, "|") != strings.Join(test.want, "|") {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestLongLines(t *testing.T) {
	for _, size := range []int{64 << 10, DefaultMaxLine} {
		line := strings.Repeat("z", size)
		if got := readAll(t, line+"\n", Options{}); len(got) != 1 || got[0] != line {
			t.Errorf("a line of %d bytes did not pass", size)
		}
	}
	head := `{"jsonrpc":"2.0","id":9007199254740993,"method":"a","params":"`
	got := readAll(t, head+strings.Repeat("z", 17<<20)+"\"}\n{}\n", Options{})
	if strings.Join(got, "|") != "<9007199254740993 method>|{}" {
		t.Errorf("17 MiB line: got %.100q", got)
	}
}

func TestAssemble(t *testing.T) {
	tests := []struct {
		name, input   string
		want, skipped []string
	}{
		{"banner", "Starting up...\n{\"a\":1}\n", []string{`{"a":1}`}, []string{"Starting up..."}},
		{"log that looks like an array", "[INFO] up\n{\"a\":1}\n", []string{`{"a":1}`}, []string{"[INFO] up"}},
		{"log that looks like an object", "{oops\n{\"a\":1}\n", []string{`{"a":1}`}, []string{"{oops"}},
		{"number", "17\n", nil, []string{"17"}},
		{"pretty", "{\n  \"a\": 1.0,\n  \"b\": \"x  }{ \\\" y\"\n}\n{\"c\":2}\n", []string{`{"a":1.0,"b":"x  }{ \" y"}`, `{"c":2}`}, nil},
		{"pretty array", "[\n{\"a\":1},\n{}\n]\n", []string{`[{"a":1},{}]`}, nil},
		{"never finished", "{\n\"a\":\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n", []string{`{"jsonrpc":"2.0","id":1,"result":{}}`}, []string{"{\n\"a\":"}},
		{"finished but broken", "{\n\"a\" 1\n}\n{}\n", []string{`{}`}, []string{"{\n\"a\" 1\n}"}},
		{"cut off", "{\n\"a\":1", nil, []string{"{\n\"a\":1"}},
		{"too long over lines", "{\n\"id\":5,\n\"result\":\"" + strings.Repeat("x", 60) + "\",\n\"more\":\"" + strings.Repeat("y", 60) + "\"\n}\n{}\n", []string{"<5>", "{}"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var skipped []string
			got := readAll(t, test.input, Options{MaxLine: 100, Assemble: true, Skipped: func(line []byte) { skipped = append(skipped, string(line)) }})
			if strings.Join(got, "|") != strings.Join(test.want, "|") {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			if strings.Join(skipped, "|") != strings.Join(test.skipped, "|") {
				t.Errorf("skipped %q\nwant    %q", skipped, test.skipped)
			}
		})
	}
}

func TestWrite(t *testing.T) {
	tests := []struct{ name, frame, want string }{
		{"untouched", `{"id": 1.0, "b":"\u00e9","a":9007199254740993}`, `{"id": 1.0, "b":"\u00e9","a":9007199254740993}` + "\n"},
		{"compacted", "{\r\n \"id\": 1.0,\n \"x\": \"<a b>\"}\n", `{"id":1.0,"x":"<a b>"}` + "\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			p := New(strings.NewReader(""), &out, Options{})
			if err := p.WriteFrame(t.Context(), []byte(test.frame)); err != nil {
				t.Fatal(err)
			}
			if out.String() != test.want {
				t.Errorf("got %q", out.String())
			}
			_ = p.Close()
			if err := p.WriteFrame(t.Context(), []byte("{}")); err == nil {
				t.Error("wrote after Close")
			}
		})
	}
}

func TestCloseUnblocksReader(t *testing.T) {
	r, w := io.Pipe()
	p := New(r, w, Options{})
	done := make(chan error, 1)
	go func() {
		_, err := p.ReadFrame(context.Background())
		done <- err
	}()
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != io.EOF {
		t.Errorf("got %v", err)
	}
}

func FuzzAssemble(f *testing.F) {
	for _, seed := range []string{"{\n\"a\":1\n}\n", "[x\n{}\n", "{\"id\":\"\\\"\",\n", "\n\r\n}{", "{\"jsonrpc\":1}\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		p := New(io.NopCloser(bytes.NewReader(input)), io.Discard, Options{MaxLine: 64, Assemble: true})
		defer p.Close() //nolint:errcheck // in memory
		for {
			frame, err := p.ReadFrame(t.Context())
			var tooLong *TooLongError
			if errors.As(err, &tooLong) {
				if tooLong.ID != nil && !json.Valid(tooLong.ID) {
					t.Fatalf("id %q", tooLong.ID)
				}
				continue
			}
			if err != nil {
				return
			}
			if len(frame) > 64 || !json.Valid(frame) || frame[0] != '{' && frame[0] != '[' || bytes.IndexByte(frame, 10) >= 0 {
				t.Fatalf("frame %q", frame)
			}
		}
	})
}
