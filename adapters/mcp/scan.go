package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Kind is what a JSON-RPC message is, judged by its shape only.
type Kind uint8

// The kinds of message.
const (
	Invalid      Kind = iota
	Request           // method and id
	Notification      // method, no id
	Response          // id and result or error
)

func (k Kind) String() string {
	switch k {
	case Request:
		return "request"
	case Notification:
		return "notification"
	case Response:
		return "response"
	default:
		return "invalid"
	}
}

// Header is what routing needs to know of a message. The byte slices are raw
// JSON and share the memory of the scanned frame.
type Header struct {
	Kind   Kind
	Method string
	// ID is the id exactly as written. Of an invalid message it is set only if
	// it is a usable id, so that an error can be addressed.
	ID []byte
	// Failed is true for a response that carries "error".
	Failed bool
	// Code is error.code of a failed response, as far as it is an integer.
	Code int
	// ProtocolVersion is params._meta["io.modelcontextprotocol/protocolVersion"],
	// which every request of revision 2026-07-28 carries.
	ProtocolVersion string
	// ProgressToken is params._meta.progressToken of a request, or
	// params.progressToken of a notification.
	ProgressToken []byte
	// RequestID is params.requestId, which notifications/cancelled carries.
	RequestID []byte
}

// Modern reports whether the message declares revision 2026-07-28 or later.
func (h Header) Modern() bool { return h.ProtocolVersion >= FirstModernVersion }

// FirstModernVersion is the first revision without initialize and without
// requests from server to client.
const FirstModernVersion = "2026-07-28"

const metaProtocolVersion = "io.modelcontextprotocol/protocolVersion"

// ScanError says why a frame is no JSON-RPC message.
type ScanError struct {
	Code   int // CodeParse or CodeInvalidRequest
	Reason string
}

func (e *ScanError) Error() string { return e.Reason }

func invalid(format string, args ...any) *ScanError {
	return &ScanError{Code: CodeInvalidRequest, Reason: fmt.Sprintf(format, args...)}
}

// Scan reads the header of one JSON-RPC message without changing a byte of it.
// It accepts exactly one JSON object in valid UTF-8 with "jsonrpc":"2.0" and
// refuses, with a [*ScanError], what two readers could understand differently:
// a repeated id or method, a null id on a request, an id that is neither string
// nor number.
func Scan(frame []byte) (Header, error) {
	if !utf8.Valid(frame) {
		return Header{}, &ScanError{Code: CodeParse, Reason: "not valid UTF-8"}
	}
	if !json.Valid(frame) {
		return Header{}, &ScanError{Code: CodeParse, Reason: "not valid JSON"}
	}
	if !IsObject(frame) {
		return Header{}, invalid("a message must be a JSON object")
	}
	return scanObject(frame)
}

// envelope collects the top-level members that matter.
type envelope struct {
	jsonrpc, id, method, params, result, failure []byte
	payload                                      bool
}

func scanObject(frame []byte) (Header, error) {
	var e envelope
	var twice string
	eachMember(frame, func(key, value []byte) bool {
		var slot *[]byte
		switch string(key) {
		case "jsonrpc":
			slot = &e.jsonrpc
		case "id":
			slot = &e.id
		case "method":
			slot = &e.method
		case "params":
			slot = &e.params
		case "result":
			slot = &e.result
		case "error":
			slot = &e.failure
		case "payload":
			e.payload = true
			return true
		default:
			return true
		}
		if *slot != nil {
			twice = string(key)
			return false
		}
		*slot = value
		return true
	})
	if twice != "" {
		return Header{}, invalid("member %q appears twice", twice)
	}
	return e.header()
}

func (e *envelope) header() (Header, error) {
	var h Header
	if usableID(e.id) {
		h.ID = e.id
	}
	switch {
	case e.jsonrpc == nil && e.payload:
		return h, invalid("no JSON-RPC message: the enveloped MCP of agntcy-app-sdk is not supported")
	case string(e.jsonrpc) != `"2.0"`:
		return h, invalid(`no JSON-RPC 2.0 message: member "jsonrpc" must be "2.0"`)
	case e.method == nil:
		return e.response(h)
	case e.method[0] != '"':
		return h, invalid("method must be a string")
	case e.id != nil && h.ID == nil:
		return h, invalid("the id of a request must be a string or a number")
	}
	h.Method = text(e.method)
	h.Kind = Notification
	if e.id != nil {
		h.Kind = Request
	}
	e.scanParams(&h)
	return h, nil
}

func (e *envelope) response(h Header) (Header, error) {
	if e.id == nil || e.result == nil && e.failure == nil {
		return h, invalid("neither request, notification nor response")
	}
	if e.result != nil && e.failure != nil && string(e.failure) != "null" {
		return h, invalid("a response has either result or error")
	}
	h.Kind, h.ID = Response, e.id
	if e.failure == nil || string(e.failure) == "null" {
		return h, nil
	}
	h.Failed = true
	eachMember(e.failure, func(key, value []byte) bool {
		if string(key) == "code" {
			_ = json.Unmarshal(value, &h.Code) // a foreign code stays 0
		}
		return true
	})
	return h, nil
}

func (e *envelope) scanParams(h *Header) {
	eachMember(e.params, func(key, value []byte) bool {
		switch string(key) {
		case "requestId":
			if usableID(value) {
				h.RequestID = value
			}
		case "progressToken":
			if h.Kind == Notification && usableID(value) {
				h.ProgressToken = value
			}
		case "_meta":
			eachMember(value, func(key, value []byte) bool {
				switch {
				case string(key) == "progressToken" && h.Kind == Request && usableID(value):
					h.ProgressToken = value
				case string(key) == metaProtocolVersion && value[0] == '"':
					h.ProtocolVersion = text(value)
				}
				return true
			})
		}
		return true
	})
}

// usableID reports whether raw is a string or a number.
func usableID(raw []byte) bool {
	return len(raw) > 0 && (raw[0] == '"' || raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9')
}

// IDKey returns a form of a raw id, or progress token, under which equal ids are
// equal: peers may write the same string with other escapes, and the same
// integer with a fraction of zero. It is for tables only, never for the wire.
func IDKey(raw []byte) string {
	if len(raw) > 0 && raw[0] == '"' {
		return `"` + text(raw)
	}
	s := string(raw)
	if whole, fraction, ok := strings.Cut(s, "."); ok && strings.Trim(fraction, "0") == "" {
		s = whole
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// IsArray reports whether the first byte that is no white space opens an array.
func IsArray(frame []byte) bool { return first(frame) == '[' }

// IsObject reports whether the first byte that is no white space opens an object.
func IsObject(frame []byte) bool { return first(frame) == '{' }

func first(frame []byte) byte {
	if i := skipSpace(frame, 0); i < len(frame) {
		return frame[i]
	}
	return 0
}

// Split returns the elements of a JSON array, sharing its memory. A frame that
// is no array, an empty array and broken JSON come back as they are, so that the
// fault is found where the message is scanned.
func Split(frame []byte) [][]byte {
	if !IsArray(frame) || !json.Valid(frame) {
		return [][]byte{frame}
	}
	var parts [][]byte
	for i := skipSpace(frame, skipSpace(frame, 0)+1); frame[i] != ']'; {
		end := skipValue(frame, i)
		parts = append(parts, frame[i:end:end])
		if i = skipSpace(frame, end); frame[i] == ',' {
			i = skipSpace(frame, i+1)
		}
	}
	if len(parts) == 0 {
		return [][]byte{frame}
	}
	return parts
}

// eachMember calls visit with the unescaped key and the raw value of each member
// of a valid JSON object, until it returns false. Other values have no members.
func eachMember(object []byte, visit func(key, value []byte) bool) {
	if !IsObject(object) {
		return
	}
	for i := skipSpace(object, skipSpace(object, 0)+1); object[i] != '}'; {
		keyEnd := skipValue(object, i)
		key := object[i+1 : keyEnd-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			key = []byte(text(object[i:keyEnd]))
		}
		start := skipSpace(object, skipSpace(object, keyEnd)+1) // over the colon
		end := skipValue(object, start)
		if !visit(key, object[start:end:end]) {
			return
		}
		if i = skipSpace(object, end); object[i] == ',' {
			i = skipSpace(object, i+1)
		}
	}
}

// skipValue returns the index after the value that starts at i of valid JSON.
func skipValue(b []byte, i int) int {
	for depth := 0; i < len(b); {
		switch b[i] {
		case '"':
			i = skipString(b, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\r', '\n':
			i++
			continue // only inside a container, where the value has not ended
		default:
			i = skipLiteral(b, i)
		}
		if depth == 0 {
			return i
		}
	}
	return i
}

func skipString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func skipLiteral(b []byte, i int) int {
	for i < len(b) && !bytes.ContainsRune([]byte(",:]} \t\r\n"), rune(b[i])) {
		i++
	}
	return i
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// text decodes a valid JSON string.
func text(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	_ = json.Unmarshal(raw, &s) // raw is valid JSON, so this cannot fail
	return s
}
