package realmcp

import "os/exec"

// ownGroup does nothing: Windows has no process groups.
func ownGroup(*exec.Cmd) {}

// killGroup kills the command alone.
func killGroup(cmd *exec.Cmd) error { return cmd.Process.Kill() }
