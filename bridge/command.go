package bridge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// passedOn are the variables a child gets from the bridge's own environment.
// Everything else, the SLIM secret above all, stays here.
var passedOn = append([]string{"PATH", "HOME", "LANG"}, platformEnv...)

// CommandConfig configures [NewCommand].
type CommandConfig struct {
	// Args are the program and its arguments. A program without a slash is looked
	// up in PATH.
	Args []string
	// Env adds variables: "NAME=value", or "NAME" to pass on the bridge's own.
	// The child otherwise gets only PATH, HOME and LANG, and on Windows what a
	// program needs to start. Names that begin with SLIM_ are refused.
	Env []string
	// Dir is the working directory. Default: the bridge's.
	Dir string
	// Logger gets the child's standard error, a line each. The zero value is
	// silent.
	Logger zerolog.Logger
}

// Command is a [Backend] that starts a child process per session and talks to its
// standard input and output. It is safe for concurrent use.
type Command struct {
	path    string
	env     []string
	config  CommandConfig
	starter *starter
	started atomic.Uint64 // numbers the children for the log
	graces  graces
}

// NewCommand prepares a command and finds its program, so that a missing one is
// an error before any session is accepted. Close it after use; [Serve] does.
func NewCommand(c CommandConfig) (*Command, error) {
	if len(c.Args) == 0 {
		return nil, errors.New("no command given")
	}
	path, err := exec.LookPath(c.Args[0])
	if err != nil {
		return nil, fmt.Errorf("command not found: %w", err)
	}
	env, err := childEnv(c.Env)
	if err != nil {
		return nil, err
	}
	return &Command{path: path, env: env, config: c, starter: newStarter(), graces: graces{closeGrace, termGrace}}, nil
}

// Open implements [Backend]. It returns when the process has been started, which
// says nothing about whether the server in it is ready.
func (c *Command) Open(ctx context.Context) (FramePipe, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: c.path, Args: c.config.Args, Env: c.env, Dir: c.config.Dir,
		SysProcAttr: processAttributes(),
	}
	log := c.config.Logger.With().Uint64("child", c.started.Add(1)).Logger()
	child, err := startChild(cmd, c.starter, c.graces, log)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c.config.Args[0], err)
	}
	return child, nil
}

// Close ends the thread that starts children. On Linux children still running
// are told to end by it.
func (c *Command) Close() error {
	c.starter.close()
	return nil
}

func childEnv(extra []string) ([]string, error) {
	var env []string
	for _, name := range passedOn {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for _, entry := range extra {
		name, _, hasValue := strings.Cut(entry, "=")
		switch {
		case name == "":
			return nil, errors.New("environment entry without a name")
		case strings.HasPrefix(strings.ToUpper(name), "SLIM_"):
			return nil, fmt.Errorf("environment variable %s must not reach the server", name)
		case hasValue:
			env = append(env, entry)
		default:
			value, ok := os.LookupEnv(name)
			if !ok {
				return nil, fmt.Errorf("environment variable %s, to be passed to the server, is not set", name)
			}
			env = append(env, name+"="+value)
		}
	}
	return env, nil
}
