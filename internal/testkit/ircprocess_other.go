//go:build !linux

package testkit

import "os/exec"

// dieWithParent has no counterpart here; the test's clean-up ends the program.
func dieWithParent(*exec.Cmd) {}
