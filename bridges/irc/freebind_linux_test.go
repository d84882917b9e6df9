package irc

import (
	"net"
	"testing"

	"trestle/internal/testkit"
)

func TestFreebind(t *testing.T) {
	if probe, err := net.Listen("tcp", "[::1]:0"); err != nil {
		testkit.Missing(t, "IPv6 on the loopback interface", err)
	} else {
		probe.Close()
	}
	config := net.ListenConfig{Control: freebind}
	listener, err := config.Listen(t.Context(), "tcp", "[2001:db8:1:2::77]:0")
	if err != nil {
		t.Fatal("an address that no interface has: ", err)
	}
	listener.Close()
}
