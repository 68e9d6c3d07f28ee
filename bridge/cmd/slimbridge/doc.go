// Command slimbridge is the one program of this project: a SLIM node, the MCP
// bridge in both directions, and the tools around them.
//
//	slimbridge demo
//	slimbridge mcp serve   org/ns/files --node embedded -- npx -y @modelcontextprotocol/server-filesystem /data
//	slimbridge mcp connect org/ns/files
//
// It owns flags, environment, the per-user secret, signals, exit codes and the
// wording of errors, and nothing of the protocols: those are in the packages
// it starts. There is one file per command. Standard output belongs to results
// and, under mcp connect, to the protocol alone; logs and errors go to standard
// error.
//
// Exit codes: 0, 1 failure, 2 usage, 129, 130 and 143 after SIGHUP, SIGINT and
// SIGTERM. A second signal ends the program at once.
package main
