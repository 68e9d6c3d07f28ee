package mcp

import "encoding/json"

// JSON-RPC and MCP error codes that this package writes.
const (
	CodeParse          = -32700 // the message is no JSON
	CodeInvalidRequest = -32600 // the message is JSON but no valid request
	CodeMethodNotFound = -32601
	CodeInternal       = -32603
)

// ErrorResponse builds an error response. The id goes out byte for byte; a nil
// id is written as null, for a request that could not be read.
func ErrorResponse(id []byte, code int, message string) []byte {
	failure, _ := json.Marshal(struct { // an int and a string always encode
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{code, message})
	return envelop(id, `,"error":`, failure)
}

// ResultResponse builds a response with the given result, which must be JSON.
func ResultResponse(id, result []byte) []byte { return envelop(id, `,"result":`, result) }

// EmptyResult answers a request, a ping for instance, with {}.
func EmptyResult(id []byte) []byte { return ResultResponse(id, []byte("{}")) }

// CancelledNotification asks the peer to give up the request with the given raw
// id.
func CancelledNotification(id []byte, reason string) []byte {
	text, _ := json.Marshal(reason) // a string always encodes
	b := append([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`), id...)
	b = append(append(b, `,"reason":`...), text...)
	return append(b, "}}"...)
}

func envelop(id []byte, member string, value []byte) []byte {
	if id == nil {
		id = []byte("null")
	}
	b := append([]byte(`{"jsonrpc":"2.0","id":`), id...)
	b = append(append(b, member...), value...)
	return append(b, '}')
}
