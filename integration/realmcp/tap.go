package realmcp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// tapWord as first argument turns a test binary into a tap.
const tapWord = "realmcp-tap"

// Tap returns the command that runs command behind a tap, which records into dir. It may be started several times: each start is a
// recording of its own. TestMain of the test binary must call [TapMain].
func Tap(dir string, command []string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return append([]string{self, tapWord, dir, "--"}, command...), nil
}

// TapMain turns the process into a tap if it was started by a command of [Tap], and then does not return. The state is taken from
// arguments, not from the environment, which a bridge does not pass on.
func TapMain() {
	if len(os.Args) < 5 || os.Args[1] != tapWord {
		return
	}
	code, err := tap(os.Args[2], os.Args[4:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "realmcp tap:", err)
		code = 1
	}
	os.Exit(code)
}

// tap runs command until it ends and returns its exit code. Signals that ask for an end go to the command.
func tap(dir string, command []string) (int, error) {
	base := filepath.Join(dir, fmt.Sprintf("%020d-%d", time.Now().UnixNano(), os.Getpid()))
	toServer, err := os.Create(base + toServerSuffix)
	if err != nil {
		return 0, err
	}
	toClient, err := os.Create(base + toClientSuffix)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(command[0], command[1:]...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	cmd.Stdout = io.MultiWriter(toClient, os.Stdout)
	cmd.Stderr = os.Stderr
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	// Both goroutines end with the process, which lives as long as the command.
	go func() {
		_, _ = io.Copy(io.MultiWriter(toServer, stdin), os.Stdin)
		stdin.Close()
	}()
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil // as a shell reports it
	}
	return cmd.ProcessState.ExitCode(), nil
}
