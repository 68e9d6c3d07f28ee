// Package stdio is the newline-delimited JSON form of a message stream, as MCP
// hosts and servers speak it over standard input and output.
//
//	p := stdio.New(os.Stdin, os.Stdout, stdio.Options{})
//	defer p.Close()
//	for {
//		frame, err := p.ReadFrame(ctx)
//		...
//		err = p.WriteFrame(ctx, answer)
//	}
//
// Lines may be as long as [Options].MaxLine; a longer one is thrown away while
// its id is kept, so that it can be answered. Nothing is ever re-encoded.
// [Options].Assemble adds what real servers do to their output: banners, progress
// bars and JSON over several lines.
//
// The package knows no protocol beyond JSON and imports nothing of this project.
// A [Pipe] takes one reader and any number of writers; Close may be called from
// anywhere.
package stdio
