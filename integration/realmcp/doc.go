// Package realmcp runs real MCP programs in tests: the reference server ("everything"), a TypeScript client, and clients written with
// both Go SDKs. All clients run the same scenario over stdio against any command that leads to the reference server, so that a bridge
// in between can be compared with a direct connection. The package knows nothing of SLIM.
//
//	p := realmcp.Require(t)
//	server := p.Everything()
//	report := p.RunTypeScript(ctx, realmcp.Server{Command: server})
//	for _, c := range report.Failed() { t.Error(c) }
//
// # Taps
//
// A tap is a program that starts another one and passes its standard input and output through unchanged, while it writes both to
// files. It is the test binary itself, so TestMain must begin with [TapMain]:
//
//	func TestMain(m *testing.M) {
//		realmcp.TapMain()
//		os.Exit(m.Run())
//	}
//
//	a := realmcp.Tap(dirA, "slimbridge", "mcp", "connect", ...)     // between the client and the bridge
//	b := realmcp.Tap(dirB, server...)                               // the command that "mcp serve --" runs
//	...
//	diffs := realmcp.CompareTaps(recordingA, recordingB)            // every frame arrived once, in order, byte for byte
//	diffs = realmcp.CompareRuns(direct, recordingA)                 // the same conversation as without the bridge
//
// Functions are safe for concurrent use.
package realmcp
