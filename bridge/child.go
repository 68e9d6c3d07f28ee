package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/slimbridge/slimbridge/bridge/stdio"
)

// How a child is stopped: its input is closed, then its group gets SIGTERM, then
// SIGKILL. Node and Python servers end on the first; some ignore SIGINT.
const (
	closeGrace = 5 * time.Second
	termGrace  = 3 * time.Second
	exitGrace  = time.Second // for the last output and the exit status
	groupPoll  = 20 * time.Millisecond
)

// ExitError says that a child process ended.
type ExitError struct {
	Status   string // "exit status 1", "signal: killed"
	LastLine string // of its standard error; may be empty
}

func (e *ExitError) Error() string {
	if e.LastLine == "" {
		return fmt.Sprintf("MCP server ended (%s)", e.Status)
	}
	return fmt.Sprintf("MCP server ended (%s): %s", e.Status, e.LastLine)
}

// child is a running process as a frame pipe.
type child struct {
	*stdio.Pipe
	cmd    *exec.Cmd
	stdin  *os.File
	stdout *os.File
	stderr *stderrLog
	exited chan struct{} // closed when the process has been waited for
	status error         // of Wait; valid after exited
	stop   sync.Once
	graces graces
}

// graces are the times a child is given at each step of its end.
type graces struct{ afterClose, afterTerm time.Duration }

// startChild starts cmd with pipes. They are made here and not by exec, whose
// Wait would close them under the reader or wait for grandchildren.
func startChild(cmd *exec.Cmd, s *starter, g graces, log zerolog.Logger) (*child, error) {
	var files [6]*os.File // read and write end of stdin, stdout, stderr
	var err error
	for i := 0; i < len(files) && err == nil; i += 2 {
		files[i], files[i+1], err = os.Pipe()
	}
	if err == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[3], files[5]
		err = s.start(cmd)
	}
	if err != nil {
		closeAll(files[:]...)
		return nil, err
	}
	closeAll(files[0], files[3], files[5])
	c := &child{
		cmd: cmd, stdin: files[1], stdout: files[2],
		stderr: newStderrLog(files[4], log),
		exited: make(chan struct{}),
		graces: g,
	}
	c.Pipe = stdio.New(c.stdout, c.stdin, stdio.Options{
		Assemble: true,
		Skipped: func(line []byte) {
			log.Warn().Int("bytes", len(line)).Msg("MCP server wrote something that is not JSON")
			log.Trace().Bytes("line", line).Msg("this is what it wrote")
		},
	})
	go c.wait() // Close waits for exited
	log.Info().Int("pid", cmd.Process.Pid).Msg("MCP server started")
	return c, nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close() // an unused pipe end
		}
	}
}

func (c *child) wait() {
	c.status = c.cmd.Wait()
	// A grandchild may hold the other end open; what the child itself wrote is
	// read within the grace.
	_ = c.stdout.SetReadDeadline(time.Now().Add(exitGrace)) // not on every platform
	close(c.exited)
}

// ReadFrame returns an [*ExitError] when the process has ended.
func (c *child) ReadFrame(ctx context.Context) ([]byte, error) {
	frame, err := c.Pipe.ReadFrame(ctx)
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, c.ending()
	}
	select {
	case <-c.exited: // as long as there is something to read, go on
		_ = c.stdout.SetReadDeadline(time.Now().Add(exitGrace))
	default:
	}
	return frame, err
}

// WriteFrame reports a broken pipe as the end of the process.
func (c *child) WriteFrame(ctx context.Context, msg []byte) error {
	err := c.Pipe.WriteFrame(ctx, msg)
	if err != nil && ctx.Err() == nil {
		return c.ending()
	}
	return err
}

// ending explains why the output ended.
func (c *child) ending() error {
	wait(c.exited, exitGrace)
	select {
	case <-c.exited:
	default:
		return &ExitError{Status: "closed its output", LastLine: c.stderr.last()}
	}
	wait(c.stderr.done, exitGrace)
	return &ExitError{Status: c.cmd.ProcessState.String(), LastLine: c.stderr.last()}
}

// Close stops the process and everything it started, and waits for it. It may
// take eight seconds.
func (c *child) Close() error {
	c.stop.Do(func() {
		_ = c.stdin.Close() // asks the server to end
		wait(c.exited, c.graces.afterClose)
		if !c.gone() {
			terminateGroup(c.cmd.Process)
			wait(c.exited, c.graces.afterTerm)
		}
		c.sweep()
		<-c.exited
		_ = c.Pipe.Close()
		c.stderr.close()
	})
	return nil
}

func (c *child) gone() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// sweep ends what is left of the process group: launchers such as npx and uvx
// leave the real server behind when they are killed.
func (c *child) sweep() {
	if c.gone() && groupAlive(c.cmd.Process) {
		terminateGroup(c.cmd.Process)
		for end := time.Now().Add(c.graces.afterTerm); groupAlive(c.cmd.Process) && time.Now().Before(end); {
			time.Sleep(groupPoll)
		}
	}
	if !c.gone() || groupAlive(c.cmd.Process) {
		killGroup(c.cmd.Process)
	}
}
