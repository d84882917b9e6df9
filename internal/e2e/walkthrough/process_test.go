package walkthrough_test

import (
	"os/exec"
	"syscall"
)

// foreground makes a shell the first of its own group of processes.
func foreground(shell *exec.Cmd) {
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// interrupt is Ctrl-C: it reaches what runs in the terminal, too.
func interrupt(shell *exec.Cmd) {
	_ = syscall.Kill(-shell.Process.Pid, syscall.SIGTERM)
}
