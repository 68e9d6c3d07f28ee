package bridge

import "syscall"

// endWithParent lets the kernel end the child if the bridge is killed.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
