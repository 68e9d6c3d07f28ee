// Package integration holds the tests that join everything: import rules,
// suites over in-memory networks, and interoperation with the genuine SLIM
// libraries and with MCP programs that others wrote.
//
// Tests against real peers skip, saying why, unless the peers are installed
// (.ci/peers); with SLIM_INTEROP=require a missing peer is a failure.
package integration
