//go:build unix

package bridge

import (
	"os"
	"syscall"
)

// platformEnv is what children need beyond PATH, HOME and LANG.
var platformEnv []string

// processAttributes puts a child into a process group of its own.
func processAttributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	endWithParent(attr)
	return attr
}

func terminateGroup(p *os.Process) { signalGroup(p, syscall.SIGTERM) }

func killGroup(p *os.Process) { signalGroup(p, syscall.SIGKILL) }

// groupAlive reports whether any process of the group exists. The group keeps its
// number from being used again.
func groupAlive(p *os.Process) bool { return syscall.Kill(-p.Pid, 0) == nil }

func signalGroup(p *os.Process, sig syscall.Signal) {
	_ = syscall.Kill(-p.Pid, sig) // it may have ended already
}
