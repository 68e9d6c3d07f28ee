//go:build unix && !linux

package bridge_test

import (
	"syscall"
	"time"
)

// running reports whether a process still exists shortly after it was killed.
func running(pid int) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if syscall.Kill(pid, 0) != nil {
			return false
		}
	}
	return true
}
