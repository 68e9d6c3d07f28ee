// Package realslim runs the genuine SLIM libraries as child processes of a test: nodes and applications of core 2.2.0 (Node.js) and
// of core 3.4.6 (Python), which .ci/peers installs. A test drives them without knowing which kind it has. The package knows nothing
// of our own implementation.
//
//	p := realslim.Require(t)
//	node := p.StartNode(t, realslim.Core34, realslim.NodeOptions{Strict: true})
//	p.StartApp(t, realslim.Core22, realslim.AppOptions{Endpoint: node.Endpoint, Name: "org/ns/bob", Strict: true, Accept: realslim.Echo})
//	alice := p.StartApp(t, realslim.Core34, realslim.AppOptions{Endpoint: node.Endpoint, Name: "org/ns/alice", Strict: true})
//	s, err := alice.Open(ctx, realslim.OpenOptions{Peer: "org/ns/bob", MLS: true})
//	...
//	report, err := s.Pump(ctx, realslim.Load{Count: 100, Size: 256, Window: 32})
//
// Every child is stopped, and waited for, by a cleanup of the test; a child also ends by itself when its standard input closes, so
// that none outlives a test binary that was killed. What it logged is on the handle (Log, Warnings) and is printed when the test
// fails.
//
// # Protocol
//
// The scripts take a role and its options as one JSON object. Commands are JSON lines on standard input, each run in its own task:
//
//	{"id": 1, "cmd": "open", "peer": "org/ns/bob", "mls": true, "max_retries": 10, "interval_ms": 1000, "metadata": {}}
//
// Replies and events are JSON lines on file descriptor 3, since the libraries log on standard output:
//
//	{"id": 1, "result": {"session": 1, ...}}   {"id": 1, "error": "text"}
//	{"event": "ready", ...}   {"event": "failed", "error"}         once, at the start
//	{"event": "session_opened", "session": 1, "session_id", "peer": {"name", "id"}, "initiator", "metadata"}
//	{"event": "session_error", "session": 1, "error"}              the session goes on
//	{"event": "session_closed", "session": 1, "error"}             its last event
//
// # Concurrency
//
// Node, App and Session are safe for concurrent use, but Recv and Pump of one session compete for its messages.
package realslim
