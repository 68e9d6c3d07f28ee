package bridge_test

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// running reports whether a process still runs shortly after it was killed. One
// that only waits to be collected by init does not.
func running(pid int) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") || strings.Contains(string(stat), ") X ") {
			return false
		}
	}
	return true
}
