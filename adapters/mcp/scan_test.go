package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScan(t *testing.T) {
	tests := []struct {
		name, frame string
		want        Header
	}{
		{"request", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, Header{Kind: Request, Method: "ping", ID: []byte("1")}},
		{"python member order", `{"method":"tools/call","params":{"name":"id","arguments":{"id":7}},"jsonrpc":"2.0","id":0}`,
			Header{Kind: Request, Method: "tools/call", ID: []byte("0")}},
		{"empty string id", `{"jsonrpc":"2.0","id":"","method":"a"}`, Header{Kind: Request, Method: "a", ID: []byte(`""`)}},
		{"fractional id", `{"jsonrpc":"2.0","id":1.0,"method":"a"}`, Header{Kind: Request, Method: "a", ID: []byte("1.0")}},
		{"id beyond 2^53", `{"jsonrpc":"2.0","id":9007199254740993,"method":"a"}`, Header{Kind: Request, Method: "a", ID: []byte("9007199254740993")}},
		{"smallest int64", `{"jsonrpc":"2.0","id":-9223372036854775808,"method":"a"}`, Header{Kind: Request, Method: "a", ID: []byte("-9223372036854775808")}},
		{"escaped keys", `{"jsonrpc":"2.0","\u0069d":5,"meth\u006fd":"a\/b"}`, Header{Kind: Request, Method: "a/b", ID: []byte("5")}},
		{"white space", " \t{ \"jsonrpc\" : \"2.0\" ,\r\n\"id\" : \"x\" , \"method\" : \"a\" } \n", Header{Kind: Request, Method: "a", ID: []byte(`"x"`)}},
		{"notification", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, Header{Kind: Notification, Method: "notifications/initialized"}},
		{"cancelled", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"7","reason":"x"}}`,
			Header{Kind: Notification, Method: "notifications/cancelled", RequestID: []byte(`"7"`)}},
		{"progress", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":0.5}}`,
			Header{Kind: Notification, Method: "notifications/progress", ProgressToken: []byte("3")}},
		{"modern request", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"progressToken":"t","io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
			Header{Kind: Request, Method: "tools/list", ID: []byte("1"), ProtocolVersion: "2026-07-28", ProgressToken: []byte(`"t"`)}},
		{"result", `{"jsonrpc":"2.0","id":1,"result":{}}`, Header{Kind: Response, ID: []byte("1")}},
		{"null result", `{"jsonrpc":"2.0","id":1,"result":null}`, Header{Kind: Response, ID: []byte("1")}},
		{"error", `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"x"}}`, Header{Kind: Response, ID: []byte("1"), Failed: true, Code: -32022}},
		{"error without id", `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}`, Header{Kind: Response, ID: []byte("null"), Failed: true, Code: -32700}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Scan([]byte(test.frame))
			if err != nil {
				t.Fatal(err)
			}
			if !sameHeader(got, test.want) {
				t.Errorf("got %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func sameHeader(a, b Header) bool {
	return a.Kind == b.Kind && a.Method == b.Method && bytes.Equal(a.ID, b.ID) && a.Failed == b.Failed && a.Code == b.Code &&
		a.ProtocolVersion == b.ProtocolVersion && bytes.Equal(a.ProgressToken, b.ProgressToken) && bytes.Equal(a.RequestID, b.RequestID)
}

func TestScanRefuses(t *testing.T) {
	tests := []struct {
		name, frame string
		code        int
		id          string
	}{
		{"garbage", `hello`, CodeParse, ""},
		{"cut off", `{"jsonrpc":"2.0","id":1`, CodeParse, ""},
		{"two values", `{"jsonrpc":"2.0","method":"a"}{}`, CodeParse, ""},
		{"invalid UTF-8", "{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}", CodeParse, ""},
		{"empty", ``, CodeParse, ""},
		{"number", `1`, CodeInvalidRequest, ""},
		{"array", `[]`, CodeInvalidRequest, ""},
		{"null id", `{"jsonrpc":"2.0","id":null,"method":"a"}`, CodeInvalidRequest, ""},
		{"object id", `{"jsonrpc":"2.0","id":{},"method":"a"}`, CodeInvalidRequest, ""},
		{"boolean id", `{"jsonrpc":"2.0","id":true,"method":"a"}`, CodeInvalidRequest, ""},
		{"id twice", `{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}`, CodeInvalidRequest, ""},
		{"id twice, once escaped", `{"jsonrpc":"2.0","id":1,"\u0069d":2,"method":"a"}`, CodeInvalidRequest, ""},
		{"method twice", `{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}`, CodeInvalidRequest, ""},
		{"no version", `{"id":1,"method":"a"}`, CodeInvalidRequest, "1"},
		{"old version", `{"jsonrpc":"1.0","id":1,"method":"a"}`, CodeInvalidRequest, "1"},
		{"method no string", `{"jsonrpc":"2.0","id":1,"method":3}`, CodeInvalidRequest, "1"},
		{"nothing to do", `{"jsonrpc":"2.0","id":1}`, CodeInvalidRequest, "1"},
		{"result and error", `{"jsonrpc":"2.0","id":1,"result":1,"error":{}}`, CodeInvalidRequest, "1"},
		{"agntcy-app-sdk envelope", `{"type":"MCPRequest","payload":"e30=","method":"POST","headers":{}}`, CodeInvalidRequest, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h, err := Scan([]byte(test.frame))
			var scan *ScanError
			if !errors.As(err, &scan) || scan.Code != test.code || scan.Reason == "" {
				t.Fatalf("got %v, want code %d", err, test.code)
			}
			if h.Kind != Invalid || string(h.ID) != test.id {
				t.Errorf("kind %v id %q, want id %q", h.Kind, h.ID, test.id)
			}
		})
	}
}

func TestIDKey(t *testing.T) {
	equal := [][2]string{{`"a/b"`, `"a\/b"`}, {"1", "1.0"}, {"0", "-0"}, {"-0.0", "0"}, {`"\u0041"`, `"A"`}}
	for _, pair := range equal {
		if a, b := IDKey([]byte(pair[0])), IDKey([]byte(pair[1])); a != b {
			t.Errorf("%s and %s differ: %q, %q", pair[0], pair[1], a, b)
		}
	}
	differ := [][2]string{{`"1"`, "1"}, {"9007199254740992", "9007199254740993"}, {`""`, "0"}, {"1.5", "1"}, {"null", `"null"`}}
	for _, pair := range differ {
		if IDKey([]byte(pair[0])) == IDKey([]byte(pair[1])) {
			t.Errorf("%s and %s have the same key", pair[0], pair[1])
		}
	}
}

func TestSplit(t *testing.T) {
	tests := []struct {
		name, frame string
		want        []string
	}{
		{"object", `{"a":[1]}`, []string{`{"a":[1]}`}},
		{"array", ` [ {"a":"]"} ,{"b":[1,{}]}, 3 ] `, []string{`{"a":"]"}`, `{"b":[1,{}]}`, `3`}},
		{"empty array", `[ ]`, []string{`[ ]`}},
		{"broken array", `[{"a":1},`, []string{`[{"a":1},`}},
		{"nested", `[[1,2],[]]`, []string{`[1,2]`, `[]`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Split([]byte(test.frame))
			if s := string(bytes.Join(got, []byte("|"))); s != strings.Join(test.want, "|") {
				t.Errorf("got %s", s)
			}
		})
	}
}

func TestAnswersKeepRawIDs(t *testing.T) {
	got := string(ErrorResponse([]byte("9007199254740993"), CodeInternal, `a "quoted" text`))
	if want := `{"jsonrpc":"2.0","id":9007199254740993,"error":{"code":-32603,"message":"a \"quoted\" text"}}`; got != want {
		t.Errorf("got %s", got)
	}
	if got := string(ErrorResponse(nil, CodeParse, "x")); !strings.Contains(got, `"id":null`) {
		t.Errorf("got %s", got)
	}
	if got, want := string(EmptyResult([]byte(`"x"`))), `{"jsonrpc":"2.0","id":"x","result":{}}`; got != want {
		t.Errorf("got %s", got)
	}
	h, err := Scan(CancelledNotification([]byte("7"), "late"))
	if err != nil || h.Kind != Notification || string(h.RequestID) != "7" {
		t.Errorf("got %+v, %v", h, err)
	}
}

func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"progressToken":1}}}`,
		`{"jsonrpc":"2.0","\u0069d":"x","result":{"a":[1,"\"",{}]}}`,
		`[{"jsonrpc":"2.0","method":"a"},{}]`, `{"id":1,"id":2}`, `{"error":{"code":1e9}}`, `{}`, `[`, `"\`, "{\"a\":\"\\\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		for _, part := range Split(frame) {
			checkScan(t, part)
		}
		checkScan(t, frame)
		if !bytes.Equal(before, frame) {
			t.Fatal("the frame was changed")
		}
	})
}

// checkScan compares a header with what encoding/json reads.
func checkScan(t *testing.T, frame []byte) {
	h, err := Scan(frame)
	if err != nil {
		return
	}
	if !utf8.Valid(frame) {
		t.Fatal("accepted invalid UTF-8")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(frame, &members); err != nil {
		t.Fatalf("accepted what is no object: %v", err)
	}
	var method string
	if raw, ok := members["method"]; ok {
		if err := json.Unmarshal(raw, &method); err != nil {
			t.Fatalf("accepted method %s", raw)
		}
	}
	if method != h.Method || !bytes.Equal(bytes.TrimSpace(members["id"]), h.ID) {
		t.Fatalf("got method %q id %s, want %q %s", h.Method, h.ID, method, members["id"])
	}
	if _, ok := members["id"]; h.Kind == Request != (ok && method != "" || ok && members["method"] != nil) {
		t.Fatalf("kind %v of %s", h.Kind, frame)
	}
}

func BenchmarkScan(b *testing.B) {
	frame := []byte(`{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":"` + strings.Repeat("x", 1000) + `"}}}`)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Scan(frame); err != nil {
			b.Fatal(err)
		}
	}
}
