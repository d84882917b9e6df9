package testkit_test

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"trestle/internal/testkit"
)

// An address that is handed out is nobody else's, before it is used, and between two uses.
func TestFreeAddressIsKept(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddrPort(testkit.FreeAddress(t))
	for range 2 {
		if conn, err := net.Dial("tcp", addr.String()); err == nil {
			conn.Close()
			t.Fatal("somebody listens")
		}
		if taken(t, addr) {
			t.Fatal("the address can be another's")
		}
		mine, err := net.Listen("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		mine.Close()
	}
}

// taken binds a socket that shares its address with nobody, as the system does that chooses a port.
func taken(t *testing.T, addr netip.AddrPort) bool {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(socket)
	return syscall.Bind(socket, &syscall.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}) == nil
}
