//go:build !linux

package database

import (
	"syscall"
	"time"
)

// giveUpAfter does nothing here: a dead connection is noticed when its next
// statement runs out of time.
func giveUpAfter(time.Duration) func(network, address string, conn syscall.RawConn) error {
	return nil
}
