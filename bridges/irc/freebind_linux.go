package irc

import (
	"errors"
	"syscall"
)

// ipv6Freebind is IPV6_FREEBIND of Linux (4.15), which the syscall package does not name.
const ipv6Freebind = 78

// freebind lets a socket have an address that no interface has. Answers find their way
// if the prefix is routed to this machine and is local to it:
// ip -6 route add local PREFIX dev lo.
func freebind(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, ipv6Freebind, 1)
	}), err)
}
