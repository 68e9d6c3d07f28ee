package bridge

import (
	"os"
	"syscall"
)

// platformEnv is what programs on Windows need to start at all.
var platformEnv = []string{
	"SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "TEMP", "TMP",
	"USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMFILES", "PROGRAMDATA",
}

// processAttributes keeps the console's interrupts away from the child.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// Windows has no signal that asks a process to end.
func terminateGroup(p *os.Process) { killGroup(p) }

func killGroup(p *os.Process) {
	_ = p.Kill() // it may have ended already
}

// groupAlive knows nothing about the descendants of a process here.
func groupAlive(*os.Process) bool { return false }
