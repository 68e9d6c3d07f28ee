package main

import (
	"context"
	"io"
	"os"

	"github.com/rs/zerolog"
)

func main() {
	p := newProgram(os.Stdin, os.Stdout, os.Stderr)
	ctx, stop := watchSignals(context.Background(), os.Exit)
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// program is one run of slimbridge: its streams and what the flags of the root
// command made of them.
type program struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer // safe for concurrent use: log lines and notices share it
	colour bool

	logLevel, logFormat string
	log                 zerolog.Logger
	running             bool // flags and arguments were fine, the command itself runs
}

func newProgram(stdin io.Reader, stdout, stderr io.Writer) *program {
	return &program{stdin: stdin, stdout: stdout, stderr: zerolog.SyncWriter(stderr), colour: isTerminal(stderr)}
}

// run executes one command line and returns the exit code. The cause of ctx
// may be a [signalError].
func (p *program) run(ctx context.Context, args []string) int {
	root := p.rootCommand()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return p.conclude(ctx, cmd, err)
}

// isTerminal reports whether w is an interactive terminal. The null device
// passes as one too, which harms nobody.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
