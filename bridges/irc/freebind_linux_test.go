package irc

import (
	"net"
	"testing"
)

func TestFreebind(t *testing.T) {
	if probe, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here: ", err)
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
