package testkit

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel kill the program when its starter dies.
func dieWithParent(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
