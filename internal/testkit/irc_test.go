package testkit_test

import (
	"testing"

	"trestle/internal/testkit"
)

func TestIRCServers(t *testing.T) {
	testkit.IRCServers(t, testkit.IRCOptions{Password: "secret"}, func(t *testing.T, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob", "PASS secret")
		alice := testkit.DialIRC(t, server.Addr, "alice", "PASS secret")
		bob.Join("#trestle")
		alice.Join("#trestle")
		alice.Say("#trestle", "hello")
		bob.Expect(":alice!", " PRIVMSG #trestle :hello")

		server.Restart()
		bob = testkit.DialIRC(t, server.Addr, "bob", "PASS secret")
		bob.Send("OPER root root")
		bob.Expect(" 381 ")
		server.Stop()
	})
}
