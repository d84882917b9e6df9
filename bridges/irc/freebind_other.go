//go:build !linux

package irc

import "syscall"

// freebind does nothing: here an interface must have the address.
func freebind(_, _ string, _ syscall.RawConn) error { return nil }
